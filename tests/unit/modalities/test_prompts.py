"""What people mean by a prompt: names first, then the numbers of the data set, never positions."""

import pytest

from linnet.modalities.prompts import (
    PromptError,
    find_class_number,
    parse_prompt,
    trained_classes,
    trained_labels,
)
from linnet.modalities.statistics import ImageStatistics
from support.conditions import CLASS, CLASSES, LABELS, RECORDINGS, TEXT, UNCONDITIONAL
from support.statistics import image_statistics

CALTECH = image_statistics(
    class_names=["039.Black_Finch", "040.Flycatcher", "139.Tanager", "139.Tern_2"], class_counts=[1] * 4
).model_copy(update={"class_numbers": [39, 40, 139, 1139]})
COUNTED = image_statistics(  # folders called 1 to 12, in the order of texts
    class_names=sorted(map(str, range(1, 13))), class_counts=[4] * 12
)
CUPS = image_statistics(
    class_names=["red cup 1", "red cup 12", "cup, big", "plate", "plate", "R\u00fcppell", "cl\u00e9"],
    class_numbers=[7, 1, 12, 400_000_000, 400_000_001, 3, 5],
    class_counts=[1, 1, 1, 1, 1, 1, 0],
)


def class_of(statistics: ImageStatistics, prompt: str) -> str:
    section = CLASS.model_copy(update={"num_classes": len(statistics.class_names)})
    label = parse_prompt(section, statistics, prompt)
    assert isinstance(label, int)
    return f"{statistics.class_numbers[label]} {statistics.class_names[label]}"


@pytest.mark.parametrize(
    ("prompt", "meant"),
    [
        ("ruby linnet", "1 001.Ruby_Linnet"),
        ("Ruby_Linnet", "1 001.Ruby_Linnet"),
        (" fox ", "3 003.Fox_Sparrow"),
        ("sparrow", "4 sparrow"),
        ("SPARROW", "4 sparrow"),
        ("sparrow (class number 4)", "4 sparrow"),
        ("4", "4 sparrow"),
        ("3", "3 003.Fox_Sparrow"),
        ("001", "1 001.Ruby_Linnet"),
    ],
)
def test_a_prompt_names_a_class_by_name_or_number(prompt: str, meant: str) -> None:
    """A full name is that class, even where it is a part of other names."""
    assert class_of(CLASSES, prompt) == meant


@pytest.mark.parametrize(
    ("prompt", "meant"),
    [
        ("39", "39 039.Black_Finch"),
        ("039", "39 039.Black_Finch"),
        ("40", "40 040.Flycatcher"),
        ("1139", "1139 139.Tern_2"),
        ("2", "1139 139.Tern_2"),
        ("39.black finch", "39 039.Black_Finch"),
    ],
)
def test_a_number_in_a_name_is_a_whole_number(prompt: str, meant: str) -> None:
    assert class_of(CALTECH, prompt) == meant


@pytest.mark.parametrize("name", [str(number) for number in range(1, 13)])
def test_a_class_that_is_called_by_a_number_is_found_by_its_name(name: str) -> None:
    """The class called 3 is the sixth, the sixth class is not what `6` means."""
    assert class_of(COUNTED, name).split()[1] == name


@pytest.mark.parametrize(
    ("prompt", "meant"),
    [
        ("red cup 1", "7 red cup 1"),
        ("cup 1", "7 red cup 1"),
        ("1", "7 red cup 1"),
        ("12", "1 red cup 12"),
        ("7", "7 red cup 1"),
        ("400000000", "400000000 plate"),
        ("0400000001", "400000001 plate"),
        ("Ru\u0308ppell", "3 R\u00fcppell"),
    ],
)
def test_numbers_are_those_of_the_data_set_however_large(prompt: str, meant: str) -> None:
    assert class_of(CUPS, prompt) == meant


