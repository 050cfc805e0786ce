"""docs/architecture.md names every package, and no path that is not there."""

import re

import pytest
from conftest import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def rooms(half: str) -> list[str]:
    """ "train/", "optim.py": the packages and modules at the top of a half of the code."""
    found = [path for path in (ROOT / half).iterdir() if path.name[0] not in "_."]
    folders = [f"{path.name}/" for path in found if (path / "__init__.py").exists()]
    return [*folders, *(path.name for path in found if path.suffix == ".py")]


@pytest.mark.parametrize("half", ["mypt_jax", "data_pipeline"])
def test_every_package_has_a_place_in_the_house(half):
    table = PAGE.partition(f"| {half} | |")[2].partition("\n\n")[0]
    assert [name for name in rooms(half) if f"`{name}`" not in table] == []


WHERE = PAGE.partition("## Where to change what")[2]


@pytest.mark.parametrize("half", ["mypt_jax", "data_pipeline"])
def test_every_package_is_somewhere_to_change_something(half):
    cells = [row.split("|")[2] for row in WHERE.splitlines() if row.startswith("| ")][2:]
    named = set()
    for cell in cells:
        folder = ""
        for path in re.findall(r"`([\w./]+(?:\.py|/))`", cell):
            folder = path.rpartition("/")[0] or folder
            named.add(path if "/" in path else f"{folder}/{path}")
    missing = [
        name for name in rooms(half) if not any(one.startswith(f"{half}/{name}") for one in named)
    ]
    assert missing == []


def test_what_to_edit_is_there():
    rows = [row.split("|")[2] for row in WHERE.splitlines() if row.startswith("| ")][2:]
    dead = []
    for cell in rows:
        folder = ROOT
        for path in re.findall(r"`([\w./]+(?:\.py|/))`", cell):
            here = ROOT / path if "/" in path.rstrip("/") else folder / path
            if not here.exists() and not (ROOT / "mypt_jax" / path).exists():
                dead.append(path)
            folder = here.parent
    assert dead == []
