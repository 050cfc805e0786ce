"""Files of a run that are damaged, or of another program, are named."""

import pytest

from data_pipeline.errors import UserError
from mypt_jax.monitor import goodput
from mypt_jax.runs import layout


@pytest.mark.parametrize(
    ("name", "read"),
    [
        (layout.CONFIG, layout.config),
        ("lineage.json", layout.record),
        (layout.FINISHED, layout.finished),
    ],
)
def test_a_file_without_what_belongs_there_is_named(tmp_path, name, read):
    (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=f"{name} has no "):
        read(str(tmp_path))


def test_goodput_of_another_program(tmp_path):
    (tmp_path / goodput.FILE).write_text("{}")
    with pytest.raises(UserError, match="has no 'starts'"):
        goodput.Ledger(str(tmp_path), started=0.0, is_writer=True).open()


@pytest.mark.parametrize("line", ["5", "{}", '{"step": "x"}', '{"step": 1.5}', "{"])
def test_a_row_without_a_step_is_named_but_the_last_may_be_torn(tmp_path, line):
    good = '{"step": 1, "loss": 2.0}'
    (tmp_path / layout.METRICS).write_text(f"{good}\n{line}\n{good}\n")
    with pytest.raises(UserError, match="metrics.jsonl line 2 is no row"):
        layout.metrics(str(tmp_path))
    (tmp_path / layout.METRICS).write_text(f"{good}\n{line}")
    assert layout.metrics(str(tmp_path)) == [{"step": 1, "loss": 2.0}]


def test_metrics_that_are_a_directory(tmp_path):
    (tmp_path / layout.METRICS).mkdir()
    with pytest.raises(UserError, match="metrics.jsonl cannot be read"):
        layout.metrics(str(tmp_path))
