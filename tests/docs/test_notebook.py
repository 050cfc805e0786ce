"""docs/colab.ipynb, executed as in Colab: no checkout, an old jax, uv, a Python without ensurepip.

The chain is stopped by its budget, and a new kernel resumes it.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from mypt_jax.monitor import goodput

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "colab.ipynb"
# Colab's of August 2026, on all its runtimes.
PINS = ("jax==0.7.2", "numpy==2.1.3")

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


def code_cells() -> list[dict]:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_notebook_is_clean_and_its_cells_compile():
    cells = code_cells()
    for cell in cells:
        compile("".join(cell["source"]), str(NOTEBOOK), "exec")
        assert cell["outputs"] == [] and cell["execution_count"] is None
    assert cells[0]["metadata"]["tags"] == ["parameters"]


def test_the_kernel_needs_nothing_that_is_installed():
    """Colab's jax is older than ours: all of it runs in the environment that Install makes."""
    tops = set()
    for cell in code_cells():
        for node in ast.walk(ast.parse("".join(cell["source"]))):
            if isinstance(node, ast.Import):
                tops |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                tops.add(node.module.partition(".")[0])
    assert tops - set(sys.stdlib_module_names) == {"IPython", "google"}
    assert not any("sys.executable" in line for cell in code_cells() for line in cell["source"])


def test_without_a_checkout_and_a_repository_one_sentence_says_what_to_fill(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    parameters, setup = ("".join(cell["source"]) for cell in code_cells()[:2])
    exec(parameters, names)
    with pytest.raises(ValueError, match="REPOSITORY is empty: write .* where to clone mypt_jax"):
        exec(setup, names)
    assert list(tmp_path.iterdir()) == []


def uv(*arguments) -> None:
    module = pytest.importorskip("uv")
    subprocess.run([module.find_uv_bin(), *map(str, arguments)], check=True, timeout=900)


@pytest.fixture(scope="module")
def colab(tmp_path_factory):
    """Variables of a machine like Colab: its only Python has no ensurepip, and uv is there."""
    module = pytest.importorskip("uv")
    root = tmp_path_factory.mktemp("colab")
    stdlib = Path(sysconfig.get_path("stdlib"))
    python = root / "usr" / "bin" / "python3"
    library = root / "usr" / "lib" / stdlib.name
    for folder in (python.parent, library / "site-packages", root / "bin"):
        folder.mkdir(parents=True)
    shutil.copy(Path(sys.base_prefix) / "bin" / stdlib.name, python)
    for path in stdlib.iterdir():
        if path.name not in ("ensurepip", "site-packages", "dist-packages"):
            (library / path.name).symlink_to(path)
    for folder in ("/usr/bin", "/bin"):
        for path in Path(folder).iterdir():
            link = root / "bin" / path.name
            if not path.name.startswith(("python", "pip")) and not link.is_symlink():
                link.symlink_to(path)
    (root / "bin" / "uv").unlink(missing_ok=True)
    (root / "bin" / "uv").symlink_to(module.find_uv_bin())
    uv("pip", "install", "--quiet", "--python", python, "pip", "ipykernel>=6", *PINS)
    kernel = root / "jupyter" / "kernels" / "colab"
    kernel.mkdir(parents=True)
    launch = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": launch, "display_name": "Colab"}))
    return {
        "PATH": f"{python.parent}:{root / 'bin'}",
        "PYENV_ROOT": str(root),
        "JUPYTER_PATH": str(root / "jupyter"),
        "JAX_PLATFORMS": "cpu",
        "UV_SYSTEM_PYTHON": "true",
    }


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """What this checkout holds, committed: to be cloned."""
    root = tmp_path_factory.mktemp("repository")
    list_files = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(list_files, cwd=ROOT, text=True).split("\0"):
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    someone = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "all"]):
        subprocess.run(["git", *someone, *command], cwd=root, check=True)
    return root


def execute(place: Path, repository: Path, overrides: list[str]) -> str:
    """Runs the notebook in `place`, in a new kernel; returns all text that its cells printed."""
    import nbclient
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    values = f"REPOSITORY = {str(repository)!r}\nOVERRIDES = {overrides!r}\nPOLL_SECS = 1\n"
    notebook.cells.insert(2, nbformat.v4.new_code_cell(values))
    nbclient.NotebookClient(
        notebook, timeout=900, kernel_name="colab", resources={"metadata": {"path": str(place)}}
    ).execute()
    outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    return "\n".join(o.get("text", "") or str(o.get("data", "")) for o in outputs)


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")  # of the notebook machinery
def test_notebook_trains_from_an_empty_runtime_and_a_new_kernel_resumes(
    tmp_path, monkeypatch, colab, repository
):
    pytest.importorskip("nbclient")
    for name, value in colab.items():
        monkeypatch.setenv(name, value)
    first = execute(tmp_path, repository, [*SMALL, "--config.time_budget_secs=1"])
    assert "the cell Resume goes on" in first
    runs = tmp_path / "checkout" / "runs"
    assert not (runs / "tiny/v8").exists()
    assert "\nuv = " in (tmp_path / "checkout/.venv/pyvenv.cfg").read_text()
    second = execute(tmp_path, repository, SMALL)
    assert "Experiment summary" in second and "Plotly.newPlot" in second
    assert (runs / "tiny/v8/finished.json").is_file()
    rows = (runs / "tiny/base/metrics.jsonl").read_text().splitlines()
    steps = [json.loads(row)["step"] for row in rows]
    assert steps == sorted(set(steps)) and steps[-1] == 12
    starts = json.loads((runs / "tiny/base" / goodput.FILE).read_text())["starts"]
    assert len(starts) == 2


@pytest.mark.full
def test_keep_refuses_what_colab_has_and_installs_nothing(colab, repository):
    python = Path(colab["PATH"].partition(":")[0]) / "python3"
    before = subprocess.check_output([python, "-m", "pip", "freeze"], text=True)
    assert set(PINS) <= set(before.split())
    done = subprocess.run(
        ["/bin/bash", "scripts/quickstart.sh", "--accelerator=keep", "--install_only"],
        cwd=repository,
        env={**os.environ, **colab},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "has 0.7.2; use --accelerator=" in done.stderr
    assert subprocess.check_output([python, "-m", "pip", "freeze"], text=True) == before
    assert not (repository / ".venv").exists()