@pytest.mark.parametrize(
    ("statistics", "prompt", "words"),
    [
        (CLASSES, "o", "'o' names several classes of this model: 002.Song_Sparrow, 003.Fox_Sparrow, sparrow .class"),
        (CLASSES, "rubby linet", "'rubby linet' names no class of this model; near it are 001.Ruby_Linnet"),
        (CLASSES, "5", "'5' names no class"),
        (CLASSES, "0", "'0' names no class"),
        (CLASSES, "-1", "'-1' names no class"),
        (CLASSES, "", "'' names no class"),
        (CLASSES, "xyzzy", "; it knows 001.Ruby_Linnet, 003.Fox_Sparrow, sparrow .class number 4."),
        (
            CLASSES,
            "Song_Sparrow",
            "'Song_Sparrow': 002.Song_Sparrow has no training examples, so the model never learnt",
        ),
        (CLASSES, "2", "'2': 002.Song_Sparrow has no training examples, .* it knows 001.Ruby_Linnet, 003"),
        (CALTECH, "139", "'139' names several classes of this model: 139.Tanager, 139.Tern_2 .class number 1139."),
        (COUNTED, "13", "'13' names no class"),
        (
            CUPS,
            "plate",
            "several classes of this model: plate .class number 400000000., plate .class number 400000001.",
        ),
        (CUPS, "5", "'5': cl\u00e9 .class number 5. has no training examples"),
    ],
)
def test_an_unclear_or_untrained_class_is_refused(statistics: ImageStatistics, prompt: str, words: str) -> None:
    with pytest.raises(PromptError, match=words):
        class_of(statistics, prompt)


def test_a_number_past_those_the_network_has_is_refused() -> None:
    """Classes without examples may lie beyond num_classes."""
    section = CLASS.model_copy(update={"num_classes": 2})
    assert trained_classes(section, CLASSES) == [0]
    with pytest.raises(PromptError, match=r"sparrow .class number 4. has no training examples"):
        parse_prompt(section, CLASSES, "sparrow")


def test_a_class_is_found_by_its_number_alone() -> None:
    section = CLASS.model_copy(update={"num_classes": 12})
    assert COUNTED.class_names[find_class_number(section, COUNTED, 3)] == "11"
    assert CUPS.class_names[find_class_number(section, CUPS, 1)] == "red cup 12"
    with pytest.raises(PromptError, match="class number 13: this model knows 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more"):
        find_class_number(section, COUNTED, 13)
    with pytest.raises(PromptError, match=r"class number 5: cl. .* has no training examples"):
        find_class_number(section, CUPS, 5)


@pytest.mark.parametrize(
    ("prompt", "labels"),
    [
        ("flute, slow", ("flute", "slow")),
        (" flute ,, slow, ", ("flute", "slow")),
        (" flute|slow | ", ("flute", "slow")),
        ("drum, bass", ("drum, bass",)),
        (" drum, bass ", ("drum, bass",)),
        ("flute | drum, bass", ("flute", "drum, bass")),
        ("drum, bass|", ("drum, bass",)),
        ("rock|pop", ("rock|pop",)),
        ("", ()),
    ],
)
def test_labels_come_with_commas_or_bars(prompt: str, labels: tuple[str, ...]) -> None:
    """Recipes may separate labels by anything, so a label may have commas or bars of its own."""
    recordings = RECORDINGS.model_copy(
        update={
            "label_names": [*RECORDINGS.label_names, "drum, bass", "rock|pop"],
            "recordings": [
                each.model_copy(update={"labels": [*each.labels, "drum, bass", "rock|pop"]})
                for each in RECORDINGS.recordings
            ],
        }
    )
    assert parse_prompt(LABELS, recordings, prompt) == labels


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("flut, slow", "the label 'flut'; did you mean 'flute'.$"),
        ("drum, flute, zzz", "the label 'drum'; it knows 4 labels, none like this. .* the label 'zzz'; it knows"),
        ("bell", "no training example has 'bell', so the model never learnt it"),
        ("bell, slow, Slow", "the label 'Slow'; did you mean 'slow'.; no training example has 'bell'"),
    ],
)
def test_all_labels_that_the_model_does_not_know_are_listed(prompt: str, words: str) -> None:
    assert trained_labels(RECORDINGS) == ["flute", "minor", "slow"]
    with pytest.raises(PromptError, match=words):
        parse_prompt(LABELS, RECORDINGS, prompt)


def test_text_is_taken_as_it_is() -> None:
    assert parse_prompt(TEXT, RECORDINGS, "a slow melody, on a bell") == "a slow melody, on a bell"


def test_a_model_without_conditions_takes_no_prompt() -> None:
    with pytest.raises(PromptError, match="kind = 'none': it takes no prompt"):
        parse_prompt(UNCONDITIONAL, RECORDINGS, "a bell")
