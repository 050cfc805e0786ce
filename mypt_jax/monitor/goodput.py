"""Where the wall time of a run went, over all its starts: goodput.json.

Every moment of a process belongs to exactly one phase; what lies between the last record of one
process and the start of the next is `stopped`. So the phases add up to the wall time since the
first start. A step done again after a restart counts as `redone_steps`, not as productive.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping

from mypt_jax.monitor import observer
from mypt_jax.runs import kinds, layout, lineage

FILE = "goodput.json"
PRODUCTIVE = "steps"
PHASES = (
    "steps",
    "redone_steps",
    "data_wait",
    "evaluation",
    "save",
    "restore",
    "compilation",
    "initialisation",
    "stopped",
)
_FLUSH_SECS = 1.0  # at most this is unknown after a kill, and then counted as stopped


def process_start() -> float:
    """Unix time at which this process was started; now where the system does not tell."""
    try:
        with open("/proc/self/stat", encoding="ascii") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError):
        return time.time()
    return time.time() - age


class Ledger(observer.Observer):
    """Times the phases of this process and adds them to those of earlier ones."""

    def __init__(
        self,
        workdir: str,
        *,
        started: float,
        is_writer: bool,
        is_owner: Callable[[], bool] = lambda: True,
    ):
        """`started`: unix time from which this process counts, as `initialisation`; nothing is
        written when `is_owner` says that the run has another owner by now."""
        self._path = layout.join(workdir, FILE)
        self._is_writer = is_writer
        self._is_owner = is_owner
        self._started = started
        self._since = time.monotonic() - max(0.0, time.time() - started)
        self._phase = "initialisation"
        self._secs = dict.fromkeys(PHASES, 0.0)
        self._earlier: list[dict] = []
        self._flushed = 0.0
        self._done = 0

    def open(self) -> None:
        """Reads the record of earlier processes; the owner of the run calls it."""
        self._earlier = read(os.path.dirname(self._path))

    @property
    def reached(self) -> int:
        """The last step that an earlier process has finished."""
        return max((entry["done"] for entry in self._earlier), default=0)

    def enter(self, phase: str) -> str:
        """From now on time belongs to `phase`; returns the phase before."""
        assert phase in self._secs
        now, before = time.monotonic(), self._phase
        self._secs[before] += now - self._since
        self._since, self._phase = now, phase
        return before

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        before = self.enter(name)
        try:
            yield
        finally:
            self.enter(before)

    def before_step(self, done: int) -> None:
        self.enter("redone_steps" if done < self.reached else PRODUCTIVE)
        self._done = done

    def after_step(self, done: int, figures: Mapping[str, float]) -> None:
        self.flush(done)

    def close(self) -> None:
        self.flush(now=True)

    def flush(self, done: int | None = None, *, now: bool = False) -> None:
        """Writes the record, at most once a second unless `now`."""
        self._done = self._done if done is None else done
        self.enter(self._phase)
        if not self._is_writer or not (now or time.monotonic() - self._flushed > _FLUSH_SECS):
            return
        self._flushed = time.monotonic()
        if not self._is_owner():
            return
        # A disk that is full or gone is told by those who write what a run cannot do without.
        with contextlib.suppress(OSError):
            lineage.write_json(self._path, {"schema": 1, "starts": [*self._earlier, self._own()]})

    def _own(self) -> dict:
        secs = {name: round(value, 3) for name, value in self._secs.items() if value}
        ended = self._started + sum(self._secs.values())
        return {"started": self._started, "ended": ended, "done": self._done, "secs": secs}

    def summary(self) -> dict:
        """{"wall_secs", "goodput" (share of productive steps), "starts", "secs": by phase}."""
        self.enter(self._phase)
        return summarise([*self._earlier, self._own()])


def read(workdir: str) -> list[dict]:
    """What each process of a run spent its time on, the first one first. Raises UserError."""
    path = layout.join(workdir, FILE)
    if not os.path.exists(path):
        return []
    return lineage.read_json(path, what=f"run {workdir}", wanted=kinds.GOODPUT)["starts"]


def summarise(starts: list[dict]) -> dict:
    """What the processes of a run spent their time on, as `Ledger.summary` has it."""
    secs = dict.fromkeys(PHASES, 0.0)
    for entry in starts:
        for name, value in entry["secs"].items():
            secs[name] = secs.get(name, 0.0) + value  # of another version there may be more
    for before, after in zip(starts, starts[1:], strict=False):
        secs["stopped"] += max(0.0, after["started"] - before["ended"])
    wall = starts[-1]["ended"] - starts[0]["started"]
    if any(b["started"] < a["ended"] for a, b in zip(starts, starts[1:], strict=False)):
        wall = sum(secs.values())  # a clock was set back: only durations can be trusted
    return {
        "wall_secs": wall,
        "goodput": secs[PRODUCTIVE] / max(wall, 1e-9),
        "starts": len(starts),
        "secs": {name: round(value, 3) for name, value in secs.items()},
    }


def line(summary: dict) -> str:
    """goodput 81 % of 120 s in 2 starts: steps 97 s, compilation 9 s, ..."""
    parts = sorted(summary["secs"].items(), key=lambda item: -item[1])
    shown = ", ".join(f"{name.replace('_', ' ')} {secs:.1f} s" for name, secs in parts if secs)
    return (
        f"goodput {summary['goodput']:.0%} of {summary['wall_secs']:.0f} s in "
        f"{summary['starts']} start{'s' if summary['starts'] > 1 else ''}: {shown}"
    )
