# ruff: noqa: E501 (golden texts stand as they are)
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import attrs
import pytest
import zstandard

from data_pipeline import atomic, errors
from data_pipeline.corpus import build_report, command, quality, registry, schema
from data_pipeline.readers import account
from data_pipeline.readers.markup import markdown

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "build_phase2_corpus.py"


def _row(name, reader, include, **more):
    row = {
        "name": name,
        "role": "domain",
        "lang": "en",
        "reader": reader,
        "include": include,
        "licence": "MIT",
        "attribution": f"Authors of {name}",
        "homepage": "https://example.org",
        "fetch": {"kind": "local"},
    }
    return row | more


def _sentences(seed, count):
    rng = random.Random(seed)
    words = ["server", "client", "token", "hash", "signs", "reads", "key", "page", "user", "sends"]
    return " ".join(
        f"The {rng.choice(words)} {rng.choice(words)} of the {rng.choice(words)} {rng.randrange(9999)}."
        for _ in range(count)
    )


@pytest.fixture
def tree(tmp_path):
    """Two sources of Markdown and text with duplicates, broken files and a symbolic link."""
    sources = tmp_path / "sources"
    for number in range(200):
        path = sources / "pages" / f"d{number % 7}" / f"p{number:03d}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"# Page {number}\n\n{_sentences(number, 30)}\n\n```\n    code {number}\n```\n"
        )
    (sources / "pages" / "short.md").write_text("Too short.")
    (sources / "pages" / "empty.md").write_text("<!-- nothing -->")
    (sources / "pages" / "broken.md").write_bytes(b"\xfd\xff broken")
    (sources / "pages" / "link.md").symlink_to(sources / "pages" / "d1" / "p001.md")
    (sources / "pages" / "loop").symlink_to(sources)
    texts = sources / "texts"
    texts.mkdir()
    for number in range(40):
        near = _sentences(number, 30).replace("server", "SERVER") + " And that is the end of it."
        (texts / f"t{number:02d}.txt").write_text(
            near if number % 2 else _sentences(900 + number, 30)
        )
    rows = [_row("pages", "markdown", ["**/*.md"]), _row("texts", "plain", ["*.txt"])]
    (tmp_path / "registry.json").write_text(json.dumps({"schema": 1, "sources": rows}))
    return tmp_path


def _arguments(tree, out, *more):
    return [
        f"--registry={tree / 'registry.json'}",
        f"--sources_dir={tree / 'sources'}",
        f"--out_dir={tree / out}",
        "--count_tokens=",
        *more,
    ]


def _build(tree, out, *more):
    assert command.main(["domain", *_arguments(tree, out, *more)]) == 0
    return json.loads((tree / out / "report.json").read_text())


