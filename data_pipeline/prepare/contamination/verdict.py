"""What an overlap means, in lines for a person: what was found, where, and what to do."""

import itertools
from collections.abc import Sequence

from data_pipeline.prepare.contamination import compare

# Of an evaluated text in training text; the loss of so much hardly moves the whole.
MAX_SHARE = 0.01
_SHOWN_CHARS = 160


def is_found(overlap: compare.Overlap, max_share: float = MAX_SHARE) -> bool:
    """Whether the overlap makes an evaluation too good."""
    return overlap.contained > 0 or overlap.share > max_share


def lines(
    train: compare.Documents, evaluated: compare.Documents, overlap: compare.Overlap
) -> list[str]:
    """Returns what an overlap is, with examples."""
    parts = [
        f"{overlap.contained} of {overlap.documents} documents stand there, half or more of each",
        f"{overlap.share:.2%} of the text in these and in passages",
    ]
    if overlap.formulae:
        parts.append(f"{overlap.formulae} documents are formulae that many train documents have")
    if overlap.too_short:
        parts.append(f"{overlap.too_short} are too short to be looked for")
    shown = [f"{evaluated} in {train}: {'; '.join(parts)}"]
    shown += [
        f"  document {one.document}, {one.share:.0%} of it, in train document "
        f"{one.train_document}: {one.passage[:_SHOWN_CHARS]!r}"
        for one in overlap.examples
    ]
    return shown


def remedies(
    train: Sequence[compare.Documents],
    evaluated: Sequence[compare.Documents],
    overlaps: list[list[compare.Overlap]],
    max_share: float = MAX_SHARE,
) -> list[str]:
    """Returns what to do where something was found, a line for each pair of datasets."""
    found = {}
    for (one, other), overlap in zip(
        itertools.product(train, evaluated), itertools.chain(*overlaps), strict=True
    ):
        if is_found(overlap, max_share):
            pair = (one.component.dataset, other.component.dataset)
            found[pair[0].path, pair[1].path] = pair[0].fingerprint == pair[1].fingerprint
    return [_remedy(*paths, own) for paths, own in found.items()]


def _remedy(train: str, evaluated: str, is_own: bool) -> str:
    if is_own:
        return (
            f"{train}: texts of one origin lie on both sides of its split, so its val loss is "
            "flattered by what they share; give documents that share text one split_key (what "
            "scripts/build_phase1_corpus.py and build_phase2_corpus.py write has one for "
            "near-duplicates), or read its loss as that of text that was partly seen"
        )
    return (
        f"{train}: prepare it again with --exclude_dir {evaluated} (or build its corpus with "
        "--against the evaluation texts), or leave these documents out of the evaluation"
    )
