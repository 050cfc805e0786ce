"""Writes requirements.txt and requirements-EXTRA.txt, for pip and scripts/, from pyproject.toml.

python scripts/write_requirements.py
"""

import argparse
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAD = "# From pyproject.toml, where it says what for, by scripts/write_requirements.py."


def _file(extra: str) -> str:
    return f"requirements-{extra}.txt" if extra else "requirements.txt"


def files(project: dict) -> dict[str, str]:
    """{file name: its text} for [project]; an extra takes in the dependencies, as it does there."""
    texts = {}
    own = re.compile(rf"{project['name']}\[(.*)\]")
    for extra, listed in {"": project["dependencies"], **project["optional-dependencies"]}.items():
        lines = [HEAD, *([f"-r {_file('')}"] if extra else [])]
        for requirement in listed:
            others = own.fullmatch(requirement)
            taken = others[1].split(",") if others else []
            lines += [f"-r {_file(other)}" for other in taken] or [requirement]
        texts[_file(extra)] = "\n".join(lines) + "\n"
    return texts


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name, text in files(project).items():
        (ROOT / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
