"""A finished run is left as it is: other values, trackers that do not start, its optimizer."""

import json

import pytest
from conftest import train

from mypt_jax.runs import layout


@pytest.fixture(scope="module")
def finished(datasets, compile_cache, tmp_path_factory):
    """(workdir, overrides) of a run that kept its optimizer state."""
    from conftest import SMALL

    workdir = tmp_path_factory.mktemp("finished") / "base"
    overrides = SMALL | {
        "data.domain": datasets["domain"],
        "data.general": datasets["general"],
        "compile_cache": compile_cache,
        "checkpoint.keep_optimizer": True,
        "workdir": workdir,
    }
    done = train("base", overrides)
    assert done.returncode == 0, done.stderr
    return workdir, overrides


def state_of(workdir) -> dict:
    return {
        str(path.relative_to(workdir)): path.stat().st_mtime_ns
        for path in sorted(workdir.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    "change",
    [
        {"optim.peak_lr": 0.5},
        {"seed": 7},
        {"num_steps": 6},
        {"accumulation_steps": 4},
        {"guard.skip_spikes": True},
    ],
)
def test_other_values_are_refused(finished, change):
    """It would look as if they had been trained with."""
    workdir, overrides = finished
    before = state_of(workdir)
    done = train("base", overrides | change)
    assert done.returncode == 2
    assert "is finished (step 12), with " in done.stderr and "another value wants" in done.stderr
    assert state_of(workdir) == before


def test_what_only_concerns_running_is_no_change_and_the_optimizer_stays(finished):
    workdir, overrides = finished
    before = state_of(workdir)
    more = {"log.every_steps": 5, "checkpoint.keep_optimizer": False, "model.remat": "full"}
    done = train("base", overrides | more)
    assert done.returncode == 0, done.stderr
    assert "nothing to do, also not for checkpoint.keep_optimizer: True -> False\n" in done.stdout
    assert state_of(workdir) == before
    assert any("/rest/" in name for name in before)


def test_a_run_of_an_older_version_is_compared_with_what_it_had(finished):
    """No message asks for None."""
    workdir, overrides = finished
    path = workdir / "config.json"
    text = path.read_text()
    try:
        config = json.loads(text)
        del config["model"]["n_kv_head"], config["optim"]["eps"], config["distributed"]
        path.write_text(json.dumps(config))
        same = train("base", overrides)
        assert same.returncode == 0 and "nothing to do\n" in same.stdout, same.stderr
        other = train("base", overrides | {"optim.eps": 1e-6})
        assert other.returncode == 2 and "optim.eps: 1e-08 -> 1e-06;" in other.stderr
    finally:
        path.write_text(text)


def test_a_tracker_that_does_not_start_leaves_it_finished(finished, tmp_path):
    workdir, overrides = finished
    (tmp_path / "wandb.py").write_text("def init(**_): raise RuntimeError('no login')")
    more = {"num_steps": 15, "log.trackers": "wandb", "log.wandb_project": "x"}
    done = train("base", overrides | more, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.count("error: ") == 1 and "no login" in done.stderr
    assert layout.finished(workdir)["step"] == 12
    assert json.loads((workdir / "config.json").read_text())["num_steps"] == 12