def _digest(directory):
    """Every published file's name and content; the work directory is not output."""
    found = {}
    for path in sorted(directory.rglob("*")):
        relative = path.relative_to(directory)
        if path.is_file() and relative.parts[0] != "work":
            found[str(relative)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _documents(directory):
    rows = []
    for path in sorted((directory / "corpus_shards").glob("*.zst")):
        data = zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read()
        rows += [json.loads(line) for line in data.decode().splitlines()]
    return rows


def test_documents_reports_and_reasons(tree):
    report = _build(tree, "out", "--workers=1")
    rows = _documents(tree / "out")
    assert {tuple(sorted(row)) for row in rows} == {
        tuple("id kind lang licence origin path role sha256 source split_key text title".split())
    }
    assert {row["kind"] for row in rows} == {"markdown", "plain"}
    assert any(row["title"] for row in rows if row["kind"] == "markdown")
    for row in rows:
        assert row["sha256"] == hashlib.sha256(row["text"].encode()).hexdigest()
    pages, texts = report["sources"]["pages"], report["sources"]["texts"]
    assert pages["kept"]["documents"] == 200
    assert pages["counts"]["dropped/min_chars"] == 1
    assert pages["examples"]["dropped/min_chars"] == ["short.md: Too short."]
    assert pages["counts"]["files_failed/undecodable"] == 1
    assert pages["counts"]["files_failed/symlink"] == 2  # a file and a directory
    assert pages["counts"]["left_out/file_without_text"] == 1
    assert pages["examples"]["left_out/file_without_text"] == ["empty.md"]
    assert "left_out/file_without_text: 1" in (tree / "out" / "report.md").read_text()
    # Every second text is a page with a sentence more; the page's source comes first.
    assert texts["counts"]["dropped/near_duplicates"] == 20
    listed = (tree / "out" / "near_duplicates.jsonl").read_text().splitlines()
    clusters = [json.loads(line) for line in listed]
    assert len(clusters) == 20 and clusters[0]["dropped"][0]["jaccard"] > 0.65
    assert "\n    code 17" in next(row["text"] for row in rows if "Page 17\n" in row["text"])
    attribution = (tree / "out" / "ATTRIBUTION.md").read_text()
    assert "Authors of pages" in attribution and "MIT" in attribution
    assert str(tree) not in (tree / "out" / "report.json").read_text()


def test_the_words_of_each_source_add_up(tree):
    (tree / "sources" / "texts" / "t01.txt").write_text("short")
    for number in range(3):
        path = tree / "sources" / "pages" / f"link{number}.md"
        path.write_text(f"See [it](http://a.b/c/{number}).\n\n{_sentences(7, 30)}\n\nNext\n")
    rows = json.loads((tree / "registry.json").read_text())
    rows["sources"][0]["boilerplate"] = ["markdown"]
    (tree / "registry.json").write_text(json.dumps(rows))
    report = _build(tree, "out", "--workers=1")
    for name, row in report["sources"].items():
        found = row["coverage"]
        shown = sum(
            len(each["text"].split()) for each in _documents(tree / "out") if each["source"] == name
        )
        assert found["kept"] == row["kept"]["words"] > 0.9 * shown
        lost = sum(found["gone"].values()) + found["unaccounted"]
        assert found["in"] + found["added"] == found["kept"] + lost
    pages, texts = (report["sources"][name]["coverage"]["gone"] for name in ("pages", "texts"))
    assert pages["markup/link_targets"] == 3 * 5 and pages["boilerplate/markdown"] == 3
    assert pages["duplicates"] > 200 and texts["dropped/min_chars"] == 1
    table = (tree / "out" / "report.md").read_text()
    assert "| pages | markdown |" in table and "- words, markup/link_targets: 15" in table


def test_a_build_warns_of_words_that_are_lost_without_a_reason(tree, monkeypatch, capsys):
    arguments = _arguments(tree, "out", "--workers=1", "--min_accounted=0.999")
    monkeypatch.setattr(markdown, "titled", lambda raw, **options: (raw.partition("code")[0], ""))
    command.main(["domain", *arguments])
    said = capsys.readouterr().out.splitlines()
    (line,) = [line for line in said if line.startswith("warning: ")]
    assert line.startswith("warning: pages: 0.") and "more than 0.10%" in line
    table = (tree / "out" / "report.md").read_text()
    assert re.search(r"- unaccounted: 200\n    - `d\d/p\d+\.md: ", table)


def test_a_reader_that_does_not_account_for_its_words_is_named(tree, monkeypatch):
    monkeypatch.setattr(account.Words, "read", lambda *arguments, **options: None)
    report = _build(tree, "out", "--workers=1")
    assert report["sources"]["pages"]["coverage"] is None
    assert "| pages | markdown | cannot account |" in (tree / "out" / "report.md").read_text()
    (line, _) = build_report.unaccounted(report, min_accounted=0.99)
    assert line == "pages: reader markdown cannot account for its words"


def test_any_number_of_workers_gives_the_same_bytes(tree):
    _build(tree, "one", "--workers=1")
    _build(tree, "three", "--workers=3")
    assert _digest(tree / "one") == _digest(tree / "three")
    report = json.loads((tree / "one" / "report.json").read_text())
    _build(tree, "seed", "--workers=1", "--seed=43")
    other = json.loads((tree / "seed" / "report.json").read_text())
    assert other["shards"] != report["shards"] and other["total"] == report["total"]


def test_a_killed_build_goes_on_and_gives_the_same_bytes(tree):
    _build(tree, "whole", "--workers=1")
    rng = random.Random(0)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), *_arguments(tree, "killed", "--workers=2")],
            env=environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(rng.uniform(0.3, 4))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    _build(tree, "killed", "--workers=2")
    assert _digest(tree / "killed") == _digest(tree / "whole")
    assert not list((tree / "killed").rglob("*.partial"))


