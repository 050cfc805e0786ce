"""Where contamination is looked for unasked: after a dataset is built, and before a stage."""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from data_pipeline import errors
from data_pipeline.batches import mixture
from data_pipeline.prepare.contamination import compare, results, verdict
from data_pipeline.similarity import containment

# What a stage's start looks through takes about 20 s at 6 MB/s. By bytes and not by the clock, so
# that every process of a run says the same.
_TRAIN_BYTES, _EVALUATED_BYTES = 100_000_000, 20_000_000
_TOKEN_BYTES = 4  # where a dataset does not say how much text it holds
# With so much of an evaluated source in training text, its loss means nothing.
_REFUSED_SHARE = 0.5


def after_build(out_dir: Path, excluded: Sequence[Path], *, workers: int) -> list[str]:
    """Compares a new dataset's train split with its own val and with that of the excluded ones.

    Keeps the result for the stages that will ask, and returns what to tell of it.
    """
    own = mixture.components_of("domain", [str(out_dir)])
    train = [compare.Documents(one, "train") for one in own if one.data.tokens["train"]]
    evaluated = [compare.Documents(one, "val") for one in own]
    for directory in excluded:
        others = mixture.components_of("general", [str(directory)])
        evaluated += [compare.Documents(one, "val") for one in others]
    evaluated = [one for one in evaluated if one.component.data.tokens[one.split]]
    settings = containment.Settings()
    overlaps = compare.compare(train, evaluated, settings, workers=workers, examples=1)
    results.keep(train, evaluated, settings, overlaps)
    said = [
        line
        for one, row in zip(train, overlaps, strict=True)
        for other, overlap in zip(evaluated, row, strict=True)
        if verdict.is_found(overlap)
        for line in verdict.lines(one, other, overlap)
    ]
    said += verdict.remedies(train, evaluated, overlaps)
    return [f"contamination: {line}" for line in said]


def before_stage(
    trained: Sequence[mixture.Component], evaluated: Sequence[mixture.Component]
) -> list[str]:
    """Returns lines for the user about evaluation text in training text; none: there is none.

    Reads what is kept, and otherwise looks through a part of the text. Raises UserError where a
    half of an evaluated source or more stands in a trained one.
    """
    settings = containment.Settings()
    train = [compare.Documents(one, "train") for one in trained if one.data.tokens["train"]]
    sought = [compare.Documents(one, "val") for one in evaluated if one.data.tokens["val"]]
    overlaps: list[list] = [
        [results.known(one, other, settings) for other in sought] for one in train
    ]
    lines = _fill(train, sought, settings, overlaps)
    for one, row in zip(train, overlaps, strict=True):
        for other, overlap in zip(sought, row, strict=True):
            if overlap.share >= _REFUSED_SHARE:
                what = verdict.lines(one, other, overlap)[0]
                (fix,) = verdict.remedies([one], [other], [[overlap]])
                raise errors.UserError(f"evaluation text in training text: {what}. {fix}")
            if verdict.is_found(overlap):
                lines.append(f"warning: contamination: {verdict.lines(one, other, overlap)[0]}")
    lines += [f"contamination: {line}" for line in verdict.remedies(train, sought, overlaps)]
    return lines


def _fill(
    train: list, evaluated: list, settings: containment.Settings, overlaps: list
) -> list[str]:
    """Puts what is not kept in the place of each None; says so where it looked at a part only."""
    rows = [i for i, row in enumerate(overlaps) if None in row]
    columns = [j for j in range(len(evaluated)) if any(overlaps[i][j] is None for i in rows)]
    if not rows:
        return []
    some = _spread([train[i] for i in rows], _TRAIN_BYTES)
    sought = _spread([evaluated[j] for j in columns], _EVALUATED_BYTES)
    found = compare.compare(some, sought, settings, workers=1, examples=1)
    with contextlib.suppress(errors.UserError):  # a dataset may be on a disk that is only read
        results.keep(some, sought, settings, found)
    for i, row in zip(rows, found, strict=True):
        for j, overlap in zip(columns, row, strict=True):
            overlaps[i][j] = overlaps[i][j] or overlap
    if some[0].share == sought[0].share == 1:
        return []
    return [
        f"contamination: looked for {sought[0].share:.0%} of the evaluated documents in "
        f"{some[0].share:.0%} of the training documents; for all of them: {_command(some, sought)}"
    ]


def _spread(documents: list[compare.Documents], limit_bytes: int) -> list[compare.Documents]:
    total = sum(
        one.component.data.text_bytes[one.split]
        or one.component.data.tokens[one.split] * _TOKEN_BYTES
        for one in documents
    )
    share = min(1.0, limit_bytes / max(1, total))
    return [dataclasses.replace(one, share=share) for one in documents]


def _command(train: list[compare.Documents], evaluated: list[compare.Documents]) -> str:
    """The whole comparison; without --eval_dir it is of the val splits of what is trained on."""
    trained = list(dict.fromkeys(one.component.dataset.path for one in train))
    others = dict.fromkeys(one.component.dataset.path for one in evaluated)
    words = ["python -m mypt_jax contamination"]
    words += [f"--train_dir {path}" for path in trained]
    if not set(others) <= set(trained):
        words += [f"--eval_dir {path}" for path in others]
    return " ".join(words)
