"""A command line of the original is answered with one of ours that can be typed as it stands."""

import re
import shlex
from pathlib import Path

import pytest

from mypt_jax.schema import original, overrides

ROOT = Path(__file__).resolve().parents[2]
ADAPT = "--config configs/pretrain/750M_1024_domain_adapt.json --dataset_dir data"


def answered(line: str) -> str:
    found = original.answer(shlex.split(line))
    return found.partition("here it is: ")[2].partition("; without ")[0]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (
            "--config configs/pretrain/750M_1024_reasoning.json "
            "--dataset_dir data/multilingual_1.5B_wiki90 --model_name base_750M",
            "--config=configs/base.py '--config.data.domain=()' --config.workdir=runs/750m/base",
        ),
        (
            f"{ADAPT}/domain_mixed_30pct --init_from_model checkpoints/base_750M "
            "--model_name domain_v3 --learning_rate 3e-5 --max_iters 45000",
            "--config=configs/v3.py --config.data.mixture=data/domain_mixed_30pct "
            "--config.init_from=runs/750m/base --config.workdir=runs/750m/v3 "
            "--config.optim.peak_lr=3e-5 --config.num_steps=45000",
        ),
        (
            f"{ADAPT}/domain_mixed_20pct --init_from_model checkpoints/domain_v7 "
            "--model_name domain_v8 --learning_rate 9e-5 --max_iters 19000",
            "--config=configs/v8.py --config.data.mixture=data/domain_mixed_20pct "
            "--config.init_from=runs/750m/v7 --config.workdir=runs/750m/v8 "
            "--config.optim.peak_lr=9e-5 --config.num_steps=19000",
        ),
    ],
)
def test_the_guides_commands(theirs, ours):
    assert answered(theirs) == f"python -m mypt_jax.main {ours}"


def table() -> list[tuple[str, str]]:
    """(flags of the original with values, what stands here) of docs/guide.md."""
    text = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    return re.findall(r"^\| (`--[^|]*) \| ([^|]*) \|", text, re.M)


@pytest.mark.parametrize(("theirs", "ours"), table())
def test_every_flag_of_the_table_is_answered_as_it_says(theirs, ours):
    words = shlex.split(theirs.replace("`", "").replace(",", ""))
    flags = [word.removeprefix("--") for word in words if word.startswith("--")]
    if len(flags) > 1:  # one row for several, without values
        words = [f"--{flag}=7" if flag != "use_amp" else f"--{flag}" for flag in flags]
    line = shlex.join(["--model_name", "domain_v5", *words])
    given = overrides.read(shlex.split(answered(line))[3:])
    assert given.spec.startswith("configs/") and not given.rest
    if ours.startswith("none"):
        assert f"; without --{flags[0]} (" in original.answer(shlex.split(line))
    elif flags != ["config"]:
        keys = set(re.findall(r"--config\.([a-z_.]+)", ours))
        of_group = {f"model.{flag}" for flag in flags}
        assert given.overridden - {"workdir"} <= keys | of_group
        assert given.overridden & (keys | of_group)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--config=configs/v8.py:tiny",
        "--config configs/v3.py --batch_size=3",
        "--help",
        "--config=configs/v8.py:tiny --learning_rate=1e-4",  # a slip: v8 is what was meant
        "--config configs/v5.py --max_iters 4",
    ],
)
def test_a_command_line_of_ours_is_not_answered(line):
    assert original.answer(shlex.split(line)) == ""


def test_what_has_no_name_here_is_said():
    said = original.answer(
        ["--model_name=mine", "--init_from_model=x", "--top_p=1", "--eval_seed=1"]
    )
    assert (
        "--config=configs/v3.py --config.workdir=runs/750m/mine --config.init_from=runs/750m/x"
        in said
    )
    assert said.endswith(
        "; without --top_p, --eval_seed (evaluation windows are a fixed list, the same for every "
        "stage)"
    )
