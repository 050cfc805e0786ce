"""Secrets and personal data in texts: what is found, what is left, what stands in their place."""

import collections
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.commands import prepare, sensitive
from data_pipeline.document import Document
from data_pipeline.errors import UserError
from data_pipeline.tokens import shards, texts

# In parts, so that nobody's scanner takes this file for a leak.
AWS = "AKIA" + "QYLPMN5HFIQR7XYA"
GITHUB = "ghp_" + "wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx"
KEY = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE\nabcd\n-----END RSA PRIVATE KEY-----"
TEXT = (
    f"id = {AWS}\n{KEY}\npush with {GITHUB}, mail anna@firm.ch or info@example.com, call "
    "+41 44 668 18 00 from 8.8.8.8 (not 10.0.0.1); docs at https://x.org/a, 1 + 2 = 3.\n"
)


def document(text: str) -> Document:
    return Document(id="d", text=text, source="s", licence="")


def test_what_is_found_is_counted_and_masked_and_the_rest_stays():
    pytest.importorskip("detect_secrets", reason="requirements-sensitive.txt")
    for how in ("count", "mask"):
        watch = sensitive.Watch(how)
        (found,) = watch.documents([document(TEXT)])
        assert watch.counts["s"] == {
            "AWS Access Key": 1,
            "GitHub Token": 1,
            "Private Key": 1,
            "emails": 1,
            "ip_addresses": 1,
            "telephone numbers": 1,
        }
        if how == "count":
            assert found.text == TEXT and "kept" in watch.lines()[0]
    assert found.text == (
        "id = [secret]\n[secret]\npush with [secret], mail name@example.com or info@example.com, "
        "call +1 202-555-0100 from 192.0.2.1 (not 10.0.0.1); docs at https://x.org/a, 1 + 2 = 3.\n"
    )
    again = sensitive.Watch("mask")
    (masked,) = again.documents([found])
    assert masked.text == found.text, "nothing of what stands there now is found again, but changed"


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("IBANs", "CH93 0076 2011 6238 5295 7"),
        ("IBANs", "DE89370400440532013000"),
        ("IBANs", "GB29 NWBK 6016 1331 9268 19"),
        ("AHV numbers", "756.9217.0769.85"),
        ("AHV numbers", "7569217076985"),
        ("card numbers", "4111 1111 1111 1111"),
        ("card numbers", "5555-5555-5555-4444"),
        ("card numbers", "378282246310005"),
    ],
)
def test_numbers_of_accounts_are_known_by_their_check_digits(kind, number):
    pytest.importorskip("stdnum", reason="requirements-sensitive.txt")
    last = number[-1]
    slip = number[:-1] + str((int(last) + 1) % 10)
    text = f"Pay ({number}) to {number}, BANK ABCD. Not {slip}, 1{number[:-1]}12 or v{number}.\n"
    watch = sensitive.Watch("mask")
    (found,) = watch.documents([document(text)])
    assert watch.counts["s"] == {kind: 2}
    assert found.text == text.replace(f"({number})", "([number])").replace(
        f"to {number},", "to [number],"
    )


@pytest.mark.parametrize("wrap", ["\n", "\r\n    ", " \n> > "])
@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("IBANs", "CH93 0076 2011|6238 5295 7"),
        ("IBANs", "GB29|NWBK 6016 1331 9268|19"),
        ("AHV numbers", "756.9217.|0769.85"),
        ("card numbers", "4111 1111|1111 1111"),
        ("card numbers", "5555-5555-|5555-4444"),
        ("telephone numbers", "+41 44 668|18 00"),
        ("telephone numbers", "+1 202-456-|1111"),
    ],
)
def test_a_number_that_goes_on_in_the_next_line_is_one(kind, number, wrap):
    pytest.importorskip("stdnum", reason="requirements-sensitive.txt")
    watch = sensitive.Watch("mask")
    number = number.replace("|", wrap)
    text = f"In\n2024 by A.\nB pay\n{number}\nnow, ÄÖ.\n{number}.\n7 of\n8\n"
    (found,) = watch.documents([document(text)])
    assert watch.counts["s"] == {kind: 2}
    mask = sensitive.MASKED_NUMBER if kind[0] == "t" else sensitive.MASKED_ACCOUNT
    assert found.text == text.replace(number, mask)


def test_numbers_of_two_lines_are_two():
    pytest.importorskip("stdnum", reason="requirements-sensitive.txt")
    lines = ["4111 1111 1111 1111", "5555-5555-5555-4444", "AT61 1904 3002 3457 3201", "AB12 3456"]
    lines += ["DE89 3704 0044 0532 0130 00", "22 items", "+41 44 668 18 00", "22 items", "+1 2"]
    watch = sensitive.Watch("mask")
    (found,) = watch.documents([document("\n".join(lines))])
    assert watch.counts["s"] == {"card numbers": 2, "IBANs": 2, "telephone numbers": 1}
    kept = [line for line in found.text.split("\n") if "[" not in line]
    assert kept == ["AB12 3456", "22 items", "+1 202-555-0100", "22 items", "+1 2"]


