"""What a request leaves open is as the recipe says; the rest is as somebody asked for."""

from linnet.inference.requests import GenerationRequest, default_seconds
from linnet.inference.sampling import SampleLength
from support.tiny import tiny_audio_recipe, tiny_music_recipe, tiny_recipe

BIRDS = tiny_recipe("sample.guidance_scale=1.5", "sample.seed=4")
PLAIN = GenerationRequest(conditions=(None, None), seed=9)


def test_what_nobody_asks_for_is_as_in_the_recipe() -> None:
    plan = GenerationRequest(conditions=(3, 5), seed=9).resolve(BIRDS, BIRDS.sample)
    assert plan.section == BIRDS.sample.model_copy(update={"seed": 9})
    assert plan.conditions_of([1]) == [5]


def test_without_a_condition_there_is_no_guidance() -> None:
    plan = PLAIN.resolve(BIRDS, BIRDS.sample)
    assert plan.section.guidance_scale == 1
    assert plan.conditions is None
    assert plan.conditions_of([0, 1]) is None


def test_what_is_asked_for_takes_the_place_of_the_recipe_s() -> None:
    music = tiny_music_recipe()
    request = GenerationRequest(
        conditions=("a bell",), seed=1, num_steps=7, guidance_scale=3.0, duration_seconds=0.0101
    )
    plan = request.resolve(music, music.sample)
    assert (plan.section.sampler.num_steps, plan.section.guidance_scale) == (7, 3)
    assert plan.length == SampleLength(frames=1 + 6, samples=81, overlap_fraction=0.5), "81 samples, frames of 16"


def test_seconds_are_the_recipe_s_or_those_of_a_training_example() -> None:
    recipes = (BIRDS, tiny_music_recipe(), tiny_audio_recipe())
    assert [default_seconds(recipe, recipe.sample) for recipe in recipes] == [None, 0.05, 0.03]
