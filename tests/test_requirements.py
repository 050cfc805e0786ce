"""Requirements: files as the extras say, locks with a hash for every supported Python."""

import importlib.util
import re
import tomllib
from collections.abc import Iterator

import pytest
from conftest import ROOT
from packaging.requirements import Requirement

LOCKS = sorted(ROOT.glob("requirements-lock-*.txt"))
OUTSIDE = {"torch", "ray", "libtpu"}  # large, and for other tests


def requirements(name: str) -> Iterator[Requirement]:
    """Of a requirements file and of those that it takes in."""
    for line in (ROOT / name).read_text().splitlines():
        line = line.partition("#")[0].strip()
        if line.startswith("-r "):
            yield from requirements(line.removeprefix("-r ").strip())
        elif line:
            yield Requirement(line)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_supported_python_has_a_lock_that_the_tests_use():
    assert [path.stem.rpartition("-")[2] for path in LOCKS] == ["3.11", "3.12", "3.13"]
    assert (
        'requirements-lock-$(python_version "$python").txt'
        in (ROOT / "scripts" / "test.sh").read_text()
    )


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_a_lock_is_complete_in_range_and_hashed(lock):
    text = lock.read_text()
    pins = re.findall(r"^([\w.-]+)==([\w.+!]+)(.*?)(?=^\S|\Z)", text, re.M | re.S)
    assert [name for name, _, rest in pins if "--hash=sha256:" not in rest] == []
    versions: dict[str, set[str]] = {}
    for name, version, _ in pins:
        versions.setdefault(normal(name), set()).add(version)
    assert OUTSIDE & set(versions) == set()
    for requirement in requirements("requirements-test.txt"):
        locked = versions.get(normal(requirement.name), set())
        assert locked and all(requirement.specifier.contains(v) for v in locked), requirement


def test_the_requirements_files_are_what_the_extras_say():
    """A file that differs: python scripts/write_requirements.py."""
    spec = importlib.util.spec_from_file_location("write", ROOT / "scripts/write_requirements.py")
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = {path.name: path.read_text() for path in ROOT.glob("requirements*.txt")}
    assert writer.files(project) == {n: text for n, text in found.items() if "-lock-" not in n}
