"""The wheel in an environment of its own: `mypt` works there, from anywhere, without a checkout."""

import os
import subprocess
import sys
import venv

import pytest
from conftest import ROOT


def run(*command, cwd, **options):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        text=True,
        capture_output=True,
        timeout=300,
        check=False,
        **options,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An environment with the wheel; what it depends on is that of the tests' environment."""
    root = tmp_path_factory.mktemp("install")
    pip = (sys.executable, "-m", "pip")
    offline = ("--quiet", "--no-deps", "--no-index")
    built = run(*pip, "wheel", *offline, "--no-build-isolation", "-w", root, ROOT, cwd=root)
    assert built.returncode == 0, built.stderr
    (wheel,) = root.glob("*.whl")
    venv.create(root / "env")
    done = run(*pip, f"--python={root / 'env'}", "install", *offline, wheel, cwd=root)
    assert done.returncode == 0, done.stderr
    (packages,) = root.glob("env/lib/python*/site-packages")
    ours = [path for path in sys.path if path.endswith("-packages")]
    (packages / "dependencies.pth").write_text("\n".join(ours))
    return packages


def test_the_wheel_brings_two_packages_and_their_files(installed):
    tops = {path.name for path in installed.iterdir() if path.is_dir()}
    assert {name for name in tops if not name.endswith("-info")} == {"data_pipeline", "mypt_jax"}
    ours = {
        path.relative_to(ROOT)
        for top in ("data_pipeline", "mypt_jax")
        for path in (ROOT / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {path for path in ours if not (installed / path).is_file()} == set()
    stages = {path.name for path in (installed / "mypt_jax" / "stage_files").glob("*.py")}
    assert stages == {path.name for path in (ROOT / "configs").glob("*.py")}


def test_mypt_chain_and_plan_run_from_another_directory(installed, tmp_path):
    mypt = installed.parents[2] / "bin" / "mypt"
    chain = run(mypt, "chain", "--size=tiny", "--dry_run", cwd=tmp_path)
    assert chain.returncode == 0, chain.stderr
    lines = chain.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["base", "v3", "v5", "v7", "v8"]
    assert all(line.endswith(f"configs/{line.partition(':')[0]}.py:tiny") for line in lines)
    plan = run(mypt, "plan", "--config=configs/v8.py:tiny", cwd=tmp_path)
    assert plan.returncode == 0, plan.stderr
    assert plan.stdout.startswith("stage v8 (tiny), 1,893,248 parameters")
    for said in (chain.stderr, plan.stderr):  # whose stage files, in a line
        assert said.count("\n") == 1 and str(installed / "mypt_jax" / "stage_files") in said
    assert list(tmp_path.iterdir()) == []
