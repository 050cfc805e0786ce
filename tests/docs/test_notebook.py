"""docs/colab.ipynb, executed: the chain is stopped by its budget, and a new kernel resumes it."""

import json
from pathlib import Path

import pytest

from mypt_jax.monitor import goodput

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "colab.ipynb"

# Small enough for a test; the notebook's own cells run unchanged.
SMALL = [
    "--config.model.n_layer=1",
    "--config.model.n_embd=32",
    "--config.model.n_head=2",
    "--config.num_steps=12",
    "--config.optim.warmup_steps=2",
    "--config.eval.every_steps=6",
    "--config.eval.windows=32",
    "--config.log.every_steps=2",
]


def test_notebook_is_clean_and_its_cells_compile():
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for cell in cells:
        compile("".join(cell["source"]), str(NOTEBOOK), "exec")
        assert cell["outputs"] == [] and cell["execution_count"] is None
    assert cells[0]["metadata"]["tags"] == ["parameters"]


def execute(runs_dir: Path, overrides: list[str]) -> str:
    """Runs the notebook in a kernel of its own; returns all text that its cells printed."""
    import nbclient
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    values = f"RUNS_DIR = {str(runs_dir)!r}\nOVERRIDES = {overrides!r}\nPOLL_SECS = 1\n"
    notebook.cells.insert(2, nbformat.v4.new_code_cell(values))
    nbclient.NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
    ).execute()
    outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    return "\n".join(o.get("text", "") or str(o.get("data", "")) for o in outputs)


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")  # of the notebook machinery
def test_notebook_trains_and_a_new_kernel_resumes(tmp_path, monkeypatch):
    pytest.importorskip("nbclient")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    first = execute(tmp_path, [*SMALL, "--config.time_budget_secs=1"])
    assert "the cell Resume goes on" in first
    assert not (tmp_path / "tiny/v8").exists()
    second = execute(tmp_path, SMALL)
    assert "Experiment summary" in second
    assert (tmp_path / "tiny/v8/finished.json").is_file()
    rows = (tmp_path / "tiny/base/metrics.jsonl").read_text().splitlines()
    steps = [json.loads(row)["step"] for row in rows]
    assert steps == sorted(set(steps)) and steps[-1] == 12
    starts = json.loads((tmp_path / "tiny/base" / goodput.FILE).read_text())["starts"]
    assert len(starts) == 2
