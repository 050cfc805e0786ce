"""scripts/run_chain.py, with a stand-in for the trainer that only notes how it was called."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import run_factory

ROOT = Path(__file__).resolve().parents[2]

# Notes its arguments, finishes its run at once; CODES and WAIT in the environment steer it.
TRAINER = """
import json, os, signal, sys, time
from pathlib import Path

from mypt_jax.schema import duration as length
from mypt_jax.schema import overrides

config = overrides.read(sys.argv[1:]).config
stage, workdir = config["stage"], Path(config["workdir"])
length.resolve_warmup(config)
signals = []
signal.signal(signal.SIGTERM, lambda number, frame: signals.append(number))
signal.signal(signal.SIGINT, lambda number, frame: signals.append(number))
with open("calls", "a") as log:
    log.write(json.dumps([stage, sys.argv[1:]]) + "\\n")
code = json.loads(os.environ.get("CODES", "{}")).get(stage, 0)
until = time.monotonic() + float(os.environ.get("WAIT", 0))
while time.monotonic() < until and not signals:
    time.sleep(0.01)
if signals:
    time.sleep(0.2)  # saving takes a moment; a second signal would come in it
    Path("signals").write_text(json.dumps(signals))
    sys.exit(75)
if code == 0:
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "config.json").write_text(json.dumps(config))
    end = {"step": config["num_steps"], "params_sha256": ""}
    (workdir / "finished.json").write_text(json.dumps(end))
sys.exit(code)
"""

MINE = """
from configs import base, common


def get_config(arg=common.DEFAULT_ARGUMENT):
    return common.domain_stage(
        base.get_config(arg), arg, stage="mine", init_from="PARENT",
        replay_ratio=0.1, peak_lr=1e-4, num_steps=1000, warmup_steps=0.1,
    )
