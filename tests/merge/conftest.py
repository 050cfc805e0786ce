"""A small lineage, base -> v3 -> v5, trained once in this process for all tests here."""

import contextlib
from pathlib import Path

import pytest
from conftest import SMALL, made_once

from mypt_jax.monitor import preemption
from mypt_jax.schema import overrides as flags
from mypt_jax.schema import stage_file, validation
from mypt_jax.train import stage as stages

SHAPE = {  # of SMALL, so that what it compiles is there for other tests, and theirs for these
    **SMALL,
    "num_steps": 2,
    "optim.warmup_steps": 1,
    "optim.peak_lr": 0.01,
    "eval.windows": 12,
    "guard.action": "warn",
}
PARENTS = {"base": "", "v3": "base", "v5": "v3"}


def run_stage(name: str, values: dict) -> None:
    """As `python -m mypt_jax.main`, in this process."""
    config = stage_file.load(f"configs/{name}.py:tiny")
    given, rest = flags.apply(config, [f"--config.{key}={x}" for key, x in values.items()])
    assert not rest
    validated = validation.validate(config.to_dict(), overridden=given)
    with contextlib.closing(preemption.Interrupts()) as interrupts:
        stages.run_stage(validated, interrupts)


@pytest.fixture(scope="session")
def lineage_values(datasets, compile_cache) -> dict:
    """What all stages of the small lineage have in common."""
    data = {"data.domain": datasets["domain"], "data.general": datasets["general"]}
    return {**SHAPE, **data, "compile_cache": compile_cache}


@pytest.fixture(scope="session")
def family(shared, lineage_values) -> Path:
    """The directory of the small lineage's runs, to be read only."""
    root = shared / "family"
    with made_once(root) as is_missing:
        for name, parent in PARENTS.items() if is_missing else ():
            own = {"workdir": root / name}
            if parent:
                own["init_from"] = root / parent
            run_stage(name, {**lineage_values, **own})
    return root
