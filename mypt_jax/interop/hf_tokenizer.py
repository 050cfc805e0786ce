"""Tokenizer files of a Hugging Face folder: recognised, and written for our own BPE."""

import json
import os
import shutil

from data_pipeline import errors
from data_pipeline.tokens import tokenizer as tokenizers
from mypt_jax.runs import lineage, own_tokenizer

END_OF_TEXT = "<|endoftext|>"


def recognise(directory: str) -> str:
    """The tokenizer name of a model folder: one of ours where it is that, else "hf:DIR".

    Raises UserError when the folder holds no tokenizer.
    """
    for name in ("tokenizer.json", "vocab.json"):
        path = os.path.join(directory, name)
        if not os.path.isfile(path):
            continue
        try:
            with open(path, encoding="utf-8") as file:
                content = json.load(file)
        except (ValueError, RecursionError) as error:
            raise errors.UserError(f"{path} is not JSON: {error}") from None
        vocabulary = content.get("model", {}).get("vocab") if name == "tokenizer.json" else content
        added = content.get("added_tokens") if name == "tokenizer.json" else ()
        tags = {one.get("content"): one.get("id") for one in added or () if isinstance(one, dict)}
        for ours in tokenizers.NAMES[:-1] if isinstance(vocabulary, dict) else ():
            tokenizer = tokenizers.get(ours)
            if not 0 <= tokenizer.vocab_size - len(vocabulary) <= len(tokenizer.tags) + 1:
                continue
            wanted = {tag: tokenizer.eot + 1 + i for i, tag in enumerate(tokenizer.tags)}
            tags[END_OF_TEXT] = tokenizer.eot  # in vocab.json alone it is among the others
            if {**vocabulary, **tags} == {**_vocabulary(tokenizer), **wanted}:
                return ours
        if name == "tokenizer.json":
            return f"hf:{directory}"
    raise errors.UserError(
        f"{directory} holds no tokenizer.json: add the tokenizer's files, or name a tokenizer with "
        "--tokenizer=gpt2|hf:DIR"
    )


def write(tokenizer: tokenizers.Tokenizer, directory: str, *, block_size: int, own: str) -> None:
    """Writes a tokenizer into an exported folder, for transformers to load.

    `own`: where the run has what it came with; what is there is exported as it was, but for the
    context.
    """
    for name in own_tokenizer.FILES:
        if os.path.isfile(os.path.join(own, name)):
            shutil.copyfile(os.path.join(own, name), os.path.join(directory, name))
    path = os.path.join(directory, "tokenizer_config.json")
    if os.path.isfile(path):
        config = lineage.read_json(path, what="tokenizer", wanted={})
        config["model_max_length"] = block_size
        _dump(path, config)
    if not os.path.isfile(os.path.join(directory, "tokenizer.json")):
        _write_ours(tokenizer, directory, block_size=block_size)


def _dump(path: str, value: dict) -> None:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False)


def _write_ours(tokenizer: tokenizers.Tokenizer, directory: str, *, block_size: int) -> None:
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    special = [
        {"id": tokenizer.eot + number, "content": written, "special": True, **plain}
        for number, written in enumerate((END_OF_TEXT, *tokenizer.tags))
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": {**byte_level, "use_regex": True},
        "post_processor": None,
        "decoder": {**byte_level, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": _vocabulary(tokenizer),
            "merges": _merges(tokenizer),
        },
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": block_size,
        "clean_up_tokenization_spaces": False,
        **dict.fromkeys(("bos_token", "eos_token", "unk_token"), END_OF_TEXT),
    }
    for file_name, value in (("tokenizer.json", content), ("tokenizer_config.json", config)):
        _dump(os.path.join(directory, file_name), value)


def _characters() -> list[str]:
    """The printable character that stands for each byte in GPT-2's files."""
    printable = [b for b in range(256) if chr(b).isprintable() and chr(b) != " "]
    others = [b for b in range(256) if b not in printable]
    table = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
    return [table[b] for b in range(256)]


def _pieces(tokenizer: tokenizers.Tokenizer) -> list[bytes]:
    return [tokenizer.encoding.decode_single_token_bytes(i) for i in range(tokenizer.eot)]


def _vocabulary(tokenizer: tokenizers.Tokenizer) -> dict[str, int]:
    characters = _characters()
    written = {"".join(characters[b] for b in p): i for i, p in enumerate(_pieces(tokenizer))}
    return {**written, END_OF_TEXT: tokenizer.eot}


def _merges(tokenizer: tokenizers.Tokenizer) -> list[str]:
    """The two parts of every merged piece: what BPE reaches with the ranks below its own."""
    pieces, characters = _pieces(tokenizer), _characters()
    ranks = {piece: rank for rank, piece in enumerate(pieces)}
    merges = []
    for rank, piece in enumerate(pieces):
        if len(piece) == 1:
            continue
        parts = [bytes([b]) for b in piece]
        while len(parts) > 2:
            pairs = [a + b for a, b in zip(parts, parts[1:], strict=False)]
            best = min(range(len(pairs)), key=lambda i: ranks.get(pairs[i], rank))
            parts[best : best + 2] = [pairs[best]]
        merges.append(" ".join("".join(characters[b] for b in part) for part in parts))
    return merges
