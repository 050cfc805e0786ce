"""scripts/tpu_vm.sh: what it would run, and how wrong input ends."""

import os
import shlex
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

WORKDIR = "--config.workdir=gs://bucket/v8"


def tpu_vm(*arguments: str) -> subprocess.CompletedProcess:
    command = ["bash", str(ROOT / "scripts" / "tpu_vm.sh"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def commands(*arguments: str) -> list[list[str]]:
    done = tpu_vm(*arguments, "--dry_run") if "--" not in arguments else tpu_vm(*arguments)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if not line.startswith("#")]
    return [pasted(line) for line in lines]


def pasted(line: str) -> list[str]:
    """The words of a printed command, as bash reads them."""
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True
    )
    return words.stdout.split("\0")[:-1]


def test_create_asks_for_a_spot_machine_in_the_queue():
    (create,) = commands("create", "night-1", "--type=v6e-4", "--zone=us-east5-b")
    assert create[:6] == ["gcloud", "compute", "tpus", "queued-resources", "create", "night-1"]
    assert "--spot" in create
    assert create[create.index("--accelerator-type") + 1] == "v6e-4"
    assert create[create.index("--runtime-version") + 1] == "v2-alpha-tpuv6e"
    (create,) = commands("create", "night-1", "--on_demand")
    assert "--spot" not in create


def test_resume_makes_the_machine_again_and_goes_on_everywhere():
    stage = ["--config=configs/v8.py:750m,batch=96", WORKDIR]
    delete, create, run = commands("resume", "night-1", "--dry_run", "--", *stage)
    assert (delete[4], create[4], run[4]) == ("delete", "create", "ssh")
    assert "--worker=all" in run
    remote = run[run.index("--command") + 1]
    inner = next(line for line in remote.splitlines() if "mypt_jax.main" in line)
    assert shlex.split(inner.partition(">")[0])[2:] == ["-m", "mypt_jax.main", *stage]
    # What gcloud hands over is a script that a shell accepts.
    assert subprocess.run(["bash", "-n", "-c", remote]).returncode == 0


def test_the_whole_chain_runs_on_all_hosts():
    chain = ["--size=750m,batch=96", "--runs_dir=gs://bucket/runs", "--config.log.every_steps=50"]
    done = tpu_vm("run", "night-1", "--dry_run", "--", *chain)
    assert done.returncode == 0 and done.stderr == ""
    remote = pasted(done.stdout)[-1]
    inner = next(line for line in remote.splitlines() if "nohup" in line)
    assert shlex.split(inner.partition(">")[0])[1:] == [
        ".venv/bin/python",
        "scripts/run_chain.py",
        *chain,
    ]


def executable(path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def test_an_image_with_an_old_python_gets_a_newer_one(tmp_path):
    """What the hosts run, on a machine whose own Python is none that JAX takes."""
    repo, home, commands_ = tmp_path / "repo", tmp_path / "home", tmp_path / "bin"
    (repo / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "environment.sh", repo / "scripts")
    for name in ("requirements-tpu.txt", "requirements-cloud.txt", "mypt_jax/__init__.py"):
        (repo / name).parent.mkdir(exist_ok=True)
        (repo / name).write_text("")
    (repo / "mypt_jax" / "main.py").write_text(
        "import pathlib, sys; print(sys.argv[1:], flush=True); pathlib.Path('ran').touch()"
    )
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-C", str(repo)]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *arguments], check=True, timeout=30)

    home.mkdir()
    for name in ("python", "python3.11", "python3.12", "python3.13"):
        executable(commands_ / name, "exit 1")
    executable(commands_ / "sleep", "while ! test -e ran; do :; done")
    executable(tmp_path / "uv", f'test "$2" != find || echo {sys.executable}')
    executable(
        commands_ / "python3",
        f"""case "$*" in
  *"pip install"*uv==*) mkdir -p $HOME/.local/bin; cp {tmp_path}/uv $HOME/.local/bin ;;
  "-m site --user-base") echo $HOME/.local ;;
  *) exit 1 ;;
esac""",
    )
    stage = ["--config=configs/v8.py", "--config.workdir=gs://bucket/v 8"]
    done = tpu_vm("run", "x", f"--repo={repo}", "--dry_run", "--", *stage)
    ran = subprocess.run(
        ["bash", "-c", pasted(done.stdout)[-1]],
        cwd=home,
        env={
            "HOME": str(home),
            "PATH": f"{commands_}:{os.environ['PATH']}",
            "PYENV_ROOT": str(tmp_path),
            "PIP_NO_INDEX": "1",  # pip is asked for nothing that is not there
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == str(stage)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["start", "x"], "usage"),
        (["create", "Night_1"], "wanted lower-case"),
        (["create", "x", "--type=v9-8"], "no runtime version known"),
        (["create", "x", "--zoen=a"], "unknown option --zoen=a"),
        (["run", "x"], "what should run"),
        (["run", "x", "--dry_run", "--", "rm"], "rm is no argument of mypt_jax.main or"),
        (
            ["run", "x", "--dry_run", "--", "--config=configs/v8.py", "--runs_dir=gs://b/x"],
            "--runs_dir belongs to the whole chain",
        ),
    ],
)
def test_bad_input(arguments, words):
    done = tpu_vm(*arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and words in line
    assert done.stdout == ""


def test_a_run_that_would_be_lost_is_warned_of():
    done = tpu_vm("run", "x", "--dry_run", "--", "--config=configs/v8.py")
    assert done.returncode == 0 and "lost with the machine" in done.stderr


@pytest.mark.parametrize(
    ("described", "code", "called"),
    [
        ("echo ACTIVE", 0, ["ssh"]),
        ("echo 'NOT_FOUND: no such request' >&2; exit 1", 0, ["create", "ssh"]),
        ("echo SUSPENDED", 0, ["delete", "create", "ssh"]),
        # A machine that is taken away goes slowly: a second answer, then the third.
        ("echo SUSPENDING; echo 'echo SUSPENDED' >$next", 0, ["delete", "create", "ssh"]),
        # Whoever waits keeps the place in the queue.
        ("echo WAITING_FOR_RESOURCES", 0, ["ssh"]),
        ("echo 'network is unreachable' >&2; exit 1", 2, []),
    ],
)
def test_resume_removes_only_what_is_gone(described, code, called, tmp_path):
    """A gcloud that answers once as `described`, then says that the machine is there."""
    log, answered = tmp_path / "log", tmp_path / "answered"
    (tmp_path / "gcloud").write_text(
        f"""#!/bin/bash
case "$4" in
  describe)
    next={tmp_path}/next
    if test -e $next; then . $next; rm $next
    elif test -e {answered}; then echo ACTIVE
    else touch {answered}; {described}
    fi ;;
  *) echo "$4" >>{log} ;;
esac
"""
    )
    (tmp_path / "gcloud").chmod(0o755)
    (tmp_path / "sleep").write_text("#!/bin/bash\n")
    (tmp_path / "sleep").chmod(0o755)
    command = ["bash", str(ROOT / "scripts" / "tpu_vm.sh"), "resume", "night-1"]
    done = subprocess.run(
        [*command, "--repo=https://example.org/r.git", "--", "--config=configs/v8.py", WORKDIR],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == code, done.stderr
    assert (log.read_text().split() if log.exists() else []) == called
    assert bool(code) == ("cannot say whether night-1 is there: network" in done.stderr)
