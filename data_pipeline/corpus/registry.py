"""The list of a corpus's sources, as data: where each comes from, how it is read, its licence."""

import dataclasses
import functools
import json
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from data_pipeline import errors
from data_pipeline.corpus import boilerplate, schema
from data_pipeline.readers import table as readers

SCHEMA = 1
ROLES = ("domain", "general")
LANGUAGES = ("en", "de", "en-de", "")
# Every licence that a source may carry, and whether a derived text must name its authors.
LICENCES = {
    "CC-BY-SA-2.5": True, "CC-BY-SA-3.0": True, "CC-BY-SA-4.0": True, "CC-BY-4.0": True,
    "CC0-1.0": False, "MIT": True, "Apache-2.0": True, "MIT OR Apache-2.0": True,
    "BSD-3-Clause": True, "PSF-2.0": True, "GPL-2.0-only": True, "GPL-3.0-or-later": True,
    "GPL-2.0-or-later": True, "GPL-1.0-or-later OR Artistic-1.0-Perl": True, "PostgreSQL": True,
    "GPL-2.0-only WITH Classpath-exception-2.0": True, "GFDL-1.3-or-later": True,
    "LicenseRef-CWE-Terms-of-Use": True, "LicenseRef-ATTACK-Terms-of-Use": True,
    "LicenseRef-IETF-Trust": True, "LicenseRef-man-pages-mixed": True,
    "LicenseRef-public-domain": False, "LicenseRef-Swiss-federal-law": False,
    "LicenseRef-Europarl": True, "LicenseRef-News-Commentary": True,
    "LicenseRef-OpenSubtitles": True, "LicenseRef-own": False,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Source:
    """One source of a corpus; the JSON keys of a registry are these fields."""

    name: str
    role: str
    lang: str
    reader: str
    include: tuple[str, ...]
    licence: str
    attribution: str
    homepage: str
    fetch: dict
    exclude: tuple[str, ...] = ()
    options: dict = dataclasses.field(default_factory=dict)
    boilerplate: tuple[str, ...] = ()
    quality: dict = dataclasses.field(default_factory=dict)
    jaccard: float = 0.65
    max_file_bytes: int = 64 * 1024 * 1024
    expected_tokens: int = 0
    priority: int = 0

    @property
    def origin(self) -> str:
        """Where the text comes from, precisely enough to get it again."""
        kind = self.fetch["kind"]
        # With its commit: a branch is another text tomorrow.
        if kind == "git":
            return f"{self.fetch['url']}@{self.fetch['commit']}"
        if kind == "https":
            return ", ".join(file["url"] for file in self.fetch["files"])
        return self.fetch.get("url", self.homepage)

    def wants(self, path: str) -> bool:
        """Whether a path below the source's directory is included and not excluded."""
        return wants(path, self.include, self.exclude)


def load(path: str | Path) -> list[Source]:
    """Returns a registry's sources, in its order, which is their priority in deduplication.

    Raises UserError naming the source and the key for anything that does not fit the schema.
    """
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except OSError as error:
        raise errors.UserError(f"{path}: {error.strerror}; wanted a registry (JSON)") from error
    except (ValueError, RecursionError) as error:
        raise errors.UserError(f"{path}: not JSON ({error})") from error
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise errors.UserError(f"{path}: got no schema {SCHEMA}, wanted a registry of sources")
    rows = found.get("sources")
    # By hand up to here: the schema library is asked about one source at a time, so that what is
    # wrong is said of it by its name.
    if not isinstance(rows, list) or not rows:
        raise errors.UserError(f"{path}: got no sources, wanted a list of them")
    # What no source wants (tests, vendored copies), said once.
    common = found.get("exclude", [])
    if not isinstance(common, list) or not all(isinstance(glob, str) for glob in common):
        raise errors.UserError(f"{path}: got exclude {common!r}, wanted a list of globs")
    sources = [_source(row, number, common, path) for number, row in enumerate(rows)]
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:  # its files would lie in one directory
            raise errors.UserError(f"{path}: source {name!r} stands twice, wanted unique names")
    return sources


def select(sources: list[Source], *, only: list[str], exclude: list[str]) -> list[Source]:
    """Returns the sources chosen on the command line; raises UserError for an unknown name."""
    known = {source.name for source in sources}
    for name in [*only, *exclude]:
        if name not in known:  # a slip in --exclude would build what was to be left out
            raise errors.UserError(f"got source {name!r}, wanted one of {', '.join(sorted(known))}")
    chosen = [s for s in sources if (not only or s.name in only) and s.name not in exclude]
    if not chosen:
        raise errors.UserError("no source is left by --only and --exclude; choose at least one")
    return chosen


def _source(row, number: int, common: list[str], path) -> Source:
    where = f"{path}: source {row.get('name', number) if isinstance(row, dict) else number}"
    schema.checked(schema.Source, row, where)
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
    values["exclude"] = tuple(values.get("exclude", ())) + tuple(common)
    # The earlier of two sources keeps a text that both have.
    values.setdefault("priority", number)
    source = Source(**values)
    _check(source, where)
    return source


def _check(source: Source, where: str) -> None:
    """What the names of a row name."""

    def wrong(key, got, wanted) -> NoReturn:
        raise errors.UserError(f"{where}: got {key} {got!r}, wanted {wanted}")

    for key, known in (
        ("role", ROLES),
        ("lang", LANGUAGES),
        ("reader", tuple(readers.READERS)),
        ("licence", tuple(LICENCES)),
    ):
        if getattr(source, key) not in known:
            wrong(key, getattr(source, key), f"one of {', '.join(map(repr, known))}")
    for name in source.boilerplate:
        if name not in boilerplate.RULES:
            wrong("boilerplate", name, f"one of {', '.join(boilerplate.RULES)}")
    schema.checked(schema.Quality, source.quality, f"{where}: quality")
    kind = source.fetch.get("kind")
    if kind not in schema.FETCHES:
        wrong("fetch.kind", kind, f"one of {', '.join(schema.FETCHES)}")
    described = {key: value for key, value in source.fetch.items() if key != "kind"}
    schema.checked(schema.FETCHES[kind], described, f"{where}: fetch")
    names = [file_name(file) for file in source.fetch.get("files", ())]
    for name in names:
        if names.count(name) > 1:
            wrong("fetch.files", f"{name} twice", 'files of different names; give a "name"')
    _check_options(source, where, wrong)


def _check_options(source: Source, where: str, wrong: Callable[..., NoReturn]) -> None:
    """An option is of the type of its default; a list's entries are of those of its default's."""
    known = readers.READERS[source.reader].options
    for name, value in source.options.items():
        if name not in known:
            options = ", ".join(known) or "none"
            wrong("option", name, f"one of reader {source.reader!r}: {options}")
        default = known[name]
        is_list = isinstance(default, tuple)
        kind = type(default[0]) if is_list and default else str if is_list else type(default)
        values = value if is_list and isinstance(value, list) else [value]
        # By type: JSON's true is an int to isinstance.
        if is_list != isinstance(value, list) or any(type(each) is not kind for each in values):
            said = f"a list of {kind.__name__}" if is_list else kind.__name__
            wrong(f"option {name}", value, said)


def file_name(file: dict) -> str:
    """The name that a file of an https source gets in the source's directory."""
    return file.get("name") or file["url"].rpartition("/")[2]


def wants(path: str, include: tuple[str, ...], exclude: tuple[str, ...]) -> bool:
    """Whether a path is included and not excluded."""
    return matches(path, include) and not matches(path, exclude)


def matches(path: str, globs: tuple[str, ...]) -> bool:
    """Whether any glob matches the whole path; ** stands for any number of directories.

    A glob that is the path as it stands matches it, whatever signs are in it: text[1].md.
    """
    return any(glob == path or _compiled(glob).match(path) for glob in globs)


@functools.cache
def _compiled(glob: str) -> re.Pattern:
    """fnmatch's * crosses slashes and Path.match's ** does not cross any: neither is meant."""
    parts = []
    segments = PurePosixPath(glob).parts
    for number, segment in enumerate(segments):
        last = number == len(segments) - 1
        if segment == "**":
            parts.append("(?:.+)" if last else "(?:[^/]+/)*")
            continue
        parts.append(_segment(segment) + ("" if last else "/"))
    return re.compile("".join(parts) + r"\Z")


def _segment(segment: str) -> str:
    """One name of a glob as a pattern; what {a,b} lists may hold signs itself."""
    parts = []
    for piece in re.split(r"(\*|\?|\[[^\]]+\]|\{[^{}]*\})", segment):
        if piece == "*":
            parts.append("[^/]*")
        elif piece == "?":
            parts.append("[^/]")
        elif piece.startswith("[") and piece.endswith("]") and len(piece) > 2:
            parts.append(piece.replace("[!", "[^").replace("\\", r"\\"))
        elif piece.startswith("{") and piece.endswith("}"):
            parts.append(f"(?:{'|'.join(map(_segment, piece[1:-1].split(',')))})")
        else:
            parts.append(re.escape(piece))
    return "".join(parts)
