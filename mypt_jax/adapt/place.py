"""Where an adaptation's files lie, and what the first start there was asked: of other texts, or
another base, nothing that is there is taken."""

import contextlib
import os
from collections.abc import Iterator, Mapping

from data_pipeline.errors import UserError
from data_pipeline.tokens import shards
from mypt_jax.runs import kinds, layout, lineage

FILE = "adapt.json"


def check_out_dir(out_dir: str, *, texts: Mapping[str, str]) -> None:
    """Raises UserError for a directory that no adaptation can be in; `texts`: {"text": folder,
    "general": folder or ""}."""
    if "://" in out_dir:
        raise UserError(f"--out_dir={out_dir}: wanted a directory of this machine")
    if os.path.isfile(layout.join(out_dir, lineage.FILE)):
        raise UserError(f"--out_dir={out_dir} is a run: name a new directory")
    where = os.path.realpath(out_dir)
    for name, folder in texts.items():
        own = os.path.realpath(folder)
        if os.path.isdir(folder) and os.path.commonpath([own, where]) == own:
            raise UserError(
                f"--out_dir={out_dir} lies in --{name}={folder}, and what is written there would "
                "be read as text: name a directory outside of it"
            )
    if texts["general"] and os.path.realpath(texts["general"]) == os.path.realpath(texts["text"]):
        raise UserError(
            f"--text and --general are both {texts['text']}: what is forgotten is measured on text "
            "that is not learned; bring other text, or leave --general out"
        )


class Place:
    """The directory of an adaptation: imported base, datasets, the adapted run."""

    def __init__(self, out_dir: str):
        self._out_dir = out_dir
        self.imported, self.run = (layout.join(out_dir, name) for name in ("base", "adapted"))

    def data(self, role: str) -> str:
        return layout.join(self._out_dir, "data", role)

    def has(self, role: str) -> bool:
        return os.path.isfile(layout.join(self.data(role), shards.MANIFEST))

    @contextlib.contextmanager
    def left_as_it_was(self) -> Iterator[None]:
        """Directories that a command made and left empty are gone after it."""
        made = [one for one in self._out_dirs if not os.path.lexists(one)]
        yield
        for one in made:
            with contextlib.suppress(OSError):  # not made, or with something in it
                os.rmdir(one)

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
    def _out_dirs(self) -> list[str]:
        """The directory, after what is in it."""
        return [layout.join(self._out_dir, "data"), self._out_dir]

    @property
    def _record(self) -> str:
        return layout.join(self._out_dir, FILE)

    def _whole(self, asked: Mapping[str, str]) -> dict[str, str]:
        own = {"out_dir": self._out_dir, **asked}
        return {name: one and os.path.abspath(one) for name, one in own.items()}


def _from_there(asked: dict[str, str], name: str) -> str:
    """A path as seen from the directory: what was moved together is the same."""
    return asked[name] and os.path.relpath(asked[name], asked["out_dir"])
