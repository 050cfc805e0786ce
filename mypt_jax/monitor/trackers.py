"""Where metrics also go, by name: a tracker is a file and a row of this table.

Names of figures are those of metrics.jsonl, behind train/, eval/, time/ or data/. Trackers are
observers, on the first process only. None is needed to resume: metrics.jsonl stays the record.
"""

from collections.abc import Callable, Mapping

from mypt_jax.monitor import observer
from mypt_jax.monitor.tensorboard import TensorBoard
from mypt_jax.monitor.tracked import Tracked
from mypt_jax.monitor.weights_and_biases import WandB

# By their names in config.log.trackers.
TRACKERS: dict[str, Callable[[Tracked], observer.Observer]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
}


class Unfailing(observer.Observer):
    """A tracker whose failures end nothing: the first one is told, as `name`."""

    def __init__(self, name: str, tracker: observer.Observer, say: Callable[[str], None]):
        self._name, self._tracker, self._say = name, tracker, say
        self._told = False

    def at_row(self, row: Mapping) -> None:
        self._attempt(lambda: self._tracker.at_row(row))

    def close(self) -> None:
        self._attempt(self._tracker.close)

    def _attempt(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # each library has exceptions of its own
            if not self._told:
                self._say(f"warning: log.trackers: {self._name} lacks rows: {error}")
            self._told = True


def start(run: Tracked) -> list[observer.Observer]:
    """The trackers that config.log.trackers names. Raises UserError when one cannot be had."""
    names = run.config["log"]["trackers"]
    return [Unfailing(name, TRACKERS[name](run), run.say) for name in names]
