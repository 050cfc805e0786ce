"""A tokenizer that begins every text with a token of its own, as Llama's does."""

import json
from pathlib import Path

BOS, EOS = 256, 257


def write_folder(root: Path, *, adds_bos: bool = True) -> Path:
    """tokenizer.json of one id a byte, <s> and </s>; returns the folder."""
    import tokenizers

    pieces = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    made = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[])
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(["<s>", "</s>"])
    if adds_bos:
        made.post_processor = tokenizers.processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", BOS)]
        )
    root.mkdir(parents=True)
    made.save(str(root / "tokenizer.json"))
    named = {"bos_token": "<s>", "eos_token": "</s>"}
    (root / "tokenizer_config.json").write_text(json.dumps(named))
    return root
