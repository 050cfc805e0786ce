"""The row of metrics that a step leaves: its figures, its speed, and the text it has come to."""

from collections.abc import Mapping
from typing import Any

from jax.sharding import Mesh

from data_pipeline.batches import loader as loaders
from mypt_jax.monitor import step_guard, timing
from mypt_jax.schema import duration


class Rows:
    """Makes rows: values, which the loop hands on."""

    def __init__(
        self,
        config: Mapping,
        *,
        past_tokens: int,
        more_tokens: int,
        loader: loaders.TrainLoader,
        guard: step_guard.StepGuard,
        watch: timing.Timing,
        mesh: Mesh,
    ):
        self._config, self.loader, self.guard = config, loader, guard
        self._watch, self._mesh = watch, mesh
        self._past_tokens = past_tokens  # of the ancestors
        self._more_tokens = more_tokens  # of this run, where its batches were others
        self._tokens_per_step = config["batch_size"] * config["model"]["block_size"]

    def is_due(self, done: int) -> bool:
        """Whether the row of a step is written."""
        every_steps = self._config["log"]["every_steps"]
        return done % every_steps == 0 or duration.is_evaluation_due(self._config, done)

    def make(self, done: int, figures: Mapping[str, float]) -> dict:
        """{"step", "loss", "lr", "grad_norm", ..}; with speed, tokens, shares and epochs where the
        row is due."""
        row = {"step": done, **figures}
        if not self.is_due(done):
            return row
        counts, epochs = self.loader.counts(done), self.loader.epochs(done)
        windows = max(1, sum(counts.values()))
        tokens = done * self._tokens_per_step + self._more_tokens
        return {
            **row,
            "nonfinite_steps": self.guard.nonfinite_steps,
            "tokens": tokens,
            "lineage_tokens": self._past_tokens + tokens,
            **self._watch.figures(self._tokens_per_step, self._mesh, self._config["model"]),
            **{f"share/{key}": int(n) / windows for key, n in counts.items()},
            **{f"epochs/{key}": float(epochs[key]) for key in counts},
        }


def means(figures: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a step from the device: (sum, count) as their mean, left out where nothing
    was counted."""
    found = {}
    for name, value in figures.items():
        if isinstance(value, tuple):
            total, count = map(float, value)
            if count:
                found[name] = total / count
        else:
            found[name] = float(value)
    return found


def name_batch(loader: loaders.TrainLoader, batch: int) -> str:
    """Which text a batch was: it can be had again by its number, seed and data."""
    before, after = loader.counts(batch), loader.counts(batch + 1)
    drawn = ", ".join(f"{after[k] - before[k]} of {k}" for k in after if after[k] > before[k])
    return f"batch {batch} (seed {loader.seed}): windows {drawn}"
