import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from data_pipeline import errors
from data_pipeline.corpus import demo
from data_pipeline.readers.code_docs import pydoc

ROOT = Path(__file__).resolve().parents[2]


def test_general_text_is_clean_wikipedia():
    found = list(demo.documents("general"))
    assert len(found) == 106 and {d.source for d in found} == {"wikipedia"}
    size = sum(len(d.text.encode()) for d in found)
    assert 2_600_000 < size < 3_100_000
    text = "\n".join(d.text for d in found)
    assert "<ref" not in text and "{{Infobox" not in text and "[[" not in text.replace("[[[", "")
    assert {d.licence for d in found} == {"CC-BY-SA-3.0"}


def test_carriers_are_read_without_being_imported():
    program = (
        "import sys, itertools; from data_pipeline.corpus import demo; "
        "list(itertools.islice(demo.documents('domain'), 3)); next(demo.documents('general')); "
        "print(sorted({'gensim', 'cwe2'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_missing_packages_name_the_command(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(errors.UserError, match="pip install -r requirements-demo.txt"):
        next(demo.documents("general"))
    with pytest.raises(errors.UserError, match="role 'both'"):
        next(demo.documents("both"))


def test_docstrings_are_read_from_source_in_a_fixed_order(tmp_path):
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text('"""Package text."""\n')
    (tmp_path / "b.py").write_text(
        'def f(x, *, y=1):\n    """Does f.\n\n        deep\n    Base.\n    """\n\n\n'
        'class C(Base):\n    def m(self):\n        """Does m."""\n\n    def silent(self): pass\n'
    )
    (tmp_path / "a.py").write_text("raise SystemExit('never imported')\n'no docstring'\n")
    (tmp_path / "broken.py").write_text("print 'two'")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "t.py").write_text('"""Test."""')
    found = [(d.id, d.text) for d in pydoc.docstrings(tmp_path)]
    assert found == [
        (
            "module/b",
            "b\n\ndef f(x, *, y=1)\n    Does f.\n\n        deep\n    Base.\n\nclass C(Base)\n\n"
            "    def m(self)\n        Does m.",
        ),
        ("module/pkg", "pkg\n\nPackage text."),
    ]


def test_topics_of_this_python():
    import sysconfig

    found = {d.id: d.text for d in pydoc.topics(Path(sysconfig.get_paths()["stdlib"]))}
    assert len(found) > 60 and list(found) == sorted(found)
    assert "assert" in found["topic/assert"]