"""


@pytest.fixture
def tree(tmp_path):
    """A checkout with the real configs and run_chain.py, and the stand-in as mypt_jax.main."""
    root = tmp_path / "checkout"
    shutil.copytree(ROOT / "configs", root / "configs", ignore=shutil.ignore_patterns("__pyc*"))
    (root / "scripts").mkdir()
    for name in ("_checkout.py", "run_chain.py"):
        shutil.copy(ROOT / "scripts" / name, root / "scripts")
    (root / "data_pipeline").symlink_to(ROOT / "data_pipeline")
    ours = shutil.ignore_patterns("__pycache__", "main.py")
    shutil.copytree(ROOT / "mypt_jax", root / "mypt_jax", ignore=ours)
    (root / "mypt_jax" / "main.py").write_text(TRAINER)
    return root


def chain(tree, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "scripts/run_chain.py", *arguments],
        cwd=tree,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def trained(tree) -> list[str]:
    path = tree / "calls"
    return [json.loads(line)[0] for line in path.read_text().splitlines()] if path.exists() else []


def test_trains_parents_first_then_skips_what_is_finished(tree):
    done = chain(tree, "--size=tiny", "--stages=v8", "--times=secs")
    assert done.returncode == 0, done.stderr
    assert trained(tree) == ["base", "v3", "v7", "v8"]
    assert [part.split()[0] for part in (tree / "secs").read_text().split(", ")] == trained(tree)
    again = chain(tree, "--size=tiny")
    assert trained(tree) == ["base", "v3", "v7", "v8", "v5"]
    assert again.stdout.count("skipped") == 4


@pytest.mark.parametrize(
    "command", [["scripts/run_chain.py"], ["-m", "mypt_jax", "chain"], ["-m", "mypt_jax.chain"]]
)
def test_a_chain_goes_on_where_nobody_reads_what_it_says(tree, command):
    """`| head -1`, a dead `tee`: all of its stages are trained."""
    reader, console = os.pipe()
    os.close(reader)
    line = [sys.executable, *command, "--size=tiny", "--stages=v3"]
    done = subprocess.run(line, cwd=tree, stdout=console, stderr=console, timeout=60)
    os.close(console)
    assert done.returncode == 0 and trained(tree) == ["base", "v3"]


def test_the_parents_of_a_finished_stage_are_not_trained_again(tree):
    """Days, at 750m, for a run that nobody asks for."""
    assert chain(tree, "--size=tiny", "--stages=v3").returncode == 0
    shutil.rmtree(tree / "runs" / "tiny" / "base")
    again = chain(tree, "--size=tiny", "--stages=v3", "--dry_run")
    assert again.returncode == 0 and again.stdout.startswith("v3: finished in runs/tiny/v3")


def test_overrides_reach_every_stage_and_the_directory_moves(tree):
    chain(
        tree,
        "--size=tiny",
        "--stages=v3",
        "--all",
        "--config.num_steps=5",
        f"--runs_dir={tree}/out/",
    )
    calls = [json.loads(line)[1] for line in (tree / "calls").read_text().splitlines()]
    assert all(call[-1] == "--config.num_steps=5" for call in calls)
    assert calls[0][0] == "--config=configs/base.py:tiny"
    workdirs = [call[1].rpartition("/out/")[2] for call in calls]
    assert workdirs == ["tiny/base", "tiny/v3"]
    assert calls[1][2].startswith("--config.init_from=") and calls[1][2].endswith("tiny/base")
    assert (tree / "out/tiny/v3/finished.json").exists()


def test_how_a_stage_learns_goes_to_those_that_are_named(tree):
    """Which data and where it runs goes to all; --all gives the ancestors the rest, too."""
    line = [
        "--size=tiny",
        "--stages=v3",
        "--config.data.general=data/mine",
        "--config.log.every_steps=3",
    ]
    line += ["--config.optim.peak_lr=1e-4", "--config.guard.skip_spikes", "--dry_run"]
    shown = chain(tree, *line).stdout.splitlines()
    said = [one for one in shown if "an ancestor" in one]
    assert said == [
        "base: an ancestor, which --stages does not name: its own guard.skip_spikes, optim.peak_lr "
        "(--all gives it yours)"
    ]
    base, v3 = (one for one in shown if "mypt_jax.main" in one)
    assert base.endswith("--config.data.general=data/mine --config.log.every_steps=3")
    assert v3.endswith("--config.optim.peak_lr=1e-4 --config.guard.skip_spikes")
    everything = chain(tree, *line, "--all").stdout.splitlines()
    assert len(everything) == 2 and all("peak_lr=1e-4" in one for one in everything)


def test_a_finished_ancestor_is_compared_by_what_reaches_it(tree):
    assert chain(tree, "--size=tiny", "--stages=base").returncode == 0
    assert chain(tree, "--size=tiny", "--stages=v3", "--config.optim.peak_lr=1e-4").returncode == 0
    assert trained(tree) == ["base", "v3"]
    refused = chain(tree, "--size=tiny", "--stages=base,v3", "--config.optim.peak_lr=1e-4")
    assert refused.returncode == 2 and "runs/tiny/base is finished" in refused.stderr


def test_all_reaches_no_finished_ancestor_in_silence(tree):
    """Which has the value that it was trained with, whatever is typed."""
    rate = "--config.optim.peak_lr=1e-4"
    assert chain(tree, "--size=tiny", "--stages=v7", rate).returncode == 0
    refused = chain(tree, "--size=tiny", "--stages=v8", "--all", rate)
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert "--all gives optim.peak_lr 0.0001 to v3, but runs/tiny/v3 is finished" in refused.stderr
    assert chain(tree, "--size=tiny", "--stages=v8", "--all", "--dry_run").returncode == 0
    assert chain(tree, "--size=tiny", "--stages=v8", rate, "--dry_run").returncode == 0
    assert trained(tree) == ["base", "v3", "v7"]


@pytest.mark.parametrize(
    ("change", "why"),
    [('\nraise ValueError("boom")\n', "ValueError: boom"), ("\ndef get_config(", "SyntaxError")],
)
def test_an_ancestors_stage_file_that_fails_says_why(tree, change, why):
    with open(tree / "configs/v3.py", "a") as file:
        file.write(change)
    refused = chain(tree, "--size=tiny", "--stages=v5", "--dry_run")
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert "runs/tiny/v3, which is not a finished run" in refused.stderr and why in refused.stderr


def test_own_stage_takes_part_by_name_also_as_an_ancestor(tree):
    (tree / "configs/mine.py").write_text(MINE.replace("PARENT", "v7"))
    after = MINE.replace("PARENT", "mine").replace('stage="mine"', 'stage="after"')
    (tree / "configs/after.py").write_text(after)
    done = chain(tree, "--size=tiny", "--stages=after", "--dry_run")
    lines = [line.partition(":")[0] for line in done.stdout.splitlines()]
    assert lines == ["base", "v3", "v7", "mine", "after"]
    assert trained(tree) == []
    command = shlex.split(done.stdout.splitlines()[-1].partition(": ")[2])
    assert command[1:] == ["-m", "mypt_jax.main", "--config=configs/after.py:tiny"]


def test_a_finished_stage_with_other_values_is_refused_before_anything_is_trained(tree):
    """Also where another stage, not finished, comes first."""
    mine = ("--size=tiny", "--stages=v3", "--config.optim.warmup_steps=0.1")
    assert chain(tree, *mine).returncode == 0
    assert "skipped" in chain(tree, *mine, "--config.eval.windows=7", "--config.seed=0x539").stdout
    for stages, flag, words in (
        ("v5,v3", "--config.optim.peak_lr=1e-4", "optim.peak_lr: 0.0003 -> 0.0001"),
        ("v3", "--config.accumulation_steps=4", "accumulation_steps: 1 -> 4"),
        ("v3", "--config.guard.skip_spikes", "guard.skip_spikes: False -> True"),
        ("v3", "--config.num_steps=5", "num_steps: 86 -> 5"),
    ):
        again = chain(tree, *mine, f"--stages={stages}", flag)
        assert again.returncode == 2 and again.stderr.count("\n") == 1, again.stderr
        assert "runs/tiny/v3 is finished (step 86), with" in again.stderr
        assert words in again.stderr
    assert trained(tree) == ["base", "v3"]


def test_more_steps_are_for_the_trainer_to_decide(tree):
    """Which goes on where the optimizer was kept."""
    assert chain(tree, "--size=tiny", "--stages=base").returncode == 0
    assert chain(tree, "--size=tiny", "--stages=base", "--config.num_steps=999").returncode == 0
    assert trained(tree) == ["base", "base"]


def test_a_run_of_an_older_version_is_compared_with_what_it_had(tree):
    assert chain(tree, "--size=tiny", "--stages=base").returncode == 0
    path = tree / "runs/tiny/base/config.json"
    config = json.loads(path.read_text())
    del config["model"]["n_kv_head"], config["distributed"], config["checkpoint"]["allow_cast"]
    path.write_text(json.dumps(config))
    assert "skipped" in chain(tree, "--size=tiny", "--stages=base").stdout
    other = chain(tree, "--size=tiny", "--stages=base", "--config.model.n_kv_head=2")
    assert other.returncode == 2 and "model.n_kv_head: 0 -> 2" in other.stderr


def test_a_copied_stage_file_does_not_take_the_runs_of_the_other(tree):
    shutil.copy(tree / "configs/v8.py", tree / "configs/mine.py")
    done = chain(tree, "--size=tiny", "--stages=mine")
    assert done.returncode == 2 and trained(tree) == []
    assert "configs/mine.py says stage='v8'" in done.stderr


def test_an_imported_base_is_not_trained(tree):
    run = tree / "runs/gpt2"
    run.mkdir(parents=True)
    shape = {"vocab_size": 99, "block_size": 64, "n_layer": 2, "n_head": 2, "n_embd": 32}
    config = run_factory.config(stage="base", model=shape, data={"tokenizer": "gpt2"})
    (run / "config.json").write_text(json.dumps(config))
    (run / "finished.json").write_text('{"step": 0, "params_sha256": ""}')
    done = chain(tree, "--size=runs/gpt2", "--stages=base,v8")
    assert done.returncode == 0, done.stderr
    assert trained(tree) == ["v3", "v7", "v8"]
    assert (run / "v8/finished.json").exists()
    moved = chain(tree, "--size=runs/gpt2", "--stages=v3", "--runs_dir=elsewhere", "--dry_run")
    assert "--config.workdir=elsewhere/gpt2/v3 --config.init_from=runs/gpt2" in moved.stdout


@pytest.mark.parametrize(("code", "words"), [(75, "preempted"), (3, "forgetting"), (9, "message")])
def test_a_stages_exit_code_is_passed_on_and_ends_the_chain(tree, code, words):
    done = chain(tree, "--size=tiny", CODES=json.dumps({"v3": code}))
    assert done.returncode == code
    assert trained(tree) == ["base", "v3"]
    word = "error" if code == 9 else "stopped"  # as was asked
    assert done.stderr.startswith(f"{word}: stage v3 ended") and words in done.stderr
    assert done.stderr.count("\n") == 1
    # The same command goes on where it stopped.
    assert chain(tree, "--size=tiny", "--stages=v5").returncode == 0
    assert trained(tree) == ["base", "v3", "v3", "v5"]


def test_a_parent_of_another_shape_is_told_before_anything_is_trained(tree):
    assert chain(tree, "--size=tiny", "--stages=base").returncode == 0
    done = chain(tree, "--size=tiny", "--stages=v3,v5", "--config.model.n_layer=8")
    assert done.returncode == 2 and trained(tree) == ["base"]
    assert "model.n_layer is 8, but the parent runs/tiny/base has 4" in done.stderr


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_stage_once_and_is_waited_for(tree, signum):
    runner = subprocess.Popen(
        [sys.executable, "scripts/run_chain.py", "--size=tiny"],
        cwd=tree,
        env={**os.environ, "WAIT": "300"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 300
        while not (tree / "calls").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(runner.pid, signum)  # as a terminal does: to the whole foreground group
        _, message = runner.communicate(timeout=300)
    finally:
        if runner.poll() is None:
            runner.kill()
            runner.wait()
    assert runner.returncode == 75
    assert "preempted; run the same command again" in message
    assert json.loads((tree / "signals").read_text()) == [signum]
    assert trained(tree) == ["base"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--stages=v9"],
            "configs/v9.py does not exist; configs has adapt.py",
        ),
        (["--size=huge"], "'huge' is neither a size (tiny, 150m, 350m, 750m)"),
        (["--config.workdir=x"], "--runs_dir"),
        (["--confg.seed=1"], "wanted --config.KEY=VALUE"),
        (["--config=configs/v8.py"], "wanted --config.KEY=VALUE"),
        (["--config.seed=many"], "seed is 'many', wanted a whole number"),
        (["--config.optim.peak_lr=-1"], "optim.peak_lr is -1.0, wanted a positive number"),
        (["--config.learning_rate=1"], "did you mean --config.optim.peak_lr?"),
        (["--learning_rate=1"], "did you mean --config.optim.peak_lr?"),
        (["--stages=common"], "configs/common.py"),
        (["--stages=orphan"], "runs/750m/nothing, which is not a finished run"),
        (["--stages=broken"], "configs/broken.py:750m"),
        (["--stages=circle"], "start from each other"),
        (["--stages="], "--stages is empty"),
        (["--size="], "--size is empty"),
        (["--stages=base,adapt", "--config.objective.max_forgetting=0"], "leave it out for no li"),
        (
            ["--stages=adapt", "--config.adapter.rank=4", "--config.adapter.matrices=x"],
            "wanted qkv",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tree, arguments, words):
    (tree / "configs/orphan.py").write_text(
        MINE.replace('"mine"', '"orphan"').replace("PARENT", "nothing")
    )
    (tree / "configs/broken.py").write_text("def get_config(:\n")
    circle = MINE.replace('"mine"', '"circle"').replace("PARENT", "circle")
    (tree / "configs/circle.py").write_text(circle)
    done = chain(tree, *arguments)
    assert done.returncode == 2
    assert words in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert trained(tree) == [] and not (tree / "runs").exists()
