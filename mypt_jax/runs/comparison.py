"""Which losses of two evaluations may be compared: one answer for trainer, guard, report and card.

Those of the same windows of the same text, by the evaluations' own records, and no others: another
draw of windows differs by more than a stage forgets.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mypt_jax.runs.evaluations import Evaluation, Source, mean_and_stderr, pooled, role_of

# What stands in a cell instead of a figure, and why behind it.
OTHER = "other windows"
UNKNOWN = "not measured"


class Difference(NamedTuple):
    """final - start of one loss, nats/token; percent of start."""

    start: float
    final: float
    stderr: float  # paired over documents; nan where it is unknown
    sources: tuple[str, ...]
    left_out: Mapping[str, str]  # {source: why}

    @property
    def nats(self) -> float:
        return self.final - self.start

    @property
    def share(self) -> float:
        return self.nats / self.start if self.start else math.nan

    @property
    def percent(self) -> float:
        return 100 * self.share


class Refusal(NamedTuple):
    """Why there is no difference; begins with OTHER or UNKNOWN."""

    reason: str

    @property
    def word(self) -> str:
        return OTHER if self.reason.startswith(OTHER) else UNKNOWN


def why_other(one: Source, other: Source) -> str:
    """Why these are not the same windows of the same text; "" where they are.

    By their tokens; of files from before that was recorded by the documents, and how much of each.
    """
    same = np.array_equal(one.tokens_D, other.tokens_D)
    if one.fingerprint and other.fingerprint:
        same = same and one.fingerprint == other.fingerprint
    else:
        same = same and np.array_equal(one.doc_D, other.doc_D)
    if same:
        return ""
    counts = len(one.loss_W), len(other.loss_W)
    return (
        f"{counts[0]:,}, not {counts[1]:,}"
        if all(counts) and len({*counts}) > 1
        else "not the same text"
    )


def compare(
    own: Evaluation,
    other: Evaluation,
    name: str,
    *,
    shares: Mapping[str, float] | None = None,
) -> Difference | Refusal:
    """own - other of a role or a source, over those sources that both measured alike.

    By their tokens; with `shares` ({key: weight}) over the sources that these name, by the weights.
    """
    if own.fault or other.fault:
        return Refusal(f"{UNKNOWN}: {own.fault or other.fault}")
    wanted = own.of(name)
    if shares is not None:
        wanted = {key: one for key, one in own.sources.items() if shares.get(key)}
    pairs, left_out = {}, {}
    for key, mine in wanted.items():
        theirs = _counterpart(key, mine, other)
        if isinstance(theirs, Source):
            pairs[key] = (mine, theirs)
        else:
            left_out[key] = theirs
    if not pairs:
        return _refusal(left_out) if left_out else Refusal(f"{UNKNOWN}: {name} was not evaluated")
    start, final, stderr = _means(pairs, shares)
    if not math.isfinite(final - start):
        return Refusal(f"{UNKNOWN}: the loss is not finite")
    return Difference(start, final, stderr, tuple(pairs), left_out)


def _means(
    pairs: Mapping[str, tuple[Source, Source]], shares: Mapping[str, float] | None
) -> tuple[float, float, float]:
    """(the other's, own, standard error of the difference)."""
    mine, theirs = zip(*pairs.values(), strict=True)
    if shares is None:
        return pooled(theirs), pooled(mine), _paired_stderr(mine, theirs)
    weights = np.array([shares[key] for key in pairs])
    weights /= weights.sum()
    errors = [_paired_stderr([a], [b]) for a, b in pairs.values()]
    start = float(weights @ [pooled([one]) for one in theirs])
    final = float(weights @ [pooled([one]) for one in mine])
    return start, final, float(np.linalg.norm(weights * errors))


def _paired_stderr(mine: Sequence[Source], theirs: Sequence[Source]) -> float:
    """Of the difference: what two losses on the same documents share says nothing about it."""
    change_D = np.concatenate(
        [a.nll_sum_D - b.nll_sum_D for a, b in zip(mine, theirs, strict=True)]
    )
    return mean_and_stderr(change_D, np.concatenate([one.tokens_D for one in mine]))[1]


def why_apart(one: Evaluation, other: Evaluation, name: str) -> str:
    """Why the losses of a role or source, as a whole, are not of the same text; "" where they
    are."""
    for own, theirs in ((one, other), (other, one)):
        # Within the role: text that the other has in another one is not in its mean.
        found = compare(own, dataclasses.replace(theirs, sources=theirs.of(name)), name)
        if isinstance(found, Refusal):
            return found.reason
        if found.left_out:
            return _refusal(found.left_out).reason
    return ""


def alike(evaluations: Sequence[Evaluation], name: str) -> list[list[int]]:
    """The evaluations, by their numbers, in groups of the same text, the largest first; those that
    say nothing of the role are in none."""
    groups: list[list[int]] = []
    kinds: dict[tuple, int] = {}
    known: dict[tuple[int, int], bool] = {}
    kind_of: dict[int, int] = {}

    def are_apart(one: int, other: int) -> bool:
        """Asked once of two kinds of text: many runs measured few."""
        pair = (kind_of[one], kind_of[other])
        if pair not in known:
            known[pair] = bool(why_apart(evaluations[one], evaluations[other], name))
        return known[pair]

    for number, one in enumerate(evaluations):
        if one.fault or not one.of(name):
            continue
        kind_of[number] = kinds.setdefault(_text_of(one), len(kinds))
        for group in groups:
            # With all of it: what an older file says may fit two that differ.
            if not any(are_apart(number, other) for other in group):
                group.append(number)
                break
        else:
            groups.append([number])
    return sorted(groups, key=len, reverse=True)


def _text_of(one: Evaluation) -> tuple:
    """All that why_apart looks at: which windows of which text, and whether the loss is finite."""
    return tuple(
        (
            key,
            source.fingerprint,
            source.tokens_D.tobytes(),
            source.doc_D.tobytes(),
            len(source.loss_W),
            math.isfinite(source.nll_sum_D.sum()),
        )
        for key, source in sorted(one.sources.items())
    )


def baseline(
    own: Evaluation, candidates: Iterable[tuple[str, Evaluation]]
) -> tuple[Evaluation, dict[str, str]]:
    """(what one model was measured at on the windows of `own`, {source: name of the candidate}).

    Candidates are evaluations of that model, each with a name; of every source the first is taken
    that saw these windows.
    """
    sources, origin, absent = {}, {}, {}
    for name, other in candidates:
        if len(sources) == len(own.sources):
            break
        for key, mine in own.sources.items():
            if key in sources:
                continue
            found = f"{UNKNOWN}: {other.fault}" if other.fault else _counterpart(key, mine, other)
            if isinstance(found, Source):
                sources[key], origin[key] = found, name
            elif found.startswith(OTHER) or key not in absent:
                absent[key] = found
    return Evaluation(
        sources, {key: why for key, why in absent.items() if key not in sources}
    ), origin


def _counterpart(key: str, mine: Source, other: Evaluation) -> Source | str:
    """The source of another evaluation with the same windows, whatever its name; or why none is."""
    named = other.sources.get(key)
    why = why_other(mine, named) if named else ""
    if named and not why:
        return named
    for one in other.sources.values() if mine.fingerprint else ():
        if one.fingerprint and not why_other(mine, one):
            return one
    if named:
        return f"{OTHER}: {key}, {why}"
    word = OTHER if other.of(role_of(key)) else UNKNOWN
    return other.absent.get(key) or f"{word}: {key} was not evaluated there"


def _refusal(left_out: Mapping[str, str]) -> Refusal:
    """Of several reasons, each once, other windows first."""
    reasons = sorted(dict.fromkeys(left_out.values()), key=lambda why: not why.startswith(OTHER))
    return Refusal("; ".join(reasons))
