"""A small lineage, base -> v3 -> v5, and stages on top of it, trained in this process."""

import contextlib
from pathlib import Path

from conftest import SMALL

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


def train_family(root: Path, values: dict) -> None:
    """The runs of the small lineage, in a directory."""
    for name, parent in PARENTS.items():
        own = {"workdir": root / name}
        if parent:
            own["init_from"] = root / parent
        run_stage(name, {**values, **own})
