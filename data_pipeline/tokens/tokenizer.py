"""Text <-> token ids, by the name of a tokenizer.

Names: `gpt2` (50,257 ids), `gpt2-4096` (the first 4,096 of its ranks and an end-of-text, for tiny
models), `mypt` and `mypt-v8` (gpt2 and the control tags of the original, now and at v8) and
`hf:DIR` (a Hugging Face tokenizer.json).
"""

import copy
import functools
import itertools
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_pipeline import errors
from data_pipeline.tokens import bpe, hugging_face

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
        return Tokenizer(**bpe.parts(name, bpe.gpt2_ranks()))
    if name in _TAGS:
        pairs = [(f"<myPT_{part}>", f"</myPT_{part}>") for part in _TAGS[name].split()]
        tags = (*itertools.chain(*pairs), "<myPT_eot>")
        return Tokenizer(**bpe.parts(name, bpe.gpt2_ranks(), tags))
    if name == f"gpt2-{_SMALL_RANKS}":
        # Merge number r only ever joins pieces of smaller rank, so a prefix is itself a BPE.
        first = {piece: rank for piece, rank in bpe.gpt2_ranks().items() if rank < _SMALL_RANKS}
        return Tokenizer(**bpe.parts(name, first))
    if name.startswith("hf:"):
        return Tokenizer(**hugging_face.parts(name, Path(name[3:])))
    raise errors.UserError(
        f"unknown tokenizer {name!r}: use {', '.join(NAMES[:-1])} or {NAMES[-1]}"
    )
