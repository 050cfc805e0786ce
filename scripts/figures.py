"""Figures of the documentation, kept in docs/measured.json by the commands that measure them.

    python scripts/figures.py measure report        # runs the command of that name, keeps its JSON
    python scripts/figures.py quickstart runs/tiny  # of a quickstart's report
    python scripts/figures.py write                 # puts them into the documents
    python scripts/figures.py check                 # exit code 1 where a document says another

In a document a figure stands between `<!-- measured: NAME KEY UNIT -->` and `<!-- . -->`, the table
of the quickstart between its own marks, one of a JSON beside the document, as `mypt frontier` and
scripts/bench_limits.py write them, between `<!-- table: KIND FILE -->` and `<!-- table: end -->`.
tests/docs/test_figures.py checks.
"""

import argparse
import datetime
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from _checkout import ROOT

from data_pipeline import arguments, errors
from data_pipeline.errors import UserError

STORE = Path("docs/measured.json")
# What each prints is one JSON object, {key: number}.
COMMANDS = {
    "report": "python scripts/bench_report.py",
    "loader": "python scripts/bench_loader.py",
}
UNITS = {"MB": (1e6, ".1f"), "s": (1, ".1f"), "M": (1e6, ".0f"), "runs": (1, ",.0f")}
_FIGURE = re.compile(r"(<!-- measured: (\w+) (\w+) (\w+) -->)(.*?)(<!-- \. -->)", re.S)
_TABLE = re.compile(
    r"(<!-- quickstart table: begin -->\n)(.*?)(<!-- quickstart table: end -->)", re.S
)
_FROM_JSON = re.compile(r"(<!-- table: (\w+) (\S+) -->\n)(.*?)(<!-- table: end -->)", re.S)
_COLUMNS = ("Run", "Init from", "LR", "Replay", "Steps", "Domain", "General")


def read(root: Path) -> dict:
    path = root / STORE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def keep(root: Path, name: str, command: str, figures: Mapping) -> None:
    """Writes what a command has measured just now, with when and on what."""
    versions = {one: metadata.version(one) for one in ("jax", "numpy", "plotly")}
    entry = {
        "command": command,
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "versions": {"python": platform.python_version(), **versions},
        "figures": dict(figures),
    }
    text = json.dumps({**read(root), name: entry}, indent=1, sort_keys=True)
    (root / STORE).write_text(text + "\n", encoding="utf-8")


def measure(name: str) -> tuple[str, dict]:
    """(command, what it printed). Raises UserError where it fails."""
    command = COMMANDS[name]
    words = [sys.executable, *shlex.split(command)[1:]]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise UserError(f"{command} ended with exit code {done.returncode}: nothing is kept")
    return command, json.loads(done.stdout)


def of_quickstart(runs: Path) -> dict:
    """{"table": [[cell, ..], ..]} of the summary in a report."""
    path = runs / "report.md"
    if not path.is_file():
        raise UserError(f"{path} is missing; wanted the directory of a quickstart, runs/tiny")
    section = path.read_text(encoding="utf-8").partition("### Experiment summary\n")[2]
    rows = [line for line in section.partition("\n### ")[0].splitlines() if line.startswith("| ")]
    table = [[cell.strip() for cell in row.strip("| ").split(" | ")] for row in rows]
    if not table or tuple(table[0][: len(_COLUMNS)]) != _COLUMNS:
        raise UserError(f"{path} has no summary: of another version")
    return {"table": table}


def of_json(kind: str, path: Path) -> list[str]:
    """Lines of the table of a comparison's JSON; `kind`: which command wrote it."""
    import bench_limits

    from mypt_jax.frontier import page

    if kind == "limits":
        return bench_limits.table(json.loads(path.read_text(encoding="utf-8"))["rows"])
    return page.table_of(path)


def filled(text: str, measured: Mapping, *, where: Path) -> str:
    """A document, at `where`, with the figures as they were measured. Raises UserError for unknown
    ones."""

    def figure(match: re.Match) -> str:
        begin, name, key, unit, _, end = match.groups()
        try:
            value = measured[name]["figures"][key]
            scale, form = UNITS[unit]
        except KeyError as error:
            raise UserError(f"{where}: {begin} names {error}, which is not there") from None
        return f"{begin}{value / scale:{form}} {unit}{end}"

    def table(match: re.Match) -> str:
        found = measured.get("quickstart")
        if found is None:
            return match[0]
        lines = [f"| {' | '.join(row)} |" for row in found["figures"]["table"]]
        versions = found["versions"]
        said = (
            f"{found['date']}, {found['machine']}, Python {versions['python']}, jax "
            f"{versions['jax']}: losses on the half of val that is kept for reports."
        )
        return f"{match[1]}{chr(10).join(lines)}\n\n{said}\n{match[3]}"

    def from_json(match: re.Match) -> str:
        begin, kind, name, _, end = match.groups()
        return "".join([begin, *(f"{line}\n" for line in of_json(kind, where.parent / name)), end])

    return _FROM_JSON.sub(from_json, _TABLE.sub(table, _FIGURE.sub(figure, text)))


def differing(root: Path) -> dict[Path, str]:
    """{document: as it should be} of those that say something else than was measured."""
    measured, found = read(root), {}
    for path in (*root.glob("*.md"), *(root / "docs").rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        new = filled(text, measured, where=path)
        if new != text:
            found[path] = new
    return found


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = arguments.Parser(__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("measure", text=__doc__).add_argument("name", choices=COMMANDS)
    commands.add_parser("quickstart", text=__doc__).add_argument("runs", type=Path)
    for name in ("write", "check"):
        commands.add_parser(name, text=__doc__)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    if args.what == "measure":
        keep(ROOT, args.name, *measure(args.name))
    elif args.what == "quickstart":
        keep(ROOT, "quickstart", "bash scripts/quickstart.sh", of_quickstart(args.runs))
    found = differing(ROOT) if args.what in ("write", "check") else {}
    for path, text in found.items():
        print(path.relative_to(ROOT))
        if args.what == "write":
            path.write_text(text, encoding="utf-8")
    return int(bool(found) and args.what == "check")


if __name__ == "__main__":
    sys.exit(errors.run(main))
