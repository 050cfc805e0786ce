"""`python -m mypt_jax.main --help`: every key with its default, its unit and what it takes.

What a key is for is the comment beside it in configs/base.py; the rest is its row in keys.py.
"""

import ast
import io
import itertools
import shlex
import shutil
import textwrap
import tokenize
from collections.abc import Mapping, Sequence
from typing import Any

from mypt_jax.schema import keys, overrides, stage_file, tree

HEAD = """\
usage: python -m mypt_jax.main --config=FILE[:SIZE] [--config.KEY=VALUE ...]

Trains one stage. FILE is a stage file such as configs/v8.py; SIZE is tiny, 150m, 350m, 750m (the
default) or the directory of a run, whose architecture and tokenizer the stage then has. A run that
exists is resumed, a finished one is left as it is. What a stage is and costs, without running it:
python -m mypt_jax.plan with the same arguments. Several stages: python -m mypt_jax.chain.

  python -m mypt_jax.main --config=configs/v8.py:tiny
  python -m mypt_jax.main --config=configs/v8.py:750m,batch=96
  python -m mypt_jax.main --config=configs/v8.py:tiny --config.optim.peak_lr=8e-5
  python -m mypt_jax.main --config=configs/v3.py:runs/gpt2 --config.data.domain=data/mine
  python -m mypt_jax.main --config=configs/v8.py:tiny --help      # the values of that stage

A bare --config.KEY is True, --noconfig.KEY False. Tuples: --config.data.general_weights=1,2,
"--config.data.domain=('data/a','data/b')", or the flag once for each entry; () is "()".
--flagfile=FILE holds one flag per line. Exit codes: README, "Exit codes".
"""


def of(arguments: Sequence[str]) -> str:
    """The help of a command line without --help: with the values of its stage, where it names one.

    Raises UserError.
    """
    given = overrides.read(arguments if arguments else [f"--config={stage_file.BASE}"])
    with open(stage_file.BASE, encoding="utf-8") as file:
        origin = "configs/base.py" if given.spec == stage_file.BASE else given.spec
        return text(given.config, file.read(), origin=origin)


def text(config: Mapping, source: str, *, origin: str) -> str:
    """The whole help. `config`: the values shown as defaults, those of `origin`; `source`: the text
    of configs/base.py."""
    said = comments(source)
    width = max(60, min(120, shutil.get_terminal_size((100, 24)).columns))
    lines = [HEAD, f"Keys, with the values of {origin}; [unit; what it takes]:"]
    group = None
    for row in keys.ROWS:
        if row.name.rpartition(".")[0] != group:
            group = row.name.rpartition(".")[0]
            lines.append("")
        lines += _entry(row, tree.get(config, row.name), said.get(row.name, ""), width)
    return "\n".join(lines) + "\n"


def _entry(row: keys.Key, value: Any, said: str, width: int) -> list[str]:
    listed = "|" in said and all(choice in said for choice in row.choices)
    allowed = "" if row.choices and listed else row.allowed
    about = "; ".join(part for part in (row.measured_in, allowed) if part)
    if row.was:
        said = f"{said} (the original's {', '.join(f'--{old}' for old in row.was)})".strip()
    words = " ".join(part for part in (f"[{about}]" if about else "", said) if part)
    start = f"  --config.{row.name}={_shown(value)}"
    if not words:
        return [start]
    body = textwrap.wrap(words, width, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return [start, *body]


def _shown(value: Any) -> str:
    """A value as it would be typed."""
    if isinstance(value, tuple):
        return f'"{value}"'.replace(" ", "") if value else '"()"'
    if isinstance(value, float):
        return next(text for text in (f"{value:g}", repr(value)) if float(text) == value)
    return shlex.quote(str(value))


def comments(source: str) -> dict[str, str]:
    """{"optim.peak_lr": the comment of its line in configs/base.py}.

    A comment on lines of its own is about the keys of one group under it, up to one that has its
    own.
    """
    beside: dict[int, str] = {}
    alone: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            before = token.line[: token.start[1]].strip()
            (beside if before else alone)[token.start[0]] = token.string.lstrip("# ")
    about: dict[str, str] = {}
    heading, group = "", ""
    for node in _assignments(ast.parse(source)):
        name = ast.unparse(node.targets[0]).removeprefix("config.")
        if name.rpartition(".")[0] != group:
            heading, group = "", name.rpartition(".")[0]
        above = list(itertools.takewhile(alone.get, range(node.lineno - 1, 0, -1)))
        heading = " ".join(alone[line] for line in reversed(above)) or heading
        lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
        own = " ".join(beside[line] for line in lines if line in beside)
        heading = "" if own else heading
        about[name] = own or heading
    return about


def _assignments(module: ast.Module) -> list[ast.Assign]:
    """The lines `config.KEY = VALUE`, in their order, without those that begin a group."""
    found = [
        node
        for node in ast.walk(module)
        if isinstance(node, ast.Assign)
        and ast.unparse(node.targets[0]).startswith("config.")
        and ast.unparse(node.value) != "ConfigDict()"
    ]
    return sorted(found, key=lambda node: node.lineno)
