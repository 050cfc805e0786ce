"""mypt COMMAND ...: every command by its name.

`mypt plan` is `python -m mypt_jax plan`, for a checkout that is not installed, and runs what
`python -m mypt_jax.plan` runs.
"""

import difflib
import importlib
import sys
from typing import NamedTuple

from data_pipeline import errors
from mypt_jax import console


class Command(NamedTuple):
    """Where a command's function stands, and what it does in a line."""

    where: str  # package.module:function, imported when it is asked for
    what: str
    outlives: bool = False  # its console: it is not begun for what it prints


# What is in mypt_jax has the name that `python -m mypt_jax.NAME` has.
COMMANDS = {
    "adapt": Command(
        "mypt_jax.adapt.command:main", "from a folder of text to an adapted model", True
    ),
    "main": Command("mypt_jax.main:run", "train one stage"),
    "chain": Command(
        "mypt_jax.chain.command:main", "train a chain of stages, each from its parent", True
    ),
    "sweep": Command(
        "mypt_jax.sweep.command:main", "train a stage with several values and seeds", True
    ),
    "frontier": Command("mypt_jax.frontier.command:main", "compare recipes of adaptation", True),
    "plan": Command("mypt_jax.plan.command:main", "what a stage will be and cost, before it runs"),
    "foretell": Command(
        "mypt_jax.foretell.command:main", "final losses, from what was seen before"
    ),
    "runs": Command("mypt_jax.manage.command:main", "list, show, remove, rename and clean runs"),
    "report": Command("mypt_jax.report.command:main", "the guide's tables from what was trained"),
    "merge": Command("mypt_jax.merge.command:main", "several runs' weights into one run", True),
    "sample": Command("mypt_jax.sample.command:main", "a token dataset of a run's own text", True),
    "generate": Command("mypt_jax.generate:main", "continue prompts with a run's model"),
    "evaluate": Command("mypt_jax.evaluate.command:main", "score a run on a dataset or text"),
    "export": Command("mypt_jax.interop.huggingface:export", "a run for other programs", True),
    "interop.huggingface": Command(
        "mypt_jax.interop.huggingface:main", "Hugging Face folders in and out", True
    ),
    "interop.mypt": Command(
        "mypt_jax.interop.mypt:main", "folders of the original in and out", True
    ),
    "interop.lm_eval": Command("mypt_jax.interop.lm_eval:main", "lm-evaluation-harness on a run"),
    "stages": Command("mypt_jax.stages:main", "copy the stage files out, to be changed"),
    "first_light": Command("mypt_jax.first_light:main", "check an accelerator in five minutes"),
    "corpus": Command("data_pipeline.corpus.command:main", "raw sources to clean documents"),
    "prepare": Command("data_pipeline.commands.prepare:main", "documents to a token dataset"),
    "append": Command("data_pipeline.commands.append:main", "more documents into a dataset"),
    "mix": Command("data_pipeline.commands.mix:main", "a domain dataset with replayed text"),
    "inspect": Command(
        "data_pipeline.commands.inspect:main", "what a dataset holds, whether it is whole"
    ),
    "contamination": Command(
        "data_pipeline.commands.contamination:main", "evaluation text in training text"
    ),
    "export_tfds": Command("data_pipeline.commands.export_tfds:main", "a dataset as ArrayRecord"),
    "demo": Command("data_pipeline.commands.demo:main", "the demo's token datasets"),
    "picture": Command("data_pipeline.picture:main", "the order of a mixture's windows as letters"),
}


def help_text() -> str:
    """The table as it is shown."""
    width = max(map(len, COMMANDS))
    rows = (f"  {name:{width}}  {command.what}" for name, command in COMMANDS.items())
    return "\n".join(
        [
            "usage: mypt COMMAND [ARGUMENT ...]",
            "",
            *rows,
            "",
            "mypt COMMAND --help says more, with examples:",
            "  mypt plan --config=configs/v8.py:tiny",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns its exit code. Raises UserError for a name that is none."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help", "help"):
        print(help_text())
        return 0
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        meant = f"did you mean {near[0]}?" if near else "mypt --help lists them"
        raise errors.UserError(f"mypt has no command {name!r}; {meant}")
    module, _, function = COMMANDS[name].where.partition(":")
    sys.argv = [f"mypt {name}", *rest]  # what parsers call the program
    return getattr(importlib.import_module(module), function)(rest)


def command() -> int:
    """The installed `mypt`."""
    found = COMMANDS.get(next(iter(sys.argv[1:]), ""))
    return console.run(main) if found and found.outlives else errors.run(main)
