"""metrics.jsonl as it is read: a row of figures a line; a damaged line is left out and counted.

The only reader: a trainer that resumes, the guard, retention and the report see the same rows.
"""

import json
import math
import re
from typing import NamedTuple

from data_pipeline.errors import UserError

_FIGURES = re.compile(r"(eval|forgetting|share|epochs)/.+|loss|lr|grad_norm|tokens|.+_secs")


class Read(NamedTuple):
    """Rows in the order of their steps, and the numbers of the lines that are none, from 1."""

    rows: list[dict]
    damaged: list[int]


def read(path: str) -> Read:
    """What is left of a file; nothing where there is none. Raises UserError when the disk refuses.

    A last line without an end is no damage: it is being written, or its writer was killed.
    """
    try:
        with open(path, "rb") as file:
            *lines, rest = file.read().split(b"\n")
    except FileNotFoundError:
        return Read([], [])
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    rows, damaged = [], []
    for number, line in enumerate([*lines, rest], 1):
        if not line.strip():
            continue
        row = _row(line)
        if row is not None:
            rows.append(row)
        elif number <= len(lines):
            damaged.append(number)
    return Read(sorted(rows, key=lambda row: row["step"]), damaged)


def damage(path: str, found: Read) -> str:
    """A line on what was left out, or ""."""
    if not found.damaged:
        return ""
    numbers = ", ".join(map(str, found.damaged[:5])) + (", ..." if len(found.damaged) > 5 else "")
    lines = f"line {numbers} is" if len(found.damaged) == 1 else f"lines {numbers} are"
    return f"{path}: {lines} damaged and left out"


def _row(line: bytes) -> dict | None:
    """None for what `metrics.to_json` does not write."""
    try:
        row = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or type(row.get("step")) is not int or row["step"] < 0:
        return None
    for key, value in row.items():  # a loop: a report reads millions of these
        if type(value) is float:
            if not math.isfinite(value):
                return None
        elif isinstance(value, int):
            if abs(value) >= 1 << 63:
                return None
        elif isinstance(value, str):
            if _FIGURES.fullmatch(key):
                return None
        elif value is not None:
            return None
    return row
