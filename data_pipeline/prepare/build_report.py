"""What became of each source in a build."""

import collections
import dataclasses

from data_pipeline.prepare import selection, small_sources
from data_pipeline.readers import account


@dataclasses.dataclass(frozen=True)
class SourceReport:
    """The counts of one source."""

    name: str
    documents_read: int
    empty: int
    long: int  # cut because they exceed a million characters
    duplicates: int
    known: int  # left out: the dataset, or an excluded one, holds the same text
    holding: int  # left out: text of an excluded dataset stands in them
    in_other_val: int  # left out of train because another source has the same text in val
    cut: bool  # fewer than 100 documents: cut into pieces of about 2,000 tokens
    available_tokens: int
    wanted_tokens: int | None
    tokens: dict[str, int]
    documents: dict[str, int]
    passes: int  # how often train was gone through
    shared: int = 0  # texts of train that a source named before it has in train, too
    is_short: bool = False  # too short for a val split: all is train
    moved: int = 0  # to the side on which the dataset has a near-duplicate
    torn: int = 0  # left out: the dataset has near-duplicates on both sides


def of_source(
    gate: small_sources.Gate,
    chosen: selection.Selection,
    *,
    holding: int,
    wanted_tokens: int | None,
    splits: dict[str, dict],
    in_other_val: int,
    shared: int,
    passes: int,
) -> SourceReport:
    """Returns the report of one source; `splits` are its manifest entries."""
    source = chosen.source
    return SourceReport(
        name=source,
        documents_read=gate.documents[source],
        empty=gate.empty[source],
        long=gate.long[source],
        duplicates=chosen.duplicates,
        known=gate.known[source] + chosen.known - holding,
        holding=holding,
        in_other_val=in_other_val,
        cut=source in gate.cut,
        available_tokens=chosen.available_tokens,
        wanted_tokens=wanted_tokens,
        tokens={split: entry["tokens"] for split, entry in splits.items()},
        documents={split: entry["documents"] for split, entry in splits.items()},
        passes=passes,
        shared=shared,
        is_short=chosen.is_short,
        moved=chosen.moved,
        torn=chosen.torn,
    )


def of_known(gate: small_sources.Gate, source: str, *, holding: int) -> SourceReport:
    """Returns the report of a source all of whose documents were left out."""
    nothing = {"train": 0, "val": 0}
    return SourceReport(
        name=source,
        documents_read=gate.documents[source],
        empty=gate.empty[source],
        long=gate.long[source],
        duplicates=0,
        known=gate.known[source],
        holding=holding,
        in_other_val=0,
        cut=False,
        available_tokens=0,
        wanted_tokens=None,
        tokens=nothing,
        documents=nothing,
        passes=1,
    )


def left_out(counted: account.Words) -> list[str]:
    """Returns a line that says what readers did not take from the files, if there is anything."""
    total, lost = counted.total, counted.reasons.total() + counted.total["unaccounted"]
    if not lost and not counted.notes:
        return []
    parts = [f"{number} words {reason}" for reason, number in counted.reasons.most_common(8)]
    parts += [f"{number} {kind}" for kind, number in counted.notes.most_common(8)]
    if total["unaccounted"]:
        parts.append(f"{total['unaccounted']} words without a reason")
    return [f"of {total['in']} words, {lost} are not text or left out: {', '.join(parts)}"]


def describe(reports: list[SourceReport]) -> list[str]:
    """Returns lines that say what became of each source, for a command to print."""
    lines, totals = [], collections.Counter()
    for one in reports:
        totals.update(one.tokens)
        notes = [
            f"{count} {what}"
            for count, what in (
                (one.empty, "empty documents skipped"),
                (one.duplicates, "duplicates dropped"),
                (one.known, "left out: there already"),
                (one.holding, "left out: they hold text of an excluded dataset"),
                (one.long, "documents cut at a million characters"),
                (one.in_other_val, "left out: in another source's val"),
                (one.shared, "that an earlier source trains on as well: they count twice"),
                (one.moved, "put on the side of a near-duplicate that was there"),
                (one.torn, "left out: near-duplicates of theirs are in train and in val"),
            )
            if count
        ]
        if one.cut:
            notes.append("fewer than 100 documents: cut at blank lines into pieces")
        if one.is_short:
            notes.append("too short for a val split: all of it is train")
        if one.passes > 1:
            notes.append(f"train repeated, {one.passes} passes")
        if one.wanted_tokens is not None and sum(one.tokens.values()) < one.wanted_tokens:
            notes.append(f"{one.wanted_tokens} tokens asked for")
        lines.append(
            f"{one.name}: {one.documents_read} documents, "
            f"train {one.tokens['train']} tokens in {one.documents['train']}, "
            f"val {one.tokens['val']} in {one.documents['val']}"
            + (f" ({'; '.join(notes)})" if notes else "")
        )
    lines.append(f"total: train {totals['train']} tokens, val {totals['val']}")
    return lines
