"""The table of `mypt`: every command is there under its name, and its help costs nothing."""

import json
import re
import subprocess
import sys

import pytest
from conftest import ROOT

from data_pipeline import errors
from mypt_jax import cli

# Calls --help of every command in one process; what only an extra brings cannot be imported there.
HELP = """
import json, sys

sys.modules |= dict.fromkeys(json.loads(sys.argv[1]))
SLOW = "jax", "flax", "orbax", "grain", "scipy", "tensorflow_datasets"
from data_pipeline import errors
from mypt_jax import cli

for name in cli.COMMANDS:
    try:
        code = errors.run(lambda: cli.main([name, "--help"]))
    except SystemExit as end:
        code = end.code
    loaded = [one for one in SLOW if one in sys.modules]
    print("\\0" + json.dumps([name, code, loaded]), end="\\0", flush=True)
"""
SLIPS = """
import json, sys

from data_pipeline import errors
from mypt_jax import cli

for arguments in json.loads(sys.argv[1]):
    try:
        code = errors.run(lambda: cli.main(arguments))
    except SystemExit as end:
        code = end.code
    print(json.dumps([code, "jax" in sys.modules]), flush=True)
"""
# A third of what a training run imports, where it was imported whatever the device and the stage.
TRAINING = """
import json, sys

import mypt_jax.train.stage

unused = "scipy", "jax.experimental.pallas.tpu"
print(json.dumps([one for one in unused if one in sys.modules]))
"""
# What can be known to be wrong without a device; main twice, since it is checked in two places.
WRONG = (
    ("main", "--config=configs/v8.py:tiny", "--config.data.replay_ratio=2"),
    ("main", "--config=configs/v8.py:tiny", "--config.data.domain=nowhere"),
    ("plan", "--config=configs/v8.py:tiny", "--config.data.replay_ratio=2"),
    ("plan", "--config=configs/v8.py:tiny", "--topology=v9:2x2"),
    ("evaluate", "--run=nowhere", "--data=nowhere"),
    ("generate", "--run=nowhere"),
    ("merge", "nowhere", "nothing", "--out=merged"),
    ("merge", "a:0.5", "b:0.6", "--out=merged"),
    ("sample", "--run=nowhere", "--tokens=9", "--out_dir=sampled"),
    ("sweep", "--config=configs/v8.py:tiny", "--grid", "optim.peak_rl=1,2"),
    ("adapt", "--base=nowhere", "--text=nowhere", "--out_dir=adapted"),
    ("report", "nowhere"),
    ("export", "nowhere", "exported"),
    ("export", "nowhere"),
    ("interop.huggingface", "import", "nowhere", "imported"),
    ("interop.mypt", "import", "nowhere", "imported"),
    ("interop.mypt", "export", "nowhere", "exported"),
    ("interop.lm_eval", "--run=nowhere", "--tasks=x"),
    ("foretell", "nowhere"),
    ("runs", "nowhere"),
    ("stages", "--nothing"),
    ("frontier", "--base=nowhere", "--out_dir=compared"),
    ("first_light", "--size=huge"),
)
# Imported by the optional requirements files only.
EXTRA = ("cwe2", "defusedxml", "docutils", "gensim", "markdown_it", "mwparserfromhell", "plotly")
EXTRA += ("py3langid", "pyarrow", "ray", "tokenizers", "torch", "transformers", "wandb", "xxhash")


@pytest.fixture(scope="module")
def helps() -> dict[str, tuple[str, int, list[str]]]:
    """{command: (what it printed, exit code, slow packages imported so far)}."""
    command = [sys.executable, "-c", HELP, json.dumps(EXTRA)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    parts = done.stdout.split("\0")
    ends = [json.loads(end) for end in parts[1::2]]
    return {name: (text, *end) for text, (name, *end) in zip(parts[::2], ends, strict=False)}


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_has_an_example_and_waits_for_nothing(helps, name):
    shown, code, slow = helps[name]
    assert code == 0 and slow == []
    assert re.search(rf"^ *(mypt|python -m mypt_jax\.?) ?{name}( \S|$)", shown, re.M), shown
    # As it was called; the keys of main are shown by a text of its own.
    assert shown.startswith(f"usage: mypt {name}") or name == "main"


@pytest.fixture(scope="module")
def slips() -> list[tuple[int, bool, str]]:
    """(exit code, whether jax was imported by then, what was said) of each of WRONG."""
    command = [sys.executable, "-c", SLIPS, json.dumps(WRONG)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    return [(*end, said) for end, said in zip(ends, done.stderr.splitlines(), strict=True)]


@pytest.mark.parametrize("number", range(len(WRONG)), ids=[" ".join(one[:2]) for one in WRONG])
def test_a_slip_is_answered_before_jax_is_imported(slips, number):
    """It takes a second or more."""
    code, has_jax, said = slips[number]
    assert (code, has_jax) == (2, False), said
    assert said.startswith("error: ")


def test_the_table_is_shown_and_a_slip_named(capsys):
    assert cli.main(["--help"]) == cli.main([]) == 0
    shown = capsys.readouterr().out
    assert [name for name in cli.COMMANDS if f"\n  {name} " not in shown] == []
    with pytest.raises(errors.UserError, match="no command 'pln'; did you mean plan"):
        cli.main(["pln"])


@pytest.mark.parametrize("name", [n for n, c in cli.COMMANDS.items() if c.where[:4] == "mypt"])
def test_a_name_is_that_of_the_module_that_python_runs(name):
    """`mypt plan` is `python -m mypt_jax.plan`: a package with __main__.py, or a module."""
    module = cli.COMMANDS[name].where.partition(":")[0]
    # mypt_jax.runs is what lies in a run's directory; export is a half of a module.
    name = {"runs": "manage", "export": "interop.huggingface"}.get(name, name)
    assert module in (f"mypt_jax.{name}", f"mypt_jax.{name}.command")
    if module.endswith(".command"):
        text = (ROOT / "mypt_jax" / name / "__main__.py").read_text()
        assert f"from mypt_jax.{name} import command" in text
    else:
        text = (ROOT / f"{module.replace('.', '/')}.py").read_text()
        assert 'if __name__ == "__main__":' in text


def test_commands_have_the_names_of_their_scripts():
    """The guide's script is a caller of the function in the table."""
    scripts = {"run_chain": "chain", "prepare_weighted_dataset": "prepare", "prepare_demo": "demo"}
    scripts |= {"append_to_dataset": "append", "mix_tokenized_datasets": "mix"}
    scripts |= {"inspect_dataset": "inspect", "check_contamination": "contamination"}
    scripts |= {"export_tfds": "export_tfds", "first_light": "first_light"}
    for script, name in scripts.items():
        text = (ROOT / "scripts" / f"{script}.py").read_text()
        module = cli.COMMANDS[name].where.partition(":")[0]
        assert re.search(rf"^from {module.rpartition('.')[0]}\S* import ", text, re.M), script
        assert f"`mypt {name}`" in text and len(text.splitlines()) < 22


def test_a_training_run_starts_without_what_only_some_use():
    """scipy foretells, at evaluations of a child; Pallas is for TPUs."""
    done = subprocess.run(
        [sys.executable, "-c", TRAINING], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
