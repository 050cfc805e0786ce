"""Runs that differ in their seed alone are a group: one look on the page, their spread in a row."""

import json
import math
import os
import re
import statistics
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mypt_jax.report.run import Run

# Told apart on white and on near-black, and by most colour-blind readers (after Okabe and Ito).
COLOURS = ("#8a929e", "#2f7ed8", "#e8820c", "#12a06a", "#c0399f", "#8a63d2", "#c9a400", "#6b7f2a")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "star", "hexagon", "cross", "pentagon")
# "dash" is for what was measured on other windows.
DASHES = ("solid", "dot", "dashdot", "longdash", "longdashdot")
FEW = len(COLOURS)  # groups that have colours of their own

_OWN_KEYS = ("seed", "workdir")  # what the runs of a group may differ in
_SEED = re.compile(r"[,_\-./]?seed[=_-]?\d*$|[,_\-./]$")


class Look(NamedTuple):
    """How a run is drawn. No two of the first 64 groups have colour and symbol in common."""

    colour: str
    symbol: str
    dash: str


@dataclass(frozen=True)
class Group:
    """Runs with one config but for the seed, from one parent; mostly one run."""

    name: str
    runs: list[Run]
    look: Look

    @property
    def label(self) -> str:
        """Its name where there is little room: of a sweep's trial the values alone."""
        short = self.name.rpartition("/")[2]
        if len(short) > 20 and "=" in short:
            short = ", ".join(part.partition("=")[2] or part for part in short.split(","))
        return short if len(short) <= 24 else f"{short[:11]}\u2026{short[-12:]}"

    @property
    def title(self) -> str:
        return f"{self.name} (seeds: {len(self.runs)})" if len(self.runs) > 1 else self.name


def look(number: int) -> Look:
    turn, place = divmod(number, FEW)
    return Look(COLOURS[place], SYMBOLS[(place + turn) % len(SYMBOLS)], DASHES[turn % len(DASHES)])


def groups(runs: Sequence[Run]) -> list[Group]:
    """In the order of their first runs."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(_key(run), []).append(run)
    names: set[str] = {run.name for run in runs}
    named = []
    for number, members in enumerate(found.values()):
        own = {run.name for run in members}
        name = _name(members, names - own)
        names.add(name)
        named.append(Group(name, members, look(number)))
    return named


def by_run(found: Sequence[Group]) -> dict[str, Group]:
    """{name of a run: its group}."""
    return {run.name: group for group in found for run in group.runs}


def _key(run: Run) -> str:
    if run.merged_from:
        return run.name
    own = {key: value for key, value in run.config.items() if key not in _OWN_KEYS}
    digest = (run.record["parent"] or {}).get("params_sha256", "")
    # By text and shares: the fingerprint of a run's batches has its seed in it.
    sources = run.record["data"].get("sources", {})
    data = {key: (one["fingerprint"], str(one["share"])) for key, one in sources.items()}
    return json.dumps([digest, data, own], sort_keys=True, default=str)


def _name(runs: Sequence[Run], taken: Collection[str]) -> str:
    """What the names of several runs begin with, unless that is another one's: else the first."""
    if len(runs) == 1:
        return runs[0].name
    shared = _SEED.sub("", os.path.commonprefix([run.name for run in runs]))
    return shared if shared and shared not in taken else runs[0].name


def spread(group: Group, value: Callable[[Run], float | None]) -> tuple[float, float] | None:
    """(mean, standard deviation) of a figure over the runs that have it; nan for one alone."""
    found = [x for run in group.runs if (x := value(run)) is not None]
    if not found:
        return None
    return statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else math.nan
