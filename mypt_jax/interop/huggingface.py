"""Hugging Face checkpoints (GPT-2, Llama, Mistral, Qwen 2 and 3, OLMo 2) in and out.

    python -m mypt_jax.interop.huggingface import DIR runs/gpt2
    python -m mypt_jax.main --config=configs/v3.py:runs/gpt2 --config.data.domain=data/mine
    python -m mypt_jax.interop.huggingface export runs/tiny/v8 DIR
    mypt export runs/tiny/v8 --push=NAME/v8 --private    # to the Hub, with its card

Our default model has a bias in its output head, which GPT2LMHeadModel lacks: it goes by least
squares into the last norm's bias, so that the export loads everywhere; what that costs is measured
on the run's windows and said, and above 0.001 nats/token wants --force. --keep_head_bias exports it
exactly, with a modelling file of its own (trust_remote_code=True). Needs requirements-interop.txt.
"""

import contextlib
import sys
import tempfile

from data_pipeline import arguments, errors
from mypt_jax import console
from mypt_jax.interop import choices, hub
from mypt_jax.storage import fetch


def main(argv=None) -> int:
    # As `mypt export` its name is the one of the half that it is.
    prog = "mypt" if sys.argv[0] == "mypt export" else "python -m mypt_jax.interop.huggingface"
    parser = arguments.Parser(__doc__, prog=prog)
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
    writer.add_argument("directory", nargs="?", default="", help="empty or new; not with --push")
    writer.add_argument("--dtype", choices=choices.DTYPES, default="fp32")
    writer.add_argument("--keep_head_bias", action="store_true", help="with a modelling file")
    writer.add_argument("--force", action="store_true", help="fold the head bias at any cost")
    writer.add_argument("--base_model", default="", metavar="ID", help="of the Hub, for the card")
    writer.add_argument("--push", default="", metavar="NAME", help="a repository of the Hub")
    writer.add_argument("--private", action="store_true", help="with --push, where it is new")
    given = parser.parse_args(argv)
    if given.command == "import":
        choices.check_folder(given.directory)
    else:
        _check_export(given)
    from mypt_jax.interop import hf_folder  # here: --help and a slip wait for no jax

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
    with contextlib.ExitStack() as stack:
        directory = given.directory or stack.enter_context(tempfile.TemporaryDirectory())
        if given.push:
            hub.check_login()
        remarks = hf_folder.export_folder(
            given.run,
            directory,
            dtype=given.dtype,
            keep_head_bias=given.keep_head_bias,
            force=given.force,
            base_model=given.base_model,
        )
        print("\n".join(remarks))
        if given.push:
            print(f"pushed to {hub.push(directory, given.push, private=given.private)}")
        else:
            print(f"wrote {directory}")
    return 0


def _check_export(given) -> None:
    if bool(given.directory) == bool(given.push):
        raise errors.UserError("export wants a directory, or --push=NAME in its place")
    if given.private and not given.push:
        raise errors.UserError("--private is of a repository: it goes together with --push=NAME")
    hub.check_names(push=given.push, base_model=given.base_model)
    fetch.check_run(given.run)


def export(argv=None) -> int:
    """mypt export ...: the second command alone."""
    return main(["export", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    sys.exit(console.run(main))
