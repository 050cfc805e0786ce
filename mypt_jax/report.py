"""The guide's tables from what was trained.

    python -m mypt_jax.report runs/tiny

Reads every run at and under the directory, links it to its parent by its lineage (any number of
stages, any names), prints the tables as Markdown and writes report.md and report.json there.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from data_pipeline import errors
from mypt_jax import report_data, report_tables


def write(path: Path, text: str) -> None:
    """Replaces a file in one go: a reader sees the old report or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise errors.UserError(f"cannot write {path}: {error.strerror}") from error


def build(root: Path, out: Path) -> str:
    """Reads everything first, then writes: bad input leaves the old report as it was."""
    groups = report_data.lineages(report_data.read_runs(root))
    text = report_tables.markdown(groups, title=f"Report of {root}")
    numbers = json.dumps(report_tables.as_json(groups), indent=1, allow_nan=False)
    write(out / "report.md", text)
    write(out / "report.json", numbers + "\n")
    return text


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="The guide's tables from what was trained.")
    parser.add_argument("runs", type=Path, help="a directory with runs, such as runs/tiny")
    parser.add_argument("--out", type=Path, help="where to write; default: that directory")
    args = parser.parse_args(argv)
    out = args.out or args.runs
    if args.out:
        out.mkdir(parents=True, exist_ok=True)
    print(build(args.runs, out))
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
