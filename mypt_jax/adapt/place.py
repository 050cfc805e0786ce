"""Where an adaptation's files lie, and what the first start there was asked: of other texts, or
another base, nothing that is there is taken."""

import os
from collections.abc import Mapping

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

    def claim(self, asked: Mapping[str, str]) -> None:
        """Records what is asked, {"base", "text", "general": path or ""}, as far as something is
        there that was made of it."""
        before, own = self._before(), self._whole(asked)
        made = {"out_dir", "base", *before}
        made |= {"text"} if self.has("domain") else set()
        made |= {"general"} if self.has("general" if asked["general"] else "samples") else set()
        if made - {*before}:
            found = {name: path for name, path in own.items() if name in made}
            lineage.write_json(self._record, {"schema": 1, **found})

    def check(self, asked: Mapping[str, str]) -> None:
        """Raises UserError where an earlier start was asked otherwise."""
        before, own = self._before(), self._whole(asked)
        for name in asked:
            if name not in before or own[name] == before[name]:
                continue
            if _from_there(own, name) != _from_there(before, name):
                was = f"with --{name}={before[name]}" if before[name] else f"without --{name}"
                raise UserError(
                    f"{self._out_dir} was begun {was}, not {own[name] or 'without it'}: name "
                    "another --out_dir"
                )

    def _before(self) -> dict[str, str]:
        """{"out_dir", "base" and what else something was made of}, {} where nothing was."""
        if not os.path.exists(self._record):
            return {}
        found = lineage.read_json(self._record, what=self._out_dir, wanted=kinds.ADAPTED)
        return {name: path for name, path in found.items() if name != "schema"}

    @property
    def _record(self) -> str:
        return layout.join(self._out_dir, FILE)

    def _whole(self, asked: Mapping[str, str]) -> dict[str, str]:
        own = {"out_dir": self._out_dir, **asked}
        return {name: one and os.path.abspath(one) for name, one in own.items()}


def _from_there(asked: dict[str, str], name: str) -> str:
    """A path as seen from the directory: what was moved together is the same."""
    return asked[name] and os.path.relpath(asked[name], asked["out_dir"])
