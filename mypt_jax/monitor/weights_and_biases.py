"""Weights & Biases: rows as a run of a project there."""

from collections.abc import Mapping

from data_pipeline.errors import UserError
from mypt_jax.monitor import observer
from mypt_jax.monitor.tracked import Tracked, scalars


class WandB(observer.Observer):
    """A run of Weights & Biases; WANDB_MODE=offline keeps it on disk under <workdir>/wandb."""

    def __init__(self, run: Tracked):
        config = run.config
        project = config["log"]["wandb_project"]
        if not project:
            raise UserError(
                "log.trackers has wandb, but log.wandb_project is empty: name the project, or "
                "leave wandb out"
            )
        try:
            import wandb
        except ImportError as error:
            raise UserError(
                f"log.wandb_project={project!r} needs wandb, which is not installed: "
                "pip install -r requirements-wandb.txt, or leave wandb out of log.trackers"
            ) from error
        try:
            self._run = wandb.init(
                project=project,
                name=f"{config['size']}/{config['stage']}",
                id=run.run_id,
                resume="allow",
                dir=run.workdir,
                config=dict(config),
            )
        except Exception as error:  # of its own kinds: no login, no network, no such entity
            raise UserError(
                f"log.wandb_project={project!r}: Weights & Biases does not start: {error}; log in, "
                "set WANDB_MODE=offline, or leave wandb out of log.trackers"
            ) from error
        # W&B's own counter never goes back, which a resumed run must be able to.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        self._tokens_at = run.tokens_at

    def at_row(self, row: Mapping) -> None:
        tokens = self._tokens_at(row["step"])  # an axis to choose, of all runs of a lineage
        self._run.log({"step": row["step"], **scalars(row), "data/lineage_tokens": tokens})

    def close(self) -> None:
        self._run.finish()