def test_finished_parts_are_not_read_again(tree):
    _build(tree, "out", "--workers=1")
    before = {p: p.stat().st_mtime_ns for p in (tree / "out" / "work" / "read").iterdir()}
    (tree / "sources" / "pages" / "d1" / "p001.md").write_text("# New\n\n" + _sentences(5555, 40))
    _build(tree, "out", "--workers=1")
    after = {p: p.stat().st_mtime_ns for p in (tree / "out" / "work" / "read").iterdir()}
    assert before.items() <= after.items()
    added = {p.name.split(".")[0] for p in after.keys() - before.keys()}
    assert len(added) == 1


def test_a_page_is_read_again_when_a_file_that_it_takes_in_has_changed(tree):
    pages = tree / "sources" / "pages"
    rows = [_row("pages", "markdown", ["*.md"], options={"mdbook": True})]
    (tree / "registry.json").write_text(json.dumps({"schema": 1, "sources": rows}))
    directive = "```\n{{#include code/a.txt}}\n```"
    (pages / "p.md").write_text(f"# T\n\n{_sentences(1, 30)}\n\n{directive}\n")

    def shown():
        report = _build(tree, "out", "--workers=1")
        (row,) = _documents(tree / "out")
        return row["text"].rpartition("\n\n")[2], report["sources"]["pages"]["counts"]

    last, counts = shown()
    assert last.startswith("The ") and counts["left_out/include_missing"] == 1
    (pages / "code").mkdir()
    (pages / "code" / "a.txt").write_text("first = 1\n")
    last, counts = shown()
    assert last == "first = 1" and "left_out/include_missing" not in counts
    (pages / "code" / "a.txt").write_text("second = 2\n")
    assert shown()[0] == "second = 2"
    (pages / "code" / "a.txt").unlink()
    (pages / "code" / "a.txt").symlink_to(tree / "registry.json")
    last, counts = shown()
    assert last.startswith("The ") and counts["left_out/include_refused"] == 1


def test_evaluation_documents_are_kept_out(tree):
    held_out = _documents_after(tree)[:5]
    path = tree / "eval.jsonl"
    path.write_text(
        "".join(json.dumps({"id": str(n), "text": t}) + "\n" for n, t in enumerate(held_out))
    )
    _build(tree, "without", "--workers=1", f"--against={path}")
    left = {row["text"] for row in _documents(tree / "without")}
    assert len(left) == 220 - 5 and not left & set(held_out)


def test_documents_that_hold_evaluation_text_are_left_out(tree):
    """However it is set there; a formula of many documents holds none of them back."""
    held = [_sentences(10_000 + number, 8) for number in range(4)]
    formula = _sentences(20_000, 8)
    path = tree / "eval.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in [*held, formula]))
    pages = sorted((tree / "sources" / "pages").rglob("p*.md"))
    for number, page in enumerate(pages[:40]):
        quoted = "".join(f"> {line}\n" for line in textwrap.wrap(held[number % 4].upper(), 50))
        added = quoted if number < 4 else formula
        page.write_text(f"{page.read_text()}\n\n{added}\n")
    report = _build(tree, "without", "--workers=1", f"--against={path}")
    counts = report["sources"]["pages"]["counts"]
    assert counts["dropped/evaluation_text"] == 4
    left = "".join(row["text"] for row in _documents(tree / "without"))
    assert formula in left and not any(one.upper()[:40] in left for one in held)
    again = _build(tree, "without", "--workers=1", f"--against={path}")
    assert again == report


