"""A Hugging Face tokenizer.json, and what the files beside it say of its control tokens."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from data_pipeline import errors
from data_pipeline.tokens import bpe


def parts(name: str, directory: Path) -> dict[str, Any]:
    """What a Tokenizer of a directory is made of. Raises UserError."""
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
    eot, bos = _eot(inner, directory), _bos(inner, directory)
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

    return dict(
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
        stops=_stops(directory, vocab_size),
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


def _bos(inner, directory: Path) -> int | None:
    named = _named(directory, "bos_token")
    return inner.token_to_id(named) if named else None


def _stops(directory: Path, vocab_size: int) -> tuple[int, ...]:
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


def _eot(inner, directory: Path) -> int:
    """The end-of-text id: tokenizer_config.json's eos_token, else a usual name of one."""
    names = [bpe.END_OF_TEXT, "</s>", "<|end_of_text|>", "<eos>", "[SEP]"]
    named = _named(directory, "eos_token")
    for candidate in [named, *names] if named else names:
        eot = inner.token_to_id(candidate)
        if eot is not None:
            return eot
    raise errors.UserError(
        f"{directory}: no end-of-text token: name it as eos_token in tokenizer_config.json"
    )
