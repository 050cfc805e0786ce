"""Every command with hostile arguments, files, directories and environments.

Whatever they are: no traceback, an exit code of the table, one line for bad input, and nothing
half-written. A fixed sample of the cases is run by every change, a larger one by `--all`.
"""

import random
import shutil
from pathlib import Path

import pytest
from conftest import made_once

from mypt_jax import cli
from tests import commands
from tests.faults import hostile

CODES = {0, 2, 3, 4, 5, 6, 7, 8, 75}  # README, "Exit codes"
FOUND = {"contamination": {1}}  # docs/data.md
QUICK = [line for line in hostile.LINES if line.split()[0] not in ("main", "merge", "sample")]


@pytest.fixture(scope="session")
def world(shared, family, datasets) -> Path:
    root = shared / "world"
    with made_once(root) as is_missing:
        if is_missing:
            root.mkdir()
            hostile.make_world(root, family, datasets)
    return root


def faults_of(world: Path, at: Path, case: hostile.Case) -> list[str]:
    """What a command did that it must not, with what it said; `at`: an empty directory."""
    place, (kind, name) = at / "world", case.damage
    hostile.copy_world(world, place)
    if kind:
        hostile.damage(place / name, kind, random.Random(case.name))
    before = hostile.files_below(place)
    files = {key: str(at / key) for key in ("stdout", "stderr")}
    code = commands.server().run(
        directory=str(place), arguments=case.arguments, **files, **case.process
    )
    said = (at / "stderr").read_text(errors="replace")
    found = []
    if code not in CODES | FOUND.get(case.arguments[0], set()):
        found.append(f"exit code {code}")
    if "Traceback" in said:
        found.append("a traceback")
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    is_heard = 2 not in case.process.get("closed", ())
    # adapt adds a line that says which of its commands has said the other one.
    if code == 2 and is_heard and len(lines) != 1 and case.arguments[0] != "adapt":
        found.append(f"{len(lines)} lines of error")
    after = hostile.files_below(place)
    changed = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    changed = [key for key in changed if not key.startswith("out/work/")]  # a corpus's, kept
    if code == 2 and changed:
        found.append(f"it changed {changed[:5]}")
    shutil.rmtree(place)
    return [f"{case.name}: {one}: {said[-300:]}" for one in found]


def check(world: Path, at: Path, cases: list[hostile.Case]) -> None:
    found = []
    for number, case in enumerate(cases):
        own = at / str(number)
        own.mkdir()
        found += faults_of(world, own, case)
    assert found == []


def test_every_command_has_a_line():
    """first_light takes a size alone, and trains for minutes."""
    assert {*cli.COMMANDS} - {line.split()[0] for line in hostile.LINES} == {"first_light"}


def test_a_sample_of_what_can_be_wrong(world, tmp_path):
    rng = random.Random(1)
    arguments = [one for line in QUICK for one in hostile.with_other_arguments(line)]
    files = [one for line in QUICK for one in hostile.with_damage(line, world)]
    processes = [one for line in QUICK for one in hostile.in_other_processes(line)]
    cases = [one for kind in (arguments, files, processes) for one in rng.sample(kind, 9)]
    check(world, tmp_path, cases)


@pytest.mark.full
@pytest.mark.parametrize("line", hostile.LINES)
def test_much_of_what_can_be_wrong(world, tmp_path, line):
    rng = random.Random(line)
    kinds = (
        hostile.with_other_arguments(line),
        hostile.with_damage(line, world),
        hostile.in_other_processes(line),
    )
    check(world, tmp_path, [one for k in kinds for one in rng.sample(k, min(8, len(k)))])