@pytest.mark.parametrize("text", ["", "[1, 2]", '{"content": "x"}\n'])
def test_evaluation_documents_that_cannot_be_read_end_the_build(tree, text):
    """Else it would look as if they were kept out."""
    path = tree / "eval.jsonl"
    path.write_text(text)
    with pytest.raises(errors.UserError, match="eval.jsonl: 0 documents, "):
        _build(tree, "without", "--workers=1", f"--against={path}")
    assert not (tree / "without" / "manifest.json").exists()


def test_a_directory_of_other_files_is_left_alone(tree):
    (tree / "mine").mkdir()
    (tree / "mine" / "manifest.json").write_text("{}")
    with pytest.raises(errors.UserError, match="holds other files"):
        _build(tree, "mine", "--workers=1")
    assert (tree / "mine" / "manifest.json").read_text() == "{}"
    # work/ of an earlier build may be removed (docs/corpora.md).
    _build(tree, "out", "--workers=1")
    shutil.rmtree(tree / "out" / "work")
    _build(tree, "out", "--workers=1")


def _documents_after(tree):
    _build(tree, "first", "--workers=1")
    return sorted(row["text"] for row in _documents(tree / "first"))


def test_limits_of_quality_rules_on_the_command_line(tree):
    report = _build(tree, "out", "--quality=min_chars=100000")
    assert report["total"]["documents"] == 0
    dropped = [row["counts"].get("dropped/min_chars", 0) for row in report["sources"].values()]
    assert any(dropped) and not any(
        "dropped/max" in k for r in report["sources"].values() for k in r["counts"]
    )


def test_masking_is_counted(tree):
    path = tree / "sources" / "texts" / "t00.txt"
    path.write_text(path.read_text() + " Write to somebody@corp-mail.ch for more of it.")
    report = _build(tree, "out", "--workers=1", "--mask_personal")
    assert report["sources"]["texts"]["counts"]["masked/emails"] == 1
    assert not any("corp-mail" in row["text"] for row in _documents(tree / "out"))


def test_two_builds_into_one_directory(tree):
    _build(tree, "out", "--workers=1")
    lock = atomic.locked(tree / "out" / "work" / "lock")
    with lock, pytest.raises(errors.UserError, match="another"):
        _build(tree, "out", "--workers=1")


def _edit(tree, **changes):
    path = tree / "registry.json"
    found = json.loads(path.read_text())
    found["sources"][0] |= changes
    path.write_text(json.dumps(found))


