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
