"""What a registry may say, key by key, with its range: attrs checks it."""

from collections.abc import Mapping
from typing import Any

import attrs
from attrs import field
from attrs import validators as v

from data_pipeline import errors

# Python counts true and false among the numbers.
_NO_BOOL: Any = v.not_(v.instance_of(bool), msg="a number is wanted, not true or false")
_NUMBER: tuple[Any, ...] = (v.instance_of((int, float)), _NO_BOOL)
_STRING = v.instance_of(str)
_STRINGS = v.deep_iterable(_STRING, v.instance_of(list))
_WHOLE: list[Any] = [v.instance_of(int), _NO_BOOL]
_HTTPS = [_STRING, v.matches_re(r"https://\S+")]
_COMMIT = [_STRING, v.matches_re(r"[0-9a-f]{40}")]
_SHA256 = [_STRING, v.matches_re(r"(?:[0-9a-f]{64})?")]
_DATE = [_STRING, v.matches_re(r"\d{4}-\d{2}-\d{2}")]


def _list_of(kind: type) -> Any:
    """A converter of a list of objects, so that each is checked."""
    return lambda rows: [checked(kind, row, "files") for row in rows]


@attrs.frozen
class Unpacked:
    """What an archive unpacks to, at most."""

    max_bytes: int = field(validator=[*_WHOLE, v.ge(1)])


@attrs.frozen
class File:
    """A file of an https source."""

    url: str = field(validator=_HTTPS)
    max_bytes: int = field(validator=[*_WHOLE, v.ge(1)])
    sha256: str = field(default="", validator=_SHA256)
    name: str = field(default="", validator=[_STRING, v.matches_re(r"[^/\0]*")])
    unpack: Unpacked | None = field(
        default=None, converter=lambda row: row and checked(Unpacked, row, "unpack")
    )


@attrs.frozen
class Git:
    """One commit of a repository, or some directories of it."""

    url: str = field(validator=_HTTPS)
    commit: str = field(validator=_COMMIT)
    directories: list[str] = field(factory=list, validator=_STRINGS)


@attrs.frozen
class Https:
    """Files by address."""

    files: list[File] = field(validator=v.min_len(1), converter=_list_of(File))


@attrs.frozen
class Fedlex:
    """Swiss federal law in force on a date."""

    url: str = field(validator=_HTTPS)
    date: str = field(validator=_DATE)
    language: str = field(validator=v.in_(("de", "en", "fr", "it", "rm")))


@attrs.frozen
class Local:
    """Files that the user puts there."""

    url: str = field(default="", validator=_STRING)


@attrs.frozen
class Tfds:
    """A data set of TFDS."""

    dataset: str = field(validator=[_STRING, v.min_len(1)])
    text_field: str = field(validator=[_STRING, v.min_len(1)])


FETCHES: dict[str, type] = {
    "git": Git,
    "https": Https,
    "fedlex": Fedlex,
    "local": Local,
    "tfds": Tfds,
}


@attrs.frozen
class Quality:
    """Limits of quality rules; a share is 0 to 1."""

    min_chars: float = field(default=0, validator=[*_NUMBER, v.ge(0), v.lt(float("inf"))])
    max_repeated_lines: float = field(default=0, validator=[*_NUMBER, v.ge(0), v.le(1)])
    max_repeated_ngrams: float = field(default=0, validator=[*_NUMBER, v.ge(0), v.le(1)])
    max_symbol_share: float = field(default=0, validator=[*_NUMBER, v.ge(0), v.le(1)])
    min_stop_words: float = field(default=0, validator=[*_NUMBER, v.ge(0), v.lt(float("inf"))])
    check_language: float = field(default=1, validator=[*_NUMBER, v.ge(0), v.le(1)])


@attrs.frozen
class Source:
    """A row of a registry; what its names name is checked in registry.py."""

    name: str = field(validator=[_STRING, v.matches_re(r"[a-z0-9][a-z0-9_.-]{0,63}")])
    role: str = field(validator=_STRING)
    lang: str = field(validator=_STRING)
    reader: str = field(validator=_STRING)
    include: list[str] = field(validator=[_STRINGS, v.min_len(1)])
    licence: str = field(validator=_STRING)
    attribution: str = field(validator=_STRING)
    homepage: str = field(validator=_STRING)
    fetch: dict = field(validator=v.instance_of(dict))
    exclude: list[str] = field(factory=list, validator=_STRINGS)
    options: dict = field(factory=dict, validator=v.instance_of(dict))
    boilerplate: list[str] = field(factory=list, validator=_STRINGS)
    quality: dict = field(factory=dict, validator=v.instance_of(dict))
    jaccard: float = field(default=0.65, validator=[*_NUMBER, v.gt(0), v.le(1)])
    max_file_bytes: int = field(default=1, validator=[*_WHOLE, v.ge(1)])
    expected_tokens: int = field(default=0, validator=[*_WHOLE, v.ge(0)])
    priority: int = field(default=0, validator=_WHOLE)


def checked(kind: type, row: Any, where: str) -> Any:
    """Returns a row as an object of `kind`; raises UserError naming the key and its range."""
    if not isinstance(row, Mapping):
        raise errors.UserError(f"{where}: got {type(row).__name__}, wanted an object")
    known = {each.name: each for each in attrs.fields(kind)}
    for key in row:
        if key not in known:
            raise errors.UserError(f"{where}: unknown key {key!r}; known: {', '.join(known)}")
    for key, each in known.items():
        if key not in row and each.default is attrs.NOTHING:
            raise errors.UserError(f"{where}: no {key!r}, it is required")
    try:
        return kind(**row)
    except errors.UserError as error:
        raise errors.UserError(f"{where}: {error}") from None
    except (TypeError, ValueError) as error:
        raise errors.UserError(f"{where}: {error.args[0]}") from None
