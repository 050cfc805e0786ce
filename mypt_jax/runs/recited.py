"""What a run was found to know by heart, kept beside it for its report and its card.

`mypt evaluate --recite --save` writes it: rows of {"data", "split", "who": "run" | "base",
"documents", "exact", "matched", "examples"}, of continuations of so many tokens.
"""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from mypt_jax.runs import kinds, layout, lineage

FILE = "recited.json"


class Pair(NamedTuple):
    """One split of a source: what the run says of it, and its base, None where that was gone."""

    data: str
    split: str
    run: Mapping[str, Any]
    base: Mapping[str, Any] | None

    @property
    def share(self) -> float:
        """Of documents that the run continues by their own text."""
        return self.run["exact"] / max(1, self.run["documents"])

    @property
    def base_share(self) -> float | None:
        return None if self.base is None else self.base["exact"] / max(1, self.base["documents"])


def write(workdir: str, *, run_id: str, step: int, tokens: int, rows: list[dict]) -> None:
    content = {"schema": 1, "run_id": run_id, "step": step, "tokens": tokens, "rows": rows}
    lineage.write_json(layout.join(workdir, FILE), content)


def read(workdir: str, *, run_id: str, step: int) -> tuple[int, list[Pair]]:
    """(tokens of a continuation, pairs) of a run as it is; none where it was not asked since it was
    trained longer, or anew. Raises UserError for what is no such file."""
    path = layout.join(workdir, FILE)
    if not os.path.isfile(path):
        return 0, []
    found = lineage.read_json(path, what=f"run {workdir}", wanted=kinds.RECITED)
    if (found["run_id"], found["step"]) != (run_id, step):
        return 0, []
    by_who = {(row["data"], row["split"], row["who"]): row for row in found["rows"]}
    pairs = [
        Pair(data, split, row, by_who.get((data, split, "base")))
        for (data, split, who), row in by_who.items()
        if who == "run"
    ]
    return found["tokens"], pairs
