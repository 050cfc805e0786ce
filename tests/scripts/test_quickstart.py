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
  -) exec {sys.executable} "$@" ;;
  -c) exit "${{STAND_IN_NO_JAX:-0}}" ;;
esac
echo "python $*" >>"$CALLS"
case "$*" in
  *"pip freeze"*) echo "jax==0.9.0"; echo "numpy==2.0.2"; echo "other==1" ;;
  *"pip install"*) for word in "$@"; do [[ -f "$word" ]] && cat "$word" >>"$CALLS"; done ;;
  *run_chain.py*)
    for word in "$@"; do [[ "$word" == --times=* ]] && echo "base 7 s, v3 5 s" >"${{word#*=}}"; done
    exit "${{STAND_IN_CHAIN:-0}}" ;;
  *mypt_jax.report*) echo "the tables" ;;
esac
exit 0
"""


@pytest.fixture
def checkout(tmp_path):
    """A checkout with the script only, and the stand-in first on the PATH."""
    (tmp_path / "bin").mkdir()
    for name, text in (("python3", PYTHON), ("nvidia-smi", "#!/bin/bash\nexit 9\n")):
        program = tmp_path / "bin" / name
        program.write_text(text)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "scripts").mkdir()
    for name in ("quickstart.sh", "environment.sh"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    (tmp_path / "requirements.txt").write_text("jax\n")
    (tmp_path / "requirements-demo.txt").write_text("cwe2\n")
    (tmp_path / "requirements-report.txt").write_text("plotly\n")
    return tmp_path


def quickstart(checkout, *arguments, **environment):
    done = subprocess.run(
        ["bash", "scripts/quickstart.sh", *arguments],
        cwd=checkout,
        env={
            **os.environ,
            "PATH": f"{checkout / 'bin'}:{os.environ['PATH']}",
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
    assert "jax==0.9.0\nnumpy==2.0.2" in text and "other==1" not in text
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
    (checkout / "bin/nvidia-smi").write_text("#!/bin/bash\necho 'GPU 0: Some GPU'\n")
    done, _ = quickstart(checkout, "--accelerator=keep")
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("warning: this machine has an accelerator")
    assert "use --accelerator=cuda" in done.stderr


def test_a_preempted_chain_ends_with_its_exit_code_and_no_report(checkout):
    done, calls = quickstart(checkout, "--accelerator=keep", STAND_IN_CHAIN="75")
    assert done.returncode == 75
    assert not any("mypt_jax.report" in call for call in calls)


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--accelerator=rocm"], {}, "use --accelerator=cpu|cuda|tpu|keep"),
        (["--size=150m"], {}, "use scripts/run_chain.py"),
        (["--accelerator=keep"], {"STAND_IN_NO_JAX": "1"}, "needs a Python that has jax"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(checkout, arguments, environment, words):
    done, calls = quickstart(checkout, *arguments, **environment)
    assert done.returncode == 2 and words in done.stderr
    assert done.stderr.count("\n") == 1 and calls == []


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
