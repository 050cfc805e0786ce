"""The registry that docs/corpora.md shows builds a corpus by the command that it shows."""

import json
import re
from pathlib import Path

import pytest

from data_pipeline.corpus import command

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "corpora.md").read_text(encoding="utf-8")


def test_the_registry_that_is_shown_builds_by_the_command_that_is_shown(tmp_path, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    part = PAGE[PAGE.index("## A registry of one's own") :]
    shown = re.search(r"^```json\n(.*?)^```", part, re.M | re.S)
    line = re.search(r"^    python scripts/build_phase2_corpus\.py (.*)$", part, re.M)
    assert shown and line
    texts = [PAGE[start : start + 3000] for start in range(0, 15_000, 3000)]
    monkeypatch.chdir(tmp_path)
    Path("mine.json").write_text(shown[1])
    for name in ("notes/network/vpn.md", "notes/drafts/later.md"):
        path = Path("sources") / name
        path.parent.mkdir(parents=True)
        path.write_text(f"# {path.stem}\n\n{texts.pop()}")
    Path("sources/wikipedia").mkdir()
    rows = [{"id": str(n), "text": text} for n, text in enumerate(texts)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), "sources/wikipedia/0.parquet")
    assert command.main_of("domain")([*line[1].split(), "--count_tokens="]) == 0
    report = json.loads(Path("data/corpus_mine/report.json").read_text())["sources"]
    assert {name: row["kept"]["documents"] for name, row in report.items()} == {
        "notes": 1,
        "wikipedia": 3,
    }
