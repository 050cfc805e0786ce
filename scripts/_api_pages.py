"""Pages of the API for the site (mkdocs.yml): one per package, from its docstrings, made as it is
built."""

import re
from pathlib import Path

import griffe
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
HALVES = ("mypt_jax", "data_pipeline")


def _modules() -> dict[str, list[str]]:
    """{package: its modules}, both by their dotted names."""
    found: dict[str, list[str]] = {}
    for half in HALVES:
        for path in sorted((ROOT / half).rglob("*.py")):
            if path.name[0] != "_":
                parts = path.relative_to(ROOT).with_suffix("").parts
                found.setdefault(".".join(parts[:-1]), []).append(".".join(parts))
    return found


def _page(package: str) -> str:
    return f"api/{package}.md"


def on_config(config):
    config.nav.append({"API": [{package: _page(package)} for package in _modules()]})
    return config


def on_files(files, *, config):
    for package, modules in _modules().items():
        text = "\n\n".join([f"# {package}", *(f"::: {module}" for module in modules)])
        files.append(File.generated(config, _page(package), content=text + "\n"))
    return files


class PlainBrackets(griffe.Extension):
    """Docstrings are sentences: of int32[B, L + 1] the brackets are no Markdown link."""

    def on_object(self, *, obj, **_):
        if obj.docstring:
            lines = obj.docstring.value.splitlines()
            obj.docstring.value = "\n".join(map(_escaped, lines))


def _escaped(line: str) -> str:
    if line.startswith("    "):
        return line  # an example, shown as it is
    parts = re.split(r"(`[^`]*`)", line)
    return "".join(x if x.startswith("`") else x.replace("[", "\\[") for x in parts)
