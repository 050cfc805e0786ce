"""Hugging Face checkpoints (GPT-2, Llama, Mistral, Qwen 2 and 3, OLMo 2) in and out.

    python -m mypt_jax.interop.huggingface import DIR runs/gpt2
    python -m mypt_jax.main --config=configs/v3.py:runs/gpt2 --config.data.domain=data/mine
    python -m mypt_jax.interop.huggingface export runs/tiny/v8 DIR

Our default model has a bias in its output head, which GPT2LMHeadModel lacks. The export is exact
through a modelling file of its own (trust_remote_code=True); --drop_head_bias makes a plain
GPT2LMHeadModel instead and says what that costs. Needs safetensors (requirements-interop.txt).
"""

import sys

from data_pipeline import arguments, errors
from mypt_jax.interop import choices


def main(argv=None) -> int:
    parser = arguments.Parser(__doc__, prog="python -m mypt_jax.interop.huggingface")
    commands = parser.add_subparsers(dest="command", required=True)
    reader = commands.add_parser("import", text=__doc__, help="a folder becomes a base run")
    reader.add_argument("directory")
    reader.add_argument("run")
    reader.add_argument(
        "--block_size",
        type=int,
        default=0,
        help=f"context of a rotary model; 0: its own, at most {choices.ROPE_BLOCK_TOKENS}",
    )
    reader.add_argument("--tokenizer", default="", help="gpt2 or hf:DIR; empty: the folder's")
    reader.add_argument("--origin", default="", help=choices.ORIGIN)
    writer = commands.add_parser("export", text=__doc__, help="a run becomes a folder")
    writer.add_argument("run", help="PATH[@STEP|@best]")
    writer.add_argument("directory")
    writer.add_argument("--dtype", choices=choices.DTYPES, default="fp32")
    writer.add_argument("--drop_head_bias", action="store_true", help="a plain GPT2LMHeadModel")
    writer.add_argument("--force", action="store_true", help="drop the head bias at any cost")
    given = parser.parse_args(argv)
    from mypt_jax.interop import hf_folder  # here, so that --help waits for no jax

    if given.command == "import":
        remarks = hf_folder.import_folder(
            given.directory,
            given.run,
            block_size=given.block_size,
            tokenizer=given.tokenizer,
            origin=given.origin,
        )
        wrote = f"wrote {given.run}; train from it: --config=configs/v3.py:{given.run}"
        print("\n".join([*remarks, wrote]))
        return 0
    remarks = hf_folder.export_folder(
        given.run,
        given.directory,
        dtype=given.dtype,
        drop_head_bias=given.drop_head_bias,
        force=given.force,
    )
    print("\n".join([*remarks, f"wrote {given.directory}"]))
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
