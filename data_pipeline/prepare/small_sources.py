"""Sources of few documents are cut into pieces, so that train and val can share a single book."""

import collections
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from data_pipeline import document, errors, hashing
from data_pipeline.prepare import tokenise
from data_pipeline.readers import pieces
from data_pipeline.tokens import tokenizer

FEW_DOCUMENTS = 100
PIECE_TOKENS = 2000
# Val takes runs of neighbouring pieces: a piece alone would have its context in train.
_LONGEST_RUN = 16
_SAMPLE_CHARS = 100_000
_HELD_CHARS = 1 << 16  # of each source in memory, since there may be thousands


class Gate:
    """Passes documents through, but holds a source back on disk until it has enough of them."""

    def __init__(
        self,
        directory: Path,
        *,
        vocabulary: tokenizer.Tokenizer,
        val_fraction: float,
        excluded: np.ndarray,
    ):
        self._excluded = excluded
        self._directory = directory
        self._vocabulary = vocabulary
        self._val_fraction = val_fraction
        self._held: dict[str, _Held] = {}
        self.documents: collections.Counter[str] = collections.Counter()
        self.empty: collections.Counter[str] = collections.Counter()
        self.long: collections.Counter[str] = collections.Counter()
        self.licences: dict[str, collections.Counter[str]] = {}
        self.known: collections.Counter[str] = collections.Counter()  # left out: in `excluded`
        # The uncut texts of each source that was cut, so that an append recognises them.
        self.cut: dict[str, list[int]] = {}

    def texts(self, documents: Iterable[document.Document]) -> Iterator[tokenise.Text]:
        """Yields what is to be encoded; a document longer than a million characters in parts."""
        last: dict[str, str] = {}
        first: dict[str, str] = {}
        for item in documents:
            source = item.source
            if not item.text.strip():
                self.empty[source] += 1
                continue
            if not item.id or last.get(source) != item.id:
                # A reader that cuts a huge file yields its parts one after the other.
                self.documents[source] += 1
                last[source] = item.id
                self.licences.setdefault(source, collections.Counter())[item.licence] += 1
                first.pop(source, None)
            if len(item.text) > pieces.MAX_DOCUMENT_CHARS:
                self.long[source] += 1
            for part in pieces.cut(item.text, target_chars=pieces.MAX_DOCUMENT_CHARS):
                key = item.split_key
                if source in first and not key:  # all parts on the side of the first one
                    key = f"{hashing.text_hash(first[source]):016x}"
                first.setdefault(source, part)
                if self._is_excluded(part):
                    self.known[source] += 1
                    continue
                text = tokenise.Text(source, part, key, item.path or item.id)
                yield from self._pass(text, item)
        for source, held in sorted(self._held.items()):
            if self.documents[source] < FEW_DOCUMENTS:
                self.cut[source] = []
                yield from self._pieces(source, held)

    def _is_excluded(self, text: str) -> bool:
        if not len(self._excluded):
            return False
        sought = np.array([hashing.text_hash(text)], np.uint64)
        return bool(hashing.contains(self._excluded, sought)[0])

    def _pass(self, text: tokenise.Text, item: document.Document) -> Iterator[tokenise.Text]:
        source = text.source
        if self.documents[source] < FEW_DOCUMENTS:
            if source not in self._held:
                self._held[source] = _Held(self._directory / f"{source}.held")
            self._held[source].add(text, item)
            return
        if source in self._held:
            for held, _, _ in self._held.pop(source).read():
                yield held
        yield text

    def _pieces(self, source: str, held: "_Held") -> Iterator[tokenise.Text]:
        sample, keys = "", collections.Counter()
        for text, identity, cluster in held.read():
            if len(sample) < _SAMPLE_CHARS:
                sample += text.text[:_SAMPLE_CHARS]
            if cluster:
                keys[(cluster, identity)] += 1
        shared = collections.Counter(key for key, _ in keys)
        try:
            sample_tokens = max(1, len(self._vocabulary.encode(sample)))
        except UnicodeEncodeError:
            raise errors.UserError(
                f"source {source}: a lone surrogate in the text: mend it or pass --bad_text=replace"
            ) from None
        target_chars = max(1, PIECE_TOKENS * len(sample) // sample_tokens)
        wanted = self._val_fraction * held.chars / target_chars
        run = min(max(int(wanted / 4), 1), _LONGEST_RUN)
        number, current, document_hash = 0, None, 0
        elsewhere = {one for name, texts in self.cut.items() if name != source for one in texts}
        for text, identity, cluster in held.read():
            text_hash = hashing.text_hash(text.text)
            if text_hash in elsewhere:  # its pieces there may lie on other sides than these would
                self.known[source] += 1
                continue
            self.cut[source].append(text_hash)
            if identity != current:
                # Its text and not its path names a document: the same pieces are val anywhere.
                number, current, document_hash = 0, identity, text_hash
            for piece in pieces.cut(text.text, target_chars=target_chars):
                # Near-duplicates of another document stay whole: their pieces resemble each other.
                whole = shared[cluster] > 1
                run_key = f"{source}/{document_hash:016x}/{number // run}"
                key = cluster if whole else run_key
                yield tokenise.Text(source, piece, key, text.origin)
                number += 1


class _Held:
    """Texts of one source waiting in a JSON Lines file, which is open only while it is used."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lines: list[str] = []
        self._buffered_chars = 0
        self.chars = 0

    def add(self, text: tokenise.Text, item: document.Document) -> None:
        self.chars += len(text.text)
        row = [text.source, text.text, text.split_key, text.origin, item.id, item.split_key]
        self._lines.append(json.dumps(row) + "\n")
        self._buffered_chars += len(text.text)
        if self._buffered_chars >= _HELD_CHARS:
            self._flush()

    def _flush(self) -> None:
        with open(self._path, "a", encoding="ascii") as file:
            file.writelines(self._lines)
        self._lines, self._buffered_chars = [], 0

    def read(self) -> Iterator[tuple[tokenise.Text, str, str]]:
        """Yields texts, each with its document's id and near-duplicate cluster."""
        self._flush()
        with open(self._path, encoding="ascii") as file:
            for line in file:
                *fields, identity, cluster = json.loads(line)
                yield tokenise.Text(*fields), identity, cluster
