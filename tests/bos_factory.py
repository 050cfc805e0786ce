"""A tokenizer that begins every text with a token of its own, as Llama's does."""

import json
from pathlib import Path

BOS, EOS = 256, 257


def write_folder(
    root: Path, *, adds_bos: bool = True, bos: str = "<s>", eos: str = "</s>", template: str = ""
) -> Path:
    """tokenizer.json of one id a byte, bos and eos, with a chat template if there is one; returns
    the folder."""
    import tokenizers

    pieces = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    made = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[])
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens([bos, eos])
    if adds_bos:
        made.post_processor = tokenizers.processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, BOS)]
        )
    root.mkdir(parents=True)
    made.save(str(root / "tokenizer.json"))
    named = {"bos_token": bos, "eos_token": eos}
    named |= {"chat_template": template} if template else {}
    (root / "tokenizer_config.json").write_text(json.dumps(named))
    return root
