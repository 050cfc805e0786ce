"""The runs of a comparison: what a recipe says stands instead of what is said to all."""

import pytest

from data_pipeline.errors import UserError
from mypt_jax.frontier import command, recipes, training


def made_with(*flags, names=("chain", "ce", "kl")):
    plan = training.Plan("runs/tiny/base", "tiny", "out", flags)
    found = [
        training.candidate(plan, name, recipes.RECIPES[name], rate=1.0, seed=1, samples="own")
        for name in names
    ]
    training.check_flags(plan, found)
    return [run.stage.config for one in found for run in one.runs.values()]


@pytest.mark.parametrize(
    "flag",
    ["optim.peak_lr=1e-4", "seed=3", "num_steps=9", "workdir=x", "init_from=x"],
)
def test_what_the_comparison_sets_is_not_ignored_but_refused(flag):
    for dashes in ("--", "-"):
        with pytest.raises(UserError, match=flag.partition("=")[0]):
            made_with(f"{dashes}config.{flag}")


def test_a_mixture_is_refused():
    """What was measured was the text of the stage files, which nothing was trained on."""
    with pytest.raises(UserError, match="give data.domain and data.general"):
        made_with("--config.data.mixture=view")


def test_a_flag_that_no_recipe_takes_is_refused():
    """The chain takes it, recipes of one stage say it themselves."""
    flag = "--config.objective.replay=ce+kl"
    assert made_with(flag)[0]["objective"]["replay"] == "ce+kl"
    with pytest.raises(UserError, match="--recipes"):
        made_with(flag, names=("ce", "kl"))


def test_how_runs_are_watched_can_be_said():
    (one,) = made_with("--config.eval.drift=end", "--config.log.trackers=wandb", names=["kl"])
    assert one["eval"]["drift"] == "end" and one["log"]["trackers"] == ("wandb",)


def test_own_samples_take_the_place_of_general_text():
    """Both were mixed: a tuple's flag that is given twice adds up."""
    flags = ("--config.data.general=wiki", "--config.data.domain=mine")
    plan = training.Plan("runs/tiny/base", "tiny", "out", flags)
    made = training.candidate(
        plan, "samples", recipes.RECIPES["samples"], rate=1.0, seed=1, samples="own"
    )
    config = made.runs["adapt"].stage.config
    assert config["data"]["general"] == ("own",) and config["data"]["domain"] == ("mine",)
    assert training.data(plan)["general"] == ("wiki",)  # by which forgetting is measured


def test_the_steps_of_every_result_are_equal():
    plan = training.Plan("runs/tiny/base", "tiny", "out", ())
    totals = {}
    for name, recipe in recipes.RECIPES.items():
        one = training.candidate(plan, name, recipe, rate=1.0, seed=1, samples="own")
        needed = [one.runs[stage.name] for stage in recipe.needed]
        totals[name] = sum(run.stage.config["num_steps"] for run in needed)
    assert {*totals.values()} == {96}


def test_a_comparison_has_steps_of_its_own():
    plan = training.Plan("runs/tiny/base", "tiny", "out", (), num_steps=7)
    for name in ("ce", "control"):
        made = training.candidate(
            plan, name, recipes.RECIPES[name], rate=1.0, seed=1, samples="own"
        )
        assert made.runs["adapt"].stage.config["num_steps"] == 7


def test_all_are_compared_with_the_chain_or_with_the_first_that_is_named():
    assert [*command._recipes("kl,chain,ce", [], "tiny")] == ["chain", "kl", "ce"]
    assert [*command._recipes("kl,ce", [], "tiny")] == ["kl", "ce"]
    assert [*command._recipes("", [], "tiny")] == ["chain", "ce", "kl"]


STAGE_FILE = """
from configs import {parent}


def get_config(arg):
    config = {parent}.get_config(arg)
    config.stage, config.init_from = "mine", "{start}"
    return config
"""


def made_of(tmp_path, parent: str, start: str) -> training.Candidate:
    file = tmp_path / "mine.py"
    file.write_text(STAGE_FILE.format(parent=parent, start=start))
    recipe = command._recipes("mine", [str(file)], "tiny")["mine"]
    assert [*command._recipes("", [str(file)], "tiny")] == [*recipes.USUAL, "mine"]
    plan = training.Plan("runs/testbed/base", "tiny", "out", ())
    return training.candidate(plan, "mine", recipe, rate=1.0, seed=1, samples="")


def test_a_stage_file_is_trained_with_the_stages_that_it_names(tmp_path):
    """It was trained from the base, whatever it said that it starts from."""
    made = made_of(tmp_path, "v8", "runs/tiny/v7")
    assert [*made.runs] == ["v3", "v7", "mine"]
    starts = [run.stage.config["init_from"] for run in made.runs.values()]
    place = "out/runs/mine/rate=1,seed=1"
    assert starts == ["runs/testbed/base", f"{place}/v3", f"{place}/v7"]
    assert sum(run.stage.config["num_steps"] for run in made.runs.values()) == 96
    assert [*made_of(tmp_path, "v3", "runs/tiny/base").runs] == ["mine"]


@pytest.mark.parametrize("start", ["scratch", "runs/elsewhere/odd", "runs/tiny/v7@20"])
def test_a_stage_file_that_starts_from_something_else_is_refused(tmp_path, start):
    with pytest.raises(UserError, match=f"has init_from={start}"):
        made_of(tmp_path, "v8", start)


@pytest.mark.parametrize("rates", ["nan", "1,inf", "0.5,-1"])
def test_rates_are_finite_factors(rates):
    with pytest.raises(UserError, match="wanted factors above 0"):
        command.main(["--base=runs/base", "--out_dir=out", f"--rates={rates}"])


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--behaviour=nowhere", "no dataset directory nowhere"),
        ("--elsewhere=nowhere", "no dataset directory nowhere"),
        ("--behaviour={general}", "wanted a dataset that mypt sample wrote"),
    ],
)
def test_what_cannot_be_measured_is_told_before_anything_is_trained(
    flag, said, datasets, tmp_path, monkeypatch
):
    """It was found when the first seed of all recipes had been trained."""
    monkeypatch.setattr(training, "check_base", lambda plan, candidates: None)
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("trains"))
    flags = [f"--config.data.{role}={path}" for role, path in datasets.items()]
    arguments = ["--base=runs/tiny/base", f"--out_dir={tmp_path}/out", "--recipes=ce,kl", *flags]
    with pytest.raises(UserError, match=said):
        command.main([*arguments, flag.format(**datasets)])
