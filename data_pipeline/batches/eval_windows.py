"""The fixed windows that every evaluation of a lineage reads.

Of every source the documents of val are halved by hash. What is chosen (a step, a limit, a point on
a line) is chosen on one half; what is said at the end is measured on the other, `report/..`, which
nothing was chosen on.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

from data_pipeline import errors, hashing
from data_pipeline.batches import answers as answer_tokens
from data_pipeline.batches import mixture
from data_pipeline.batches.batch import begun
from data_pipeline.tokens import shards, streams

# Versions of the plan; a lineage keeps the one that it was begun with.
WHOLE = 1  # windows over all of val; what is evaluated only counts in its role
HALVES = 2

REPORT = "report/"  # before the keys of the half that is kept
EXTRA = "extra/"  # before the keys of what is evaluated only, beside a role of its own windows
NOT_COUNTED = -1
_HALF_SEED = 0x5EED  # of no other order of documents
_STRETCH_TOKENS = 1 << 14  # what stands for a document where ends are not known


@dataclasses.dataclass(frozen=True)
class EvalWindows:
    """tokens int32[W, L + 1]; doc_WL int64[W, L]: the val document of each target token, or
    NOT_COUNTED."""

    tokens: np.ndarray
    doc_WL: np.ndarray
    note: str  # what is worth telling, or empty

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the tokens, and of which targets are of one document: whatever a source is
        called and however its documents are numbered."""
        _, rank = np.unique(self.doc_WL, return_inverse=True)
        # What does not count is no document: without the first one it would have its rank.
        rank = np.where(self.doc_WL == NOT_COUNTED, NOT_COUNTED, rank.reshape(self.doc_WL.shape))
        digest = hashlib.sha256(f"{self.tokens.shape}\n".encode())
        digest.update(np.ascontiguousarray(self.tokens, "<i4").data)
        digest.update(np.ascontiguousarray(rank, "<i8").data)
        return digest.hexdigest()

    def begun(self, dataset: shards.Dataset) -> "EvalWindows":
        """Returns them with BOS where they are cut out of a document. Raises UserError where
        documents do not begin with it."""
        return dataclasses.replace(self, tokens=begun(self.tokens, **dataset.edges()))


def eval_windows(
    source: shards.Source,
    *,
    block_size: int,
    num_windows: int,
    answers: Mapping | None = None,
) -> EvalWindows:
    """Returns windows spread evenly over the whole val split; all of them where it has fewer.

    `answers`: what alone counts of a dataset of conversations, {"after", "end"} as
    answers.of_stream takes them. Raises UserError where it has none.
    """
    stream = source.stream("val")
    found = _windows(
        stream,
        [(0, len(stream))],
        block_size=block_size,
        num_windows=num_windows,
        answers=answers,
    )
    if found is None and len(stream) > block_size:
        raise errors.UserError(f"{stream.name} has no answer that counts: sample more of them")
    if found is None:
        raise errors.UserError(
            f"{stream.name} has {len(stream)} tokens, one window needs {block_size + 1}: "
            "prepare it with more text or a larger --val_fraction, or use a smaller block_size"
        )
    return found


def halved_windows(
    source: shards.Source,
    *,
    block_size: int,
    num_windows: int,
    answers: Mapping | None = None,
) -> tuple[EvalWindows, EvalWindows | None]:
    """Returns the windows of both halves of val, as many of each; the second is None, and the first
    of the whole, where a half has no window. `answers`: as of eval_windows."""
    stream = source.stream("val")
    select, report = (
        _windows(stream, spans, block_size=block_size, num_windows=num_windows, answers=answers)
        for spans in _halves(stream)
    )
    if select is not None and report is not None:
        return select, report
    whole = eval_windows(source, block_size=block_size, num_windows=num_windows, answers=answers)
    note = "val is too small to keep half of it for the report"
    return dataclasses.replace(whole, note="; ".join(filter(None, (whole.note, note)))), None


def kept_documents(source: shards.Source) -> list[tuple[int, int, int]]:
    """(number, first, last token) of the documents of val that are kept for the report."""
    stream = source.stream("val")
    starts = np.concatenate([[0], stream.doc_ends.astype(np.int64)[:-1]])
    kept = _halves(stream)[1]
    numbers = np.searchsorted(starts, [first for first, _ in kept], side="right") - 1
    return [(int(n), int(a), int(b)) for n, (a, b) in zip(numbers, kept, strict=True)]


def _halves(stream: streams.TokenStream) -> list[list[tuple[int, int]]]:
    """The (first, last) tokens of the documents of each half, by a hash of their text."""
    ends, hashes = stream.doc_ends.astype(np.int64), stream.doc_hashes
    if len(hashes) != len(ends):  # the original's directories keep neither ends nor hashes
        ends = np.append(np.arange(_STRETCH_TOKENS, len(stream), _STRETCH_TOKENS), len(stream))
        hashes = np.arange(len(ends), dtype=np.uint64)
    starts = np.concatenate([[0], ends[:-1]])
    is_kept = hashing.order_keys(hashes, _HALF_SEED) >> np.uint64(63) == 1
    return [list(zip(starts[one], ends[one], strict=True)) for one in (~is_kept, is_kept)]