@given(st.text(alphabet="1A.- \n\t>x", max_size=60), st.data())
def test_places_in_an_unwrapped_text_are_those_of_the_text(text, data):
    whole = sensitive._Unwrapped(text)
    if not whole.text:
        return
    first = data.draw(st.integers(0, len(whole.text) - 1))
    last = data.draw(st.integers(first + 1, len(whole.text)))
    ((start, end, _),) = whole.spans([(first, last, "")])
    blank = " \n\t>"
    assert [c for c in text[start:end] if c not in blank] == [
        c for c in whole.text[first:last] if c not in blank
    ]


@pytest.mark.parametrize(
    "before", ["AT61 1904 3002 3457 3201", "AT611904300234573201", "ORDER AB12 CDEF 3456"]
)
def test_an_account_number_behind_another_is_found(before):
    """What is of a length of whole groups runs on into what stands behind it."""
    pytest.importorskip("stdnum", reason="requirements-sensitive.txt")
    number = "DE89 3704 0044 0532 0130 00"
    watch = sensitive.Watch("mask")
    (found,) = watch.documents([document(f"{before} {number}\n")])
    is_number = before.startswith("AT")
    assert watch.counts["s"] == {"IBANs": 1 + is_number}
    assert found.text == f"{'[number]' if is_number else before} [number]\n"


def test_a_key_that_is_cut_off_takes_no_other_text_with_it():
    pytest.importorskip("detect_secrets", reason="requirements-sensitive.txt")
    first, _, _ = KEY.partition("\nabcd")
    watch = sensitive.Watch("mask")
    (found,) = watch.documents([document(f"{first}\ntext between\n{KEY}\nend")])
    assert "text between" in found.text and found.text.endswith("[secret]\nend")
    assert watch.counts["s"]["Private Key"] == 2


@pytest.mark.parametrize("before", [8192, 6144, 6143, 8192 - len(AWS) // 2, 8191, 20_000])
def test_a_long_line_hides_no_secret(before):
    pytest.importorskip("detect_secrets", reason="requirements-sensitive.txt")
    watch = sensitive.Watch("mask")
    text = ("word " * before)[: before - 1] + f" {AWS} and {GITHUB} " + "word " * 9000
    (found,) = watch.documents([document(text)])
    assert found.text == text.replace(AWS, "[secret]").replace(GITHUB, "[secret]")
    assert watch.counts["s"] == {"AWS Access Key": 1, "GitHub Token": 1}


def test_no_pattern_sees_a_long_line_as_a_whole(monkeypatch):
    """One of npm's took a minute for 400 kB of addresses: the square of the line's length."""
    base = pytest.importorskip("detect_secrets.plugins.base", reason="requirements-sensitive.txt")
    seen = []
    there = base.RegexBasedDetector.analyze_string
    monkeypatch.setattr(
        base.RegexBasedDetector,
        "analyze_string",
        lambda self, text: (seen.append(len(text)), there(self, text))[1],
    )
    watch = sensitive.Watch("mask")
    text = "https://x.org/a " * 3000
    (found,) = watch.documents([document(text)])
    assert found.text == text and max(seen) < 10_000


def test_a_dataset_has_the_masks_and_says_so(tmp_path, capsys):
    pytest.importorskip("detect_secrets", reason="requirements-sensitive.txt")
    (tmp_path / "a.txt").write_text(TEXT * 40)
    flags = [f"--source=s:{tmp_path}/a.txt", "--val_fraction=0", f"--out_dir={tmp_path}/d"]
    prepare.main([*flags, "--sensitive=mask"])
    assert "s: sensitive: 40 AWS Access Key, " in capsys.readouterr().out
    dataset = shards.open_dataset(tmp_path / "d")
    shown = "".join(texts.Texts(dataset.sources["s"], "train", dataset.vocabulary()))
    assert AWS not in shown and "anna@firm.ch" not in shown and "[secret]" in shown
    manifest = json.loads((tmp_path / "d/manifest.json").read_text())
    assert manifest["settings"][0]["sensitive"] == "mask"


def test_without_the_packages_nothing_is_begun(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    (tmp_path / "a.txt").write_text(TEXT * 40)
    flags = [f"--source=s:{tmp_path}/a.txt", f"--out_dir={tmp_path}/d"]
    with pytest.raises(UserError, match="requirements-sensitive.txt"):
        prepare.main([*flags, "--sensitive=count"])
    assert not (tmp_path / "d").exists()
    (found,) = sensitive.Watch("off").documents([document(TEXT)])
    assert found.text == TEXT and sensitive.Watch("off").lines() == []


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9))))
def test_of_two_that_overlap_the_first_and_longer_is_taken(found):
    text = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnop"
    spans = [(a, min(a + n, len(text)), "x") for a, n in found]
    counts: collections.Counter[str] = collections.Counter()
    masked = sensitive._replaced(text, spans, "#", counts)
    hidden = {i for a, b, _ in spans for i in range(a, b)}
    outside = [text[i] for i in range(len(text)) if i not in hidden]
    kept = iter(masked)
    assert all(one in kept for one in outside), "what is outside of them all stays, in its order"
    assert counts["x"] == masked.count("#")
