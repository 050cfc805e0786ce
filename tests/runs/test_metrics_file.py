"""metrics.jsonl with any damage: rows are read, what is none is named, and a resume mends it."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.errors import UserError
from mypt_jax.monitor import metrics
from mypt_jax.runs import layout, metrics_file

ROWS = [
    {
        "step": step,
        "loss": 4.5 - step / 10,
        "eval/domain/loss": None,
        "run_id": "a\u00fc",
        "tokens": 7,
    }
    for step in range(6)
]
WRITTEN = "".join(metrics.to_json(row) + "\n" for row in ROWS).encode()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("run") / layout.METRICS


@settings(max_examples=300, deadline=None)
@given(bit=st.integers(0, 8 * len(WRITTEN) - 1))
def test_a_flipped_bit_costs_at_most_the_lines_that_it_touches(path, bit):
    data = bytearray(WRITTEN)
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    found = metrics_file.read(str(path))
    lost = [row for row in ROWS if row not in found.rows]
    assert len(lost) <= 2  # a line feed stands between two
    assert len(found.damaged) <= 2
    assert found.rows == sorted(found.rows, key=lambda row: row["step"])


@settings(max_examples=100, deadline=None)
@given(size=st.integers(0, len(WRITTEN)))
def test_a_file_that_was_cut_short_is_not_damaged(path, size):
    path.write_bytes(WRITTEN[:size])
    whole = WRITTEN[:size].count(b"\n")
    found = metrics_file.read(str(path))
    assert found.damaged == [] and found.rows[:whole] == ROWS[:whole]
    assert len(found.rows) <= whole + 1  # a row without its line feed is a row


@pytest.mark.parametrize(
    "line",
    [
        *(b"5", b"{}", b"[]", b"null", b'{"step": "x"}', b'{"step": 1.5}', b'{"step": true}', b"{"),
        *(b'{"step": -1}', b'{"step": 1, "loss": "4"}', b'{"step": 1, "loss": NaN}', b"\xff\xfe"),
        *(b'{"step": 1, "eval/domain/loss": [4]}', b'{"step": 1, "loss": 1e999}', b"[" * 100_000),
        *(b'{"step": 1, "tokens": 1' + b"0" * 5000 + b"}", b'{"step": 1', b'"loss": 3}', b"\0" * 9),
    ],
)
def test_what_is_no_row_is_named(tmp_path, line):
    path = tmp_path / layout.METRICS
    first, second = (json.dumps(row).encode() for row in ROWS[:2])
    path.write_bytes(b"\n".join((first, line, second, b"")))
    found = layout.read_metrics(str(tmp_path))
    assert found == metrics_file.Read(ROWS[:2], [2])
    assert metrics_file.damage("m", found) == "m: line 2 is damaged and left out"
    path.write_bytes(b"\n".join((first, line)))
    assert layout.metrics(str(tmp_path)) == ROWS[:1]


def test_a_resume_removes_damage_and_says_so(tmp_path, capsys):
    path = tmp_path / layout.METRICS
    lines = WRITTEN.split(b"\n")
    lines[1], lines[3] = b"\xff" + lines[1], lines[3][:9]
    path.write_bytes(b"\n".join(lines))
    metrics.Metrics(str(tmp_path), is_writer=True, num_steps=9).cut(4)
    assert f"warning: {path}: lines 2, 4 are damaged and left out" in capsys.readouterr().out
    assert layout.read_metrics(str(tmp_path)) == metrics_file.Read([ROWS[i] for i in (0, 2, 4)], [])
    path.unlink()
    assert layout.metrics(str(tmp_path)) == []


def test_a_file_that_is_a_directory(tmp_path):
    (tmp_path / layout.METRICS).mkdir()
    with pytest.raises(UserError, match="metrics.jsonl cannot be read"):
        layout.metrics(str(tmp_path))