def _windows(
    stream: streams.TokenStream,
    spans: Sequence[tuple[int, int]],
    *,
    block_size: int,
    num_windows: int,
    answers: Mapping | None,
) -> EvalWindows | None:
    """Windows spread evenly over the tokens of `spans`, one behind the other; None without one, or
    where none of their tokens counts."""
    first_N, last_N = np.array(spans, np.int64).reshape(-1, 2).T
    joined_N = np.cumsum(last_N - first_N)  # where each span ends among the others
    whole = (int(joined_N[-1]) - 1) // block_size if len(joined_N) else 0
    if whole < 1:
        return None
    count = min(num_windows, whole)
    note = ""
    if count < num_windows:
        note = f"val has {whole} windows, {num_windows} asked for: all are used once"
    # The middle of each of `count` equal stretches.
    starts = [(2 * i + 1) * whole // (2 * count) * block_size for i in range(count)]
    at_WL = np.array(starts)[:, None] + np.arange(block_size + 1)
    span_WL = np.searchsorted(joined_N, at_WL, side="right")
    at_WL += (last_N - joined_N)[span_WL]
    ends = stream.doc_ends.astype(np.int64)
    doc_WL = np.searchsorted(ends, at_WL[:, 1:], side="right")
    if answers is not None:
        counts_WL = answer_tokens.of_stream(stream, **answers)[at_WL[:, 1:]]
        if not counts_WL.any():
            return None
        doc_WL = np.where(counts_WL, doc_WL, NOT_COUNTED)
    return EvalWindows(np.stack([_read(stream, at_L) for at_L in at_WL]), doc_WL, note)


def _read(stream: streams.TokenStream, at_L: np.ndarray) -> np.ndarray:
    """The tokens at ascending places, read in as few pieces as they have."""
    cuts = np.flatnonzero(np.diff(at_L) != 1) + 1
    return np.concatenate([stream.read(p[0], p[-1] + 1) for p in np.split(at_L, cuts)])


def plan_eval(
    components: Sequence[mixture.Component],
    extra: Sequence[mixture.Component] = (),
    *,
    windows_per_role: int,
    min_per_source: int,
    block_size: int,
    version: int,
    bos_at_cuts: bool = False,
) -> dict[str, EvalWindows]:
    """Returns the windows of every source, by key: role/source, and behind REPORT the other half.

    A role's windows are divided in proportion to val tokens, at least `min_per_source` each: a
    function of the val splits alone, so the same for every stage that evaluates the same sources.
    `extra`: evaluated only. It is the evaluation of a role that has no other, else stands for
    itself, behind EXTRA. `bos_at_cuts`: as in training.
    """

    def begun_of(one: mixture.Component, found: EvalWindows) -> EvalWindows:
        return found.begun(one.dataset) if bos_at_cuts else found

    chosen_on: dict[str, EvalWindows] = {}
    kept: dict[str, EvalWindows] = {}
    for group, mine in _groups(components, extra, version).items():
        tokens = [one.data.tokens["val"] for one in mine]
        wanted = _divide(windows_per_role, tokens, min_per_source)
        for one, count in zip(mine, wanted, strict=True):
            key = f"{group}/{one.source}"
            if key in chosen_on:
                raise errors.UserError(
                    f"{key} is evaluated twice ({one.dataset.path}): give the sources of "
                    "eval.extra other names"
                )
            sizes = {
                "block_size": block_size,
                "num_windows": count,
                "answers": one.dataset.answers,
            }
            if version == WHOLE:
                chosen_on[key] = begun_of(one, eval_windows(one.data, **sizes))
                continue
            select, other = halved_windows(one.data, **sizes)
            chosen_on[key] = begun_of(one, select)
            if other is not None:
                kept[REPORT + key] = begun_of(one, other)
    return {**chosen_on, **kept}


def _groups(
    components: Sequence[mixture.Component], extra: Sequence[mixture.Component], version: int
) -> dict[str, list[mixture.Component]]:
    """{role, or EXTRA and role: what is evaluated for it}."""
    groups: dict[str, list[mixture.Component]] = {}
    for role in mixture.EVALUATED_ROLES:
        mine = [one for one in components if one.evaluated_as == role]
        beside = [one for one in extra if one.evaluated_as == role]
        if version == WHOLE:
            mine, beside = mine + beside, []
        # A source prepared without val is trained on but not evaluated, where others can be.
        with_val = [one for one in mine if one.data.tokens["val"]]
        # A model's own words are evaluated where they are held out; nobody has to.
        alone = [] if role == mixture.BEHAVIOUR else mine
        groups[role] = with_val or beside or alone
        groups[EXTRA + role] = beside if with_val else []
    return groups


def _divide(total: int, tokens: list[int], least: int) -> list[int]:
    """Parts of `total` in proportion to tokens (largest remainder), none below `least`."""
    parts = [0] * len(tokens)
    open_ones = set(range(len(tokens)))
    while open_ones:
        room = max(total - sum(parts), 0)
        whole = sum(tokens[i] for i in open_ones)
        exact = {i: Fraction(room * tokens[i], whole) if whole else Fraction(0) for i in open_ones}
        small = {i for i in open_ones if exact[i] < least}
        if not small:
            for i in open_ones:
                parts[i] = int(exact[i])
            order = sorted(open_ones, key=lambda i: (parts[i] - exact[i], i))
            for i in order[: room - sum(parts[i] for i in open_ones)]:
                parts[i] += 1
            break
        for i in small:
            parts[i] = least
        open_ones -= small
    return parts
