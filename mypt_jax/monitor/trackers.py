"""Where metrics also go: TensorBoard event files, and Weights & Biases where asked for.

Names are those of metrics.jsonl. Trackers are observers, on the first process only. None is needed
to resume: metrics.jsonl stays the record.
"""

import math
import os
from collections.abc import Mapping

from data_pipeline.errors import UserError
from mypt_jax.monitor import observer

EVENTS = "events"


def _scalars(row: Mapping) -> dict[str, float]:
    """The row's finite numbers; run_id and the like are no curves, and `step` is the axis."""
    return {
        key: float(value)
        for key, value in row.items()
        if isinstance(value, int | float) and math.isfinite(value) and key != "step"
    }


class TensorBoard(observer.Observer):
    """Event files under <workdir>/events, written without TensorFlow."""

    def __init__(self, workdir: str, *, first_step: int):
        """`first_step`: TensorBoard hides what an interrupted run logged at it and later."""
        # Not at the top: it loads torch where that is installed, which takes seconds.
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(
            os.path.join(workdir, EVENTS), purge_step=first_step or None, flush_secs=10
        )

    def at_row(self, row: Mapping) -> None:
        for key, value in _scalars(row).items():
            self._writer.add_scalar(key, value, row["step"])

    def close(self) -> None:
        self._writer.close()


class WandB(observer.Observer):
    """A run of Weights & Biases; WANDB_MODE=offline keeps it on disk under <workdir>/wandb."""

    def __init__(self, workdir: str, *, project: str, run_id: str, config: Mapping):
        try:
            import wandb
        except ImportError as error:
            raise UserError(
                f"log.wandb_project={project!r} needs wandb, which is not installed: "
                "pip install -r requirements-wandb.txt, or leave log.wandb_project empty"
            ) from error
        try:
            self._run = wandb.init(
                project=project,
                name=f"{config['size']}/{config['stage']}",
                id=run_id,
                resume="allow",
                dir=workdir,
                config=dict(config),
            )
        except Exception as error:  # of its own kinds: no login, no network, no such entity
            raise UserError(
                f"log.wandb_project={project!r}: Weights & Biases does not start: {error}; log in, "
                "set WANDB_MODE=offline, or leave it empty"
            ) from error
        # W&B's own counter never goes back, which a resumed run must be able to.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def at_row(self, row: Mapping) -> None:
        self._run.log({"step": row["step"], **_scalars(row)})

    def close(self) -> None:
        self._run.finish()


def start(
    workdir: str, *, config: Mapping, run_id: str, first_step: int, tensorboard: bool, project: str
) -> list[observer.Observer]:
    """The trackers that the config asks for. Raises UserError when one is not installed.

    `run_id` names the run over all its resumptions; `first_step` is the first that will be written.
    """
    found: list[observer.Observer] = []
    if project:
        found.append(WandB(workdir, project=project, run_id=run_id, config=config))
    if tensorboard:
        found.append(TensorBoard(workdir, first_step=first_step))
    return found
