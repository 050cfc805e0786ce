"""MyPT checkpoint folders (model.pt, config.json, tokenizer.json) in and out.

    python -m mypt_jax.interop.mypt import DIR runs/base_from_mypt
    python -m mypt_jax.interop.mypt export runs/base_from_mypt DIR --dtype=bf16

Format: core/checkpoint.py and core/model.py of the original, at v8 and with its later switches
(rotary positions, SwiGLU, RMSNorm, tied embeddings). model.pt is read with weights_only=True:
nothing in it runs.
Needs torch (requirements-interop.txt).
"""

import sys

from data_pipeline import arguments
from data_pipeline.tokens import mypt_format
from mypt_jax import console
from mypt_jax.interop import choices
from mypt_jax.storage import fetch


def main(argv=None) -> int:
    parser = arguments.Parser(__doc__, prog="python -m mypt_jax.interop.mypt")
    commands = parser.add_subparsers(dest="command", required=True)
    reader = commands.add_parser("import", text=__doc__, help="a folder becomes a base run")
    reader.add_argument("directory")
    reader.add_argument("run")
    reader.add_argument(
        "--tokenizer",
        choices=mypt_format.TOKENIZERS,
        default="",
        help="whose control tags it says; default: mypt's if it was trained with a loss mask",
    )
    reader.add_argument("--origin", default="", help=choices.ORIGIN)
    writer = commands.add_parser("export", text=__doc__, help="a run becomes a folder")
    writer.add_argument("run", help="PATH[@STEP|@best]")
    writer.add_argument("directory")
    writer.add_argument("--dtype", choices=choices.DTYPES, default="fp32")
    given = parser.parse_args(argv)
    if given.command == "import":
        choices.check_folder(given.directory)
    else:
        fetch.check_run(given.run)
    from mypt_jax.interop import mypt_folder  # here: --help and a slip wait for no jax

    if given.command == "import":
        mypt_folder.import_folder(
            given.directory, given.run, origin=given.origin, tokenizer=given.tokenizer
        )
        print(f"wrote {given.run}; train from it: --config=configs/v3.py:{given.run}")
    else:
        mypt_folder.export_folder(given.run, given.directory, dtype=given.dtype)
        print(f"wrote {given.directory}")
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main))
