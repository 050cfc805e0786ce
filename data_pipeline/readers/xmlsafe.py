"""XML without DTDs, entities or unbounded memory: every XML reader parses through here."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

import defusedxml
from defusedxml import ElementTree as defused

from data_pipeline import document

CHUNK_BYTES = 1 << 16
MAX_DEPTH = 200
# A tag or a comment is one token to expat: kept whole, and read again with each chunk.
MAX_TOKEN_BYTES = 1 << 20


def local(tag: str) -> str:
    """The tag's name without its namespace."""
    return tag.rpartition("}")[2]


def text(root: ElementTree.Element, *, inline: frozenset[str]) -> str:
    """All text below an element, a space at the ends of elements that are not `inline`."""
    parts: list[str] = []

    def walk(element):
        edge = "" if local(element.tag) in inline else " "
        parts.extend((edge, element.text or ""))
        for child in element:
            walk(child)
            parts.append(child.tail or "")
        parts.append(edge)

    walk(root)
    return "".join(parts)


class Readable(Protocol):
    """What is read once, from its beginning to its end."""

    def read(self, size: int, /) -> bytes: ...


def feed(stream: Readable, target, *, path: str) -> Iterator[None]:
    """Parses `stream` into an ElementTree target, yielding after each chunk of 64 KiB.

    Raises ReadError: "xml_dtd" for a DTD or an entity, "xml_broken" for anything malformed,
    "too_large" for a tag or comment of more than MAX_TOKEN_BYTES.
    """
    watched = _Watched(target)
    waiting = 0  # bytes since the parser last told of anything
    # forbid_dtd: an external DTD is a network access, an internal one is the billion laughs.
    parser = defused.DefusedXMLParser(
        target=watched, forbid_dtd=True, forbid_entities=True, forbid_external=True
    )
    try:
        while chunk := stream.read(CHUNK_BYTES):
            before = watched.events
            parser.feed(chunk)
            waiting = 0 if watched.events > before else waiting + len(chunk)
            if waiting > MAX_TOKEN_BYTES:
                raise document.ReadError(
                    "too_large", f"{path}: a tag or comment above {MAX_TOKEN_BYTES} bytes"
                )
            yield
        parser.close()
        yield
    except defusedxml.DefusedXmlException as error:
        raise document.ReadError("xml_dtd", f"{path}: {type(error).__name__}") from error
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        if isinstance(error, document.ReadError):
            raise
        raise document.ReadError("xml_broken", f"{path}: {error}") from error


class _Watched:
    """Hands everything to a target and counts it; ends are never many without a beginning."""

    def __init__(self, target):
        self._target, self.events = target, 0
        self.end, self.close = target.end, target.close

    def start(self, tag, attributes):
        self.events += 1
        self._target.start(tag, attributes)

    def data(self, text):
        self.events += 1
        self._target.data(text)


class Subtrees:
    """Target that keeps only subtrees rooted at the wanted tags; `done` collects them."""

    def __init__(
        self,
        wanted: frozenset[str],
        *,
        max_chars: int,
        path: str,
        outside: Callable[[str], None],
    ):
        self.wanted, self.max_chars, self.path = wanted, max_chars, path
        self.outside = outside
        self.done: list[ElementTree.Element] = []
        self._builder, self._inside, self._depth, self._chars = None, 0, 0, 0

    def start(self, tag, attributes):
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise document.ReadError("xml_deep", f"{self.path}: nested deeper than {MAX_DEPTH}")
        if self._builder is None and local(tag) in self.wanted:
            self._builder, self._chars = ElementTree.TreeBuilder(), 0
        if self._builder is not None:
            self._inside += 1
            self._count(64 + sum(len(name) + len(value) for name, value in attributes.items()))
            self._builder.start(tag, attributes)

    def end(self, tag):
        self._depth -= 1
        if self._builder is not None:
            self._builder.end(tag)
            self._inside -= 1
            if self._inside == 0:
                self.done.append(self._builder.close())
                self._builder = None

    def data(self, text):
        if self._builder is not None:
            self._count(len(text))
            self._builder.data(text)
        else:
            self.outside(text)

    def close(self):
        return None

    def _count(self, chars):
        self._chars += chars
        if self._chars > self.max_chars:
            raise document.ReadError(
                "too_large", f"{self.path}: an element of more than {self.max_chars} characters"
            )


def subtrees(
    stream: BinaryIO,
    *,
    wanted: frozenset[str],
    path: str,
    max_chars: int = 32 * 1024 * 1024,
    outside: Callable[[str], None] = lambda text: None,
) -> Iterator[ElementTree.Element]:
    """Yields each element named in `wanted` once it is complete; memory is one element.

    `outside` gets the text that is in none of them.
    """
    target = Subtrees(wanted, max_chars=max_chars, path=path, outside=outside)
    for _ in feed(stream, target, path=path):
        done, target.done = target.done, []
        yield from done
