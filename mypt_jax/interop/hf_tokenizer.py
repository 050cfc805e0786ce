"""Tokenizer files of a Hugging Face folder: recognised, copied, and written for our own BPE."""

import json
import os
import shutil

from data_pipeline import errors
from data_pipeline.tokens import tokenizer as tokenizers

FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json")
FILES += ("merges.txt", "tokenizer.model", "added_tokens.json", "generation_config.json")
END_OF_TEXT = "<|endoftext|>"


def recognise(directory: str) -> str:
    """The tokenizer name of a model folder: "gpt2" where it is GPT-2's own, else "hf:DIR".

    Raises UserError when the folder holds no tokenizer.
    """
    own = _vocabulary(tokenizers.get("gpt2"))
    for name in ("tokenizer.json", "vocab.json"):
        path = os.path.join(directory, name)
        if not os.path.isfile(path):
            continue
        try:
            with open(path, encoding="utf-8") as file:
                content = json.load(file)
        except ValueError as error:
            raise errors.UserError(f"{path} is not JSON: {error}") from None
        vocabulary = content.get("model", {}).get("vocab") if name == "tokenizer.json" else content
        if isinstance(vocabulary, dict) and {**vocabulary, END_OF_TEXT: own[END_OF_TEXT]} == own:
            return "gpt2"
        if name == "tokenizer.json":
            return f"hf:{directory}"
    raise errors.UserError(
        f"{directory} holds no tokenizer.json: add the tokenizer's files, or name a tokenizer with "
        "--tokenizer=gpt2|hf:DIR"
    )


def copy(source: str, target: str) -> None:
    """Copies the tokenizer files that are there."""
    os.makedirs(target, exist_ok=True)
    for name in FILES:
        if os.path.isfile(os.path.join(source, name)):
            shutil.copyfile(os.path.join(source, name), os.path.join(target, name))


def write(name: str, directory: str, *, block_size: int) -> None:
    """Writes the tokenizer `name` into an exported folder, for transformers to load."""
    if name.startswith("hf:"):
        copy(name.removeprefix("hf:"), directory)
        return
    tokenizer = tokenizers.get(name)
    special = {"id": tokenizer.eot, "content": END_OF_TEXT, "special": True}
    special |= dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [special],
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
        with open(os.path.join(directory, file_name), "w", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False)


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