@pytest.mark.parametrize(
    ("changes", "arguments", "said"),
    [
        ({"reader": "doc"}, [], "reader 'doc'"),
        ({"licence": "WTFPL"}, [], "licence 'WTFPL'"),
        ({"colour": 1}, [], "unknown key 'colour'"),
        ({"include": []}, [], "include"),
        ({"include": "x"}, [], "'include' must be <class 'list'>"),
        ({"include": [5]}, [], "'include' must be <class 'str'> .got 5"),
        ({"exclude": None}, [], "'exclude'"),
        ({"max_file_bytes": -1}, [], "'max_file_bytes' must be >= 1: -1"),
        ({"max_file_bytes": True}, [], "a number is wanted, not true"),
        ({"quality": {"min_chars": float("nan")}}, [], "'min_chars' must be >= 0: nan"),
        ({"quality": {"max_symbol_share": 5}}, [], "'max_symbol_share' must be <= 1: 5"),
        ({"options": {"macros": 5}}, [], "option macros 5, wanted bool"),
        ({"reader": "html", "options": {"skip": "nav"}}, [], "wanted a list of str"),
        ({"reader": "html", "options": {"skip": [5]}}, [], "wanted a list of str"),
        ({"reader": "html", "options": {"skip": 5}}, [], "wanted a list of str"),
        ({"reader": "tsv", "options": {"columns": ["a", 1]}}, [], "wanted a list of int"),
        ({"fetch": {"kind": "local", "urls": 1}}, [], "unknown key 'urls'"),
        ({"fetch": {"kind": "git", "url": "https://x.y"}}, [], "no 'commit'"),
        ({"fetch": {"kind": "https", "files": [{"url": "https://x.y/z"}]}}, [], "no 'max_bytes'"),
        ({"fetch": 5}, [], "'fetch'"),
        ({"boilerplate": ["nope"]}, [], "boilerplate 'nope'"),
        ({"quality": {"min_words": 1}}, [], "min_words"),
        ({"quality": {"min_chars": "few"}}, [], "'min_chars'"),
        ({"options": {"macro": True}}, [], "option 'macro'"),
        ({"name": "../x"}, [], "name"),
        ({"jaccard": 0.0}, [], "jaccard"),
        ({"fetch": {"kind": "git", "url": "ext::sh -c x", "commit": "a" * 40}}, [], "https"),
        (
            {"fetch": {"kind": "git", "url": "https://x.y/z", "commit": "HEAD"}},
            [],
            "'commit' must match",
        ),
        (
            {"fetch": {"kind": "https", "files": [{"url": "http://x.y", "max_bytes": 1}]}},
            [],
            "'url' must match regex 'https://",
        ),
        ({"include": ["*.nothing"]}, [], "no file"),
        ({"name": "absent"}, [], "no directory"),
        ({}, ["--only=nobody"], "nobody"),
        ({}, ["--only=pages", "--exclude=pages"], "no source is left"),
        ({}, ["--workers=0"], "workers"),
        ({}, ["--min_accounted=99"], "min_accounted"),
        ({}, ["--quality=min_words=3"], "min_words"),
        ({}, ["--quality=min_chars=few"], "number"),
        ({}, ["--quality=max_symbol_share=40"], "must be <= 1"),
        ({}, ["--against=/dev/null/x"], "does not exist"),
        ({}, ["--exclude_licence=MIT"], "no source is left"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_written(tree, changes, arguments, said):
    _edit(tree, **changes)
    with pytest.raises(errors.UserError, match=said):
        _build(tree, "out", *arguments)
    assert not (tree / "out").exists()


def test_the_command_ends_with_code_2_and_one_line(tree):
    (tree / "registry.json").write_text("{")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *_arguments(tree, "out")], capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "not JSON" in done.stderr


def test_the_schema_names_the_rules_of_quality_and_takes_a_whole_jaccard(tree):
    assert {each.name for each in attrs.fields(schema.Quality)} == set(quality.DEFAULTS)
    _edit(tree, jaccard=1)
    assert registry.load(tree / "registry.json")[0].jaccard == 1


@pytest.mark.parametrize("name", ["phase2_domain.json", "phase1_general.json", "phase2_more.json"])
def test_the_shipped_registries_are_valid(name):
    sources = registry.load(ROOT / "data_pipeline" / "corpus" / name)
    assert {source.role for source in sources} == {"general" if "phase1" in name else "domain"}


@pytest.mark.parametrize(
    ("path", "glob", "matches"),
    [
        ("a/internal/b/C.java", "**/internal/**", True),
        ("internal/C.java", "**/internal/**", True),
        ("Documentation/translations/de/x.rst", "Documentation/translations/**", True),
        ("README.md", "README.md", True),
        ("docs/README.md", "README.md", False),
        (".github/x/y.md", ".github/**", True),
        ("a/b/c.md", "a/*.md", False),
        ("a/c.md", "a/**/*.md", True),
        ("man2/x.2", "man[1-8]/*.[1-8]*", True),
        ("man9/x.9", "man[1-8]/*.[1-8]*", False),
        ("tools/a/b.md", "{Document,tools}/**/*.md", True),
        ("A/X.MD", "a/*.md", False),
        ("a/text[1].md", "a/text[1].md", True),
        ("a/text1.md", "a/text[1].md", True),
        ("a/b,c.md", "a/b,c.md", True),
        ("a/b.rst", "a/{*.md,*.rst}", True),
        ("a/b.txt", "a/{*.md,[x-z].txt}", False),
        ("a/y.txt", "a/{*.md,[x-z].txt}", True),
    ],
)
def test_globs_mean_what_they_say(path, glob, matches):
    assert registry.matches(path, (glob,)) is matches


PHASE2 = ROOT / "data_pipeline" / "corpus" / "phase2_domain.json"


@pytest.mark.parametrize(
    ("source", "path", "wanted"),
    [
        ("owasp-top10", "2021/docs/en/A01.md", True),
        ("owasp-top10", "2021/docs/de/A01.md", False),
        ("owasp-top10", "2021/docs/fr/A01.md", False),
        ("owasp-wstg", "document/4-Tests/README.md", True),
        ("owasp-wstg", "README.md", False),
        ("owasp-mastg", "tests/android/MASVS-AUTH/T1.md", True),
        ("owasp-mastg", "tools/README.md", True),
        ("owasp-samm", "Current Releases/head/core/design/_index.md", True),
        ("mitre-attack", "ics-attack/relationship/r.json", True),
        ("mitre-attack", "capec/2.0/stix-capec.json", False),
        ("rfc", "RFC-all.tar.gz.unpacked/rfc9110.txt", True),
        ("rfc", "rfc-index.txt", False),
        ("man-pages", "man2/open.2", True),
        ("man-pages", "man/man3/printf.3", True),
        ("man-pages", "scripts/x.2", False),
        ("python-docs", "Doc/library/os.rst", True),
        ("python-docs", "Misc/NEWS.d/1.rst", False),
        ("linux-docs", "Documentation/networking/ip.rst", True),
        ("linux-docs", "Documentation/translations/zh_CN/index.rst", False),
        ("mdn", "files/en-us/web/css/index.md", True),
        ("mdn", "files/en-us/web/css/index 2.md", False),
        ("mdn", "files/en-us/games/a/b/index.md", False),
        ("openjdk", "src/java.base/share/classes/java/util/List.java", True),
        ("openjdk", "src/java.base/share/classes/jdk/internal/misc/Unsafe.java", False),
        ("openjdk", "src/java.base/share/classes/sun/nio/ch/Net.java", False),
        ("go-packages", "src/fmt/print.go", True),
        ("go-packages", "src/fmt/print_test.go", False),
        ("go-packages", "src/go/types/testdata/a/b.go", False),
        ("rust-book", "src/SUMMARY.md", False),
        ("swiss-law-de-legalize", "ch/cc-1999-404.md", True),
        ("swiss-law-de-legalize", "README.md", False),
    ],
)
def test_what_the_shipped_globs_take(source, path, wanted):
    (found,) = registry.select(registry.load(PHASE2), only=[source], exclude=[])
    assert found.wants(path) is wanted


@pytest.mark.parametrize("name", ["phase2_domain.json", "phase1_general.json", "phase2_more.json"])
def test_every_source_stands_in_the_documentation(name):
    page = (ROOT / "docs" / "corpora.md").read_text()
    for source in registry.load(ROOT / "data_pipeline" / "corpus" / name):
        tokens = f"{source.expected_tokens / 1e6:.0f} M" if source.expected_tokens else "-"
        row = f"| {source.name} | {source.reader} | {source.licence} | {tokens} |"
        assert row in page, row
