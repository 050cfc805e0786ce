"""Figures in the documents are those that commands measured, and follow from each other."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mypt_jax.report import command as report
from tests import run_factory

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import figures  # noqa: E402


def test_the_documents_say_what_was_measured():
    assert figures.differing(ROOT) == {}, "python scripts/figures.py write"


def test_every_figure_names_its_command_date_machine_and_versions():
    for name, entry in figures.read(ROOT).items():
        assert entry.keys() == {"command", "date", "machine", "versions", "figures"}, name
        assert (ROOT / entry["command"].split()[1]).is_file(), name


def test_a_document_that_says_another_is_found_and_mended(tmp_path):
    (tmp_path / "docs").mkdir()
    store = {"report": {"figures": {"page_bytes": 2_316_507}}}
    (tmp_path / figures.STORE).write_text(json.dumps(store))
    page = tmp_path / "docs/page.md"
    page.write_text("A page of <!-- measured: report page_bytes MB -->9.9 MB<!-- . -->.\n")
    assert figures.differing(tmp_path) == {
        page: "A page of <!-- measured: report page_bytes MB -->2.3 MB<!-- . -->.\n"
    }
    page.write_text("<!-- measured: report nothing MB -->1<!-- . -->")
    with pytest.raises(figures.UserError, match="page.md: .*'nothing'"):
        figures.differing(tmp_path)


def test_a_comparisons_table_is_that_of_its_json(tmp_path):
    for file in (ROOT / "docs/adaptation.md", *(ROOT / "docs").glob("*.json")):
        shutil.copy(file, tmp_path)
    page = tmp_path / "adaptation.md"
    text = page.read_text(encoding="utf-8")
    for figure in ("+0.323 (+0.264 to +0.387)", "+1.05, +0.91, +1.11 %"):
        assert figure in text
        changed = text.replace(figure, "+0.001")
        assert figures.filled(changed, {}, where=page) == text


def test_the_quickstarts_table_comes_from_its_report(tmp_path, capsys):
    run_factory.write_guide_chain(tmp_path)
    report.main([str(tmp_path)])
    table = figures.of_quickstart(tmp_path)["table"]
    assert [row[0] for row in table] == ["Run", "---", "base", "v3", "v5", "v7", "v8"]
    entry = {"date": "2026-11-27", "machine": "2 cores", "versions": {"python": "3", "jax": "0"}}
    marks = "<!-- quickstart table: begin -->\nold\n<!-- quickstart table: end -->"
    measured = {"quickstart": {**entry, "figures": {"table": table}}}
    text = figures.filled(marks, measured, where=Path("README.md"))
    assert "| v8 | v7 | 9e-5 | 20% | 20 | 3.257 | 2.360 |" in text and "old" not in text


def test_the_first_paragraph_follows_from_the_table():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = text.partition("quickstart table: begin")[2].partition("quickstart table: end")[0]
    rows = {
        row[0]: row
        for row in (re.split(r" *\| *", line)[1:] for line in block.splitlines()[1:])
        if row
    }
    (learned, lost) = re.search(r"loss by (\d+) % and pays for it with ([\d.]+) %", text).groups()
    base, v8 = float(rows["base"][5]), float(rows["v8"][5])
    assert round(100 * (1 - v8 / base)) == int(learned)
    assert f"+{lost} %" in rows["v8"][7]


def test_the_command_answers_without_writing(tmp_path):
    done = subprocess.run(
        [sys.executable, "scripts/figures.py", "check"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout
