"""scripts/quickstart.sh with a stand-in for Python that notes what it is asked to do."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Programs on standard input are real; everything else is noted, and answered by STAND_IN_* .
PYTHON = f"""#!/bin/bash
case "$1" in
  -) exec {sys.executable} ${{STAND_IN_BARE:+-S}} "$@" ;;
esac
echo "python $*" >>"$CALLS"
case "$*" in
  *"pip install"*) for word in "$@"; do [[ -f "$word" ]] && cat "$word" >>"$CALLS"; done ;;
  *run_chain.py*)
    for word in "$@"; do [[ "$word" == --times=* ]] && echo "base 7 s, v3 5 s" >"${{word#*=}}"; done
    exit "${{STAND_IN_CHAIN:-0}}" ;;
  *mypt_jax.report*) echo "the tables" ;;
esac
exit 0
"""

# As Colab's: it runs, and cannot make environments; what uv makes has no pip.
WITHOUT_ENSUREPIP = f"""#!/bin/bash
hidden='import sys; sys.modules["ensurepip"] = None; exec(sys.stdin.read())'
case "$1" in
  -) exec {sys.executable} -c "$hidden" "${{@:2}}" ;;
  -c) exec {sys.executable} -c "$hidden" <<<"$2" ;;
esac
echo "${{0##*/}} $*" >>"$CALLS"
[[ "$*" != "-m pip"* ]]
"""
GPU = "#!/bin/bash\necho 'GPU 0: Some GPU'\n"
UV = """#!/bin/bash
echo "uv $*" >>"$CALLS"
here="$(dirname "$0")"
case "$1 $2" in
  "python find") echo "$here/python3" ;;
  venv*) mkdir -p "${@: -1}/bin"; cp "$here/python3" "${@: -1}/bin/python" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    """A checkout with the script only, and the stand-in first on the PATH."""
    (tmp_path / "bin").mkdir()
    put(tmp_path, "python3", PYTHON)
    put(tmp_path, "nvidia-smi", "#!/bin/bash\nexit 9\n")
    (tmp_path / "scripts").mkdir()
    for name in ("quickstart.sh", "environment.sh"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    (tmp_path / "requirements.txt").write_text("jax>=0.9,<2\n")
    (tmp_path / "requirements-demo.txt").write_text("cwe2\n")
    (tmp_path / "requirements-report.txt").write_text("plotly\n")
    (tmp_path / "requirements-cuda.txt").write_text("jax[cuda12]\n")
    for package in ("jax-0.9.0", "numpy-2.0.2", "other-1"):
        pretend(tmp_path, package)
    return tmp_path


def put(checkout, name: str, text: str):
    """A program that is found before all others."""
    program = checkout / "bin" / name
    program.write_text(text)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def without_ensurepip(checkout):
    for name in ("python", "python3", "python3.13", "python3.12", "python3.11"):
        put(checkout, name, WITHOUT_ENSUREPIP)


def pretend(checkout, package: str):
    """NAME-VERSION is installed, before what really is."""
    name, version = package.split("-")
    folder = checkout / "packages" / f"{package}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def quickstart(checkout, *arguments, **environment):
    done = subprocess.run(
        ["bash", "scripts/quickstart.sh", *arguments],
        cwd=checkout,
        env={
            **os.environ,
            "PATH": f"{checkout / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(checkout / "packages"),
            "CALLS": str(checkout / "calls"),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    calls = checkout / "calls"
    return done, calls.read_text().splitlines() if calls.exists() else []


def test_keep_installs_around_the_jax_that_is_there_and_goes_through_all_stages(checkout):
    done, calls = quickstart(checkout, "--accelerator=keep", "--config.seed=1")
    assert done.returncode == 0, done.stderr
    text = "\n".join(calls)
    assert "jax==0.9.0" in text and "numpy==2.0.2" in text and "other==1" not in text
    assert not (checkout / ".venv").exists()
    order = [
        text.index(part) for part in ("pip install", "prepare_demo", "run_chain", "mypt_jax.report")
    ]
    assert order == sorted(order)
    assert "scripts/run_chain.py --size=tiny" in text and "--config.seed=1" in text
    assert "the tables" in done.stdout
    assert "training 0 s (base 7 s, v3 5 s)" in done.stdout
    for part in ("install", "data", "report", "total"):
        assert f"{part} " in done.stdout.split("time: ")[1]
    assert done.stderr == ""


def test_runs_elsewhere_are_reported_there(checkout):
    done, calls = quickstart(checkout, "--accelerator=keep", "--runs_dir=/drive/runs")
    assert calls[-1] == "python -m mypt_jax.report /drive/runs/tiny --html"
    assert "report: /drive/runs/tiny/report.md" in done.stdout
    assert "/drive/runs/tiny/report.html" in done.stdout


def test_the_installation_alone_trains_nothing(checkout):
    done, calls = quickstart(checkout, "--accelerator=keep", "--install_only")
    assert done.returncode == 0 and done.stderr == ""
    text = "\n".join(calls)
    assert "pip install" in text and "prepare_demo" not in text and "run_chain" not in text


def test_an_accelerator_without_its_jax_is_warned_about_in_one_line(checkout):
    put(checkout, "nvidia-smi", GPU)
    done, _ = quickstart(checkout, "--accelerator=keep")
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("warning: this machine has an accelerator")
    assert "use --accelerator=cuda" in done.stderr


def test_a_preempted_chain_ends_with_its_exit_code_and_no_report(checkout):
    done, calls = quickstart(checkout, "--accelerator=keep", STAND_IN_CHAIN="75")
    assert done.returncode == 75
    assert not any("mypt_jax.report" in call for call in calls)


BARE = {"STAND_IN_BARE": "1", "PYTHONPATH": ""}


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--accelerator=rocm"], {}, "use --accelerator=cpu|cuda|tpu|auto|keep"),
        (["--size=150m"], {}, "use scripts/run_chain.py"),
        (["--accelerator=keep"], BARE, "has none; use --accelerator=cpu"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(checkout, arguments, environment, words):
    done, calls = quickstart(checkout, *arguments, **environment)
    assert done.returncode == 2 and words in done.stderr
    assert done.stderr.count("\n") == 1 and calls == []


@pytest.mark.parametrize(("gpu", "other"), [(False, "cpu"), (True, "cuda")])
def test_a_kept_jax_that_is_too_old_is_said_in_one_line_before_anything_is_installed(
    checkout, gpu, other
):
    (checkout / "requirements.txt").write_text("numpy>=2\njax>=0.10.2,<0.13\n")
    if gpu:
        put(checkout, "nvidia-smi", GPU)
    done, calls = quickstart(checkout, "--accelerator=keep")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and calls == []
    assert "needs jax 0.10.2 or newer" in done.stderr and "has 0.9.0" in done.stderr
    assert f"use --accelerator={other}, which makes an environment of its own" in done.stderr


@pytest.mark.parametrize("gpu", [False, True])
def test_uv_makes_the_environment_where_python_cannot(checkout, gpu):
    without_ensurepip(checkout)
    put(checkout, "uv", UV)
    if gpu:
        put(checkout, "nvidia-smi", GPU)
    done, calls = quickstart(
        checkout, "--accelerator=auto", "--install_only", PYENV_ROOT=str(checkout / "none")
    )
    assert done.returncode == 0, done.stderr
    python = checkout / "bin" / "python3"
    files = "-r requirements.txt -r requirements-demo.txt -r requirements-report.txt"
    assert [call for call in calls if call.startswith("uv ")] == [
        "uv python find --quiet --no-project --system >=3.11,<3.14",
        f"uv venv --quiet --allow-existing --python {python} .venv",
        "uv pip install --quiet --python .venv/bin/python "
        + files
        + (" -r requirements-cuda.txt" if gpu else ""),
        "uv pip install --quiet --python .venv/bin/python --no-deps --editable .",
    ]
    again, calls_again = quickstart(
        checkout, "--accelerator=auto", "--install_only", PYENV_ROOT=str(checkout / "none")
    )
    assert again.returncode == 0 and sum("uv venv" in call for call in calls_again) == 1


def test_without_venv_and_uv_the_line_names_both(checkout):
    without_ensurepip(checkout)
    done = subprocess.run(
        ["/bin/bash", "-c", "source scripts/environment.sh; find_python"],
        cwd=checkout,
        env={"PATH": str(checkout / "bin"), "PYENV_ROOT": str(checkout / "none")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "python3-venv" in done.stderr and "or uv" in done.stderr


@pytest.mark.parametrize(
    "name", ["quickstart.sh", "test.sh", "lock.sh", "test_page.sh", "tpu_vm.sh"]
)
def test_help_is_shown_and_nothing_is_done(checkout, name):
    path = f"{checkout / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", str(ROOT / "scripts" / name), "--help"],
        env={**os.environ, "PATH": path, "CALLS": str(checkout / "calls")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0 and done.stderr == "" and not (checkout / "calls").exists()
    head = (ROOT / "scripts" / name).read_text().splitlines()[1]
    assert done.stdout.startswith(head.removeprefix("# "))


@pytest.mark.parametrize("version", ["", "3.11", "3.9", "4.0"])
def test_find_python_tries_what_it_finds(version):
    done = subprocess.run(
        ["bash", "-c", f"source scripts/environment.sh; find_python {version}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        program = "import sys; print('%d.%d' % sys.version_info[:2])"
        found = subprocess.check_output([done.stdout.strip(), "-c", program], text=True).strip()
        assert found == version or (version == "" and tuple(map(int, found.split("."))) >= (3, 11))
    else:
        assert version and done.returncode == 2 and f"wanted {version}" in done.stderr
