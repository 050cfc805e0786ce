"""The documentation as a site: it is built, no link is broken, and every module has its place."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.full  # needs requirements-docs.txt
def test_the_site_is_built_with_every_page_and_module(tmp_path):
    pytest.importorskip("mkdocs", reason="no mkdocs: requirements-docs.txt")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix("")
        assert (tmp_path / ("" if name.name == "index" else name) / "index.html").is_file(), name
    shown = (tmp_path / "api/mypt_jax.runs/index.html").read_text(encoding="utf-8")
    assert "Which losses of two evaluations may be compared" in shown
    assert 'id="mypt_jax.runs.comparison.compare"' in shown


def test_every_page_stands_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if page not in text] == []
    assert text.index("adaptation.md") < text.index("guide.md"), "adaptation first"
