"""What a run executes of that which was made before, and that the page's form runs a recipe by its name."""

import pytest

from support.cluster_site import TASKS, Mlflow, Site

pytestmark = pytest.mark.cluster


def test_a_repeated_run_executes_only_what_looks_outside(site: Site, mlflow: Mlflow) -> None:
    first = site.submit("repeated")
    assert site.end_of(first) == "SUCCEEDED"
    weights = mlflow.weights("repeated")
    again = site.submit("repeated")
    assert site.end_of(again) == "SUCCEEDED"
    assert site.executed(again) == {"look", "gate", "close"}
    assert mlflow.weights("repeated") == weights  # of one version: the second run made none


def test_an_unchanged_run_ends_after_look(site: Site) -> None:
    assert site.end_of(site.submit("unchanged")) == "SUCCEEDED"
    run_id = site.submit("unchanged", only_if_changed=True)
    assert site.end_of(run_id) == "SUCCEEDED"
    assert site.executed(run_id) == {"look", "close"}


def test_without_the_cache_every_task_is_executed(site: Site, undisturbed: str) -> None:
    """So that the tests above, and those of faults, see what they mean to see."""
    assert site.executed(undisturbed) == set(TASKS)


def test_the_form_runs_a_recipe_by_its_name(site: Site) -> None:
    """With what the form sends: one line for each parameter."""
    model = f"register.model_name={site.model('form')}"
    run_id = site.submit_text("birds-demo", "form", overrides=model)
    assert site.end_of(run_id) == "SUCCEEDED"
