"""Where metrics also go, by name: a tracker is a file and a row of this table.

Names of figures are those of metrics.jsonl. Trackers are observers, on the first process only. None
is needed to resume: metrics.jsonl stays the record.
"""

from collections.abc import Callable

from mypt_jax.monitor import observer
from mypt_jax.monitor.tensorboard import TensorBoard
from mypt_jax.monitor.tracked import Tracked
from mypt_jax.monitor.weights_and_biases import WandB

# By their names in config.log.trackers.
TRACKERS: dict[str, Callable[[Tracked], observer.Observer]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
}


def start(run: Tracked) -> list[observer.Observer]:
    """The trackers that config.log.trackers names. Raises UserError when one cannot be had."""
    return [TRACKERS[name](run) for name in run.config["log"]["trackers"]]
