"""Of versions of one file the newest is kept; files that only look like versions are all kept."""

import os
import zipfile

import pytest
from test_places import read

from data_pipeline.prepare import versions

TEXT = " ".join(f"word{number} and" for number in range(200))


@pytest.mark.parametrize(
    ("names", "stem"),
    [
        (["Report.docx", "report_v2.pdf", "report (1).docx", "report-v1.2.3.txt"], "report"),
        (
            ["report final.md", "report_final_2.md", "Report Kopie.md", "report old (3).md"],
            "report",
        ),
        (["report 2024-05-01.md.gz", "report_20240501.md", "report.rev3.md"], "report"),
        (["chapter1.md"], "chapter1"),
        (["chapter2.md"], "chapter2"),
        (["v2.md"], "v2"),
        (["2024-05-01.md"], "2024-05-01"),
        (["renew.md"], "renew"),
        (["salt.md"], "salt"),
        (["rev.md"], "rev"),
    ],
)
def test_marks_of_a_version(names, stem):
    assert {versions._stem(name) for name in names} == {stem}


def test_nearly_equal_is_half_of_the_sentences():
    assert versions.is_version(TEXT, TEXT + " and more at the end of it")
    assert versions.is_version("one", "one") and not versions.is_version("one", "two")
    assert not versions.is_version("", "") and not versions.is_version("", TEXT)
    assert not versions.is_version(TEXT, "Another text, which is not much alike to it.")


def write(path, text, age):
    path.write_text(text)
    os.utime(path, (1_700_000_000 - age, 1_700_000_000 - age))


def test_the_newest_is_kept_and_the_others_counted(tmp_path):
    write(tmp_path / "a.txt", TEXT, age=3)
    write(tmp_path / "a_v2.md", TEXT + " newer", age=1)
    write(tmp_path / "a final.txt", TEXT + " final", age=2)
    write(tmp_path / "b.txt", "one text", age=1)
    write(tmp_path / "b (1).txt", "another, of the same name", age=2)
    write(tmp_path / "c1.txt", TEXT, age=1)
    write(tmp_path / "c.py", TEXT, age=1)
    write(tmp_path / "c.h", TEXT, age=1)
    texts, counted = read(tmp_path, strict=True)
    assert sorted(texts) == ["a_v2.md", "b (1).txt", "b.txt", "c.h", "c.py", "c1.txt"]
    assert counted == {"older versions": 2}
    texts, counted = read(f"{tmp_path}/a.txt,{tmp_path}/a final.txt")
    assert len(texts) == 2 and not counted  # both are named


def test_in_an_archive_its_own_dates_count(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        for name, year in (("a_v1.txt", 2021), ("a_v2.txt", 2020), ("a_v3.txt", 1980)):
            archive.writestr(
                zipfile.ZipInfo(name, (year, 1, 0 if year == 1980 else 1, 0, 0, 0)), TEXT
            )
    assert read(tmp_path / "t.zip") == ({"a_v1.txt": TEXT}, {"older versions": 2})
