"""Where an adaptation's files lie, and what the first start there was asked: of other texts, or
another base, nothing that is there is taken."""

import os

from data_pipeline.errors import UserError
from data_pipeline.tokens import shards
from mypt_jax.runs import kinds, layout, lineage

FILE = "adapt.json"


class Place:
    """The directory of an adaptation: imported base, datasets, the adapted run."""

    def __init__(self, out_dir: str):
        self._out_dir = out_dir
        self.imported, self.run = (layout.join(out_dir, name) for name in ("base", "adapted"))

    def data(self, role: str) -> str:
        return layout.join(self._out_dir, "data", role)

    def has(self, role: str) -> bool:
        return os.path.isfile(layout.join(self.data(role), shards.MANIFEST))

    def claim(self, asked: dict[str, str]) -> None:
        """Records what is asked, {"base", "text", "general": path or ""}. Raises UserError where an
        earlier start was asked otherwise."""
        path, own = layout.join(self._out_dir, FILE), {"out_dir": self._out_dir, **asked}
        own = {name: one and os.path.abspath(one) for name, one in own.items()}
        if not os.path.exists(path):
            os.makedirs(self._out_dir, exist_ok=True)
            lineage.write_json(path, {"schema": 1, **own})
            return
        before = lineage.read_json(path, what=self._out_dir, wanted=kinds.ADAPTED)
        for name in asked:
            if own[name] != before[name] and _from_there(own, name) != _from_there(before, name):
                was = f"with --{name}={before[name]}" if before[name] else f"without --{name}"
                raise UserError(
                    f"{self._out_dir} was begun {was}, not {own[name] or 'without it'}: name "
                    "another --out_dir"
                )


def _from_there(asked: dict[str, str], name: str) -> str:
    """A path as seen from the directory: what was moved together is the same."""
    return asked[name] and os.path.relpath(asked[name], asked["out_dir"])
