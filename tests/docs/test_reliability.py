"""The table of faults: numbered without a gap, counted where it is named, and each has its test."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\d+) \|.*\| (.*) \|$", PAGE, re.M)


def test_rows_are_numbered_and_counted():
    count = len(ROWS)
    assert [int(number) for number, _ in ROWS] == [*range(1, count + 1)]
    assert f"## The {count} faults" in PAGE
    assert f"has {count} faults" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_tests_name_rows_that_are_there():
    numbers = {number for number, _ in ROWS}
    named = {
        number
        for file in (ROOT / "tests").rglob("test_*.py")
        for number in re.findall(r"\b[Rr]ow (\d+)\b", file.read_text(encoding="utf-8"))
    }
    assert named <= numbers


def test_rows_name_files_that_are_there():
    missing = []
    for number, tests in ROWS:
        for name in re.findall(r"(?:F|tests)/[\w/]+", tests):
            path = ROOT / (name.replace("F/", "tests/faults/", 1) if name[0] == "F" else name)
            if not path.with_suffix(".py").is_file() and not path.is_dir():
                missing.append((number, name))
    assert missing == []
