"""The fixed windows that every evaluation of a lineage reads."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from data_pipeline import errors
from data_pipeline.batches import mixture
from data_pipeline.tokens import shards


@dataclasses.dataclass(frozen=True)
class EvalWindows:
    """tokens int32[W, L + 1]; doc_WL int64[W, L]: the val document of each target token."""

    tokens: np.ndarray
    doc_WL: np.ndarray
    note: str  # what is worth telling, or empty

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the tokens, and of which targets are of one document: whatever a source is
        called and however its documents are numbered."""
        _, rank = np.unique(self.doc_WL, return_inverse=True)
        digest = hashlib.sha256(f"{self.tokens.shape}\n".encode())
        digest.update(np.ascontiguousarray(self.tokens, "<i4").data)
        digest.update(np.ascontiguousarray(rank, "<i8").data)
        return digest.hexdigest()


def eval_windows(source: shards.Source, *, block_size: int, num_windows: int) -> EvalWindows:
    """Returns windows spread evenly over the whole val split; all of them where it has fewer."""
    stream = source.stream("val")
    whole = (len(stream) - 1) // block_size
    if whole < 1:
        raise errors.UserError(
            f"{stream.name} has {len(stream)} tokens, one window needs {block_size + 1}: "
            "prepare it with more text or a larger --val_fraction, or use a smaller block_size"
        )
    count = min(num_windows, whole)
    note = ""
    if count < num_windows:
        note = f"val has {whole} windows, {num_windows} asked for: all are used once"
    # The middle of each of `count` equal stretches of the split.
    starts = [(2 * i + 1) * whole // (2 * count) * block_size for i in range(count)]
    tokens = np.stack([stream.read(start, start + block_size + 1) for start in starts])
    targets = np.array(starts)[:, None] + np.arange(1, block_size + 1)
    ends = stream.doc_ends.astype(np.int64)
    return EvalWindows(tokens, np.searchsorted(ends, targets, side="right"), note)


def plan_eval(
    components: Sequence[mixture.Component],
    *,
    windows_per_role: int,
    min_per_source: int,
    block_size: int,
) -> dict[str, EvalWindows]:
    """Returns the windows of every source, by key.

    A role's windows are divided in proportion to val tokens, at least `min_per_source` each: a
    function of the val splits alone, so the same for every stage that evaluates the same sources.
    """
    plan: dict[str, EvalWindows] = {}
    for role in mixture.ROLES:
        mine = [one for one in components if one.role == role]
        # A source prepared without val is trained on but not evaluated, where others can be.
        mine = [one for one in mine if one.data.tokens["val"]] or mine
        tokens = [one.data.tokens["val"] for one in mine]
        wanted = _divide(windows_per_role, tokens, min_per_source)
        for one, count in zip(mine, wanted, strict=True):
            if one.key in plan:
                raise errors.UserError(
                    f"{one.key} is evaluated twice ({one.dataset.path}): give the sources of "
                    "eval.extra other names than those of the role"
                )
            plan[one.key] = eval_windows(one.data, block_size=block_size, num_windows=count)
    return plan


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
