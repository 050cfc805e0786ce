"""mypt adapt: what it chooses for a corpus, what it refuses, and a whole way on a small base."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, SMALL, build_dataset, documents, train
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.errors import UserError
from mypt_jax.adapt import choices, closing, command, place
from mypt_jax.runs import evaluations, layout
from mypt_jax.schema import overrides
from tests import run_factory


@given(
    st.integers(1, 10**10),
    st.sampled_from([64, 128, 1024]),
    st.sampled_from([4, 12, 16, 96]),
    st.floats(0.5, 5),
)
def test_the_stage_reads_the_corpus_as_often_as_is_asked(tokens, block_size, batch_size, epochs):
    chosen = choices.choose(
        choices.Corpus(tokens, tokens // 9),
        block_size=block_size,
        batch_size=batch_size,
        replay_ratio=0.2,
        epochs=epochs,
    )
    per_update = chosen.batch_size * block_size
    read = 0.8 * chosen.num_steps * per_update
    assert abs(read - epochs * tokens) <= 0.8 * per_update
    assert batch_size >= chosen.batch_size >= min(4, batch_size)
    assert chosen.num_steps >= 100 or chosen.batch_size < 8
    assert 1 <= chosen.every_steps <= chosen.num_steps
    replayed = chosen.replay_tokens(block_size, 0.2)
    assert replayed == pytest.approx(0.2 * chosen.num_steps * per_update, abs=1)


@pytest.mark.parametrize(
    "corpus, epochs, said",
    [
        (choices.Corpus(5_000, 10_000), 2, "5,000 tokens are little"),
        (choices.Corpus(10**6, 100), 2, "100 held-out tokens are 0 windows"),
        (choices.Corpus(10**6, 10**5), 7, "learned by heart"),
        (choices.Corpus(10**6, 10**5), 2, ""),
    ],
)
def test_what_a_result_cannot_say_is_said_before(corpus, epochs, said):
    how = {"block_size": 128, "batch_size": 16, "replay_ratio": 0.2}
    warnings = choices.choose(corpus, epochs=epochs, **how).warnings
    assert bool(warnings) == bool(said) and said in " ".join(warnings)
    assert "are read 10 times" in choices.replay_warning(choices.Corpus(100, 9), 1000)
    assert not choices.replay_warning(choices.Corpus(1000, 9), 1000)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--base=nothing"], "wanted a finished run, or the folder"),
        (["--base=runs/tiny/base"], "make it with: python -m mypt_jax.main --config=configs/base"),
        (["--base=../begun"], "is a run that has not finished"),
        (["--base=../base", "--out_dir="], "argument --out_dir: it is empty"),
        (["--base=../base", "--text="], "argument --text: it is empty"),
        (["--base=../base", "--out_dir=../base"], "is a run: name a new directory"),
        (["--base=../base", "--text=..", "--out_dir=out"], "lies in --text=.., and what is"),
        (["--base=../base", "--text=../folder", "--out_dir=../folder/"], "lies in --text="),
        (["--base=../base", "--general=..", "--out_dir=a/b"], "lies in --general="),
        (["--base=../base", "--text=../folder", "--general=../folder"], "are both ../folder"),
        (["--base=../base", "--config.model.n_layer=8"], "a stage keeps its parent's architecture"),
        (["--base=../base", "--config.data.tokenizer=gpt2"], "it is the base's"),
        (["--base=nothing", "--limit=0"], "above 0 and below 1"),
        (["--base=nothing", "--limit=12x"], "such as 1% or 0.01"),
        (["--base=nothing", "--epochs=0"], "2 to 5 is good"),
        (["--base=nothing", "--config.num_steps=4"], "is chosen here"),
        (["--base=nothing", "-config.num_steps=4"], "is chosen here"),
        (["--base=nothing", "--config.data.general=x"], "bring general text as --general=FOLDER"),
        (["--base=nothing", "--config.data.domain", "x"], "bring the texts as --text=FOLDER"),
        (["--base=nothing", "--config.objective.max_forgetting=0.1"], "--limit=1% says it"),
        (["--base=../base", "--config.data.replay_ratio=0"], "give replay a share"),
        (["--base=../folder", "--config.data.replay_ratio=0"], "give replay a share"),
        (["--base=../base", "--limit=1%", "--config.objective.replay=ce"], "set objective.replay="),
        (["--base=../base", "--limit=1%", "--config.objective.limit_on=general"], "--general=FO"),
        (["--base=../base", "--limit=1%", "--config.objective.limit_on=drift"], "eval.drift=alw"),
        (["--base=nothing", "--flagfile=../flags"], "config.workdir is chosen here"),
        (["--base=nothing", "--epochs=inf"], "2 to 5 is good"),
        (["--base=../base", "--config.data.replay_ratio=1"], "nothing would be learned"),
        (["--base=../base", "--config.data.replay_ratio=1.5"], "a share, not %"),
        (["--base=../base", "--config.batch_size=0"], "batch_size is 0"),
        (["--base=../base", "--config.optim.peek_lr=1"], "did you mean --config.optim.peak_lr"),
        (["--base=../folder", "--config.optim.peek_lr=1"], "did you mean --config.optim.peak_lr"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(arguments, said, tmp_path, monkeypatch):
    run_factory.write_run(tmp_path, "base", parent=None, start=(6.0, 5.0), final=(5.0, 5.1))
    begun = run_factory.write_run(
        tmp_path, "begun", parent=None, start=(9, 9), final=(8, 8), finished=False
    )
    assert not (begun / "checkpoints").exists()  # nothing was saved yet
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/config.json").write_text("{}")  # of a model to be imported
    (tmp_path / "flags").write_text("--config.workdir=elsewhere\n")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UserError, match=re.escape(said)):
        command.main(["--text=texts", "--out_dir=out", *arguments])
    assert not [*(tmp_path / "here").iterdir()]


def test_a_length_that_no_run_has_is_bad_input():
    with pytest.raises(UserError, match="1e\\+300 epochs would take"):
        choices.choose(
            choices.Corpus(1000, 100), block_size=8, batch_size=4, replay_ratio=0.2, epochs=1e300
        )


def make_datasets(out, *roles):
    for role in roles:
        os.makedirs(f"{out}/data/{role}")
        with open(f"{out}/data/{role}/manifest.json", "w") as file:
            file.write("{}")


def test_a_slip_of_which_nothing_was_made_may_be_corrected(tmp_path, monkeypatch):
    """The import that came before it is kept, and taken for no other base."""
    monkeypatch.chdir(tmp_path)
    asked = {"base": "gpt2", "text": "typo", "general": "typo"}
    os.makedirs("out/base")
    place.Place("out").claim(asked)
    asked["text"] = "texts"
    place.Place("out").check(asked)
    with pytest.raises(UserError, match="out was begun with --base="):
        place.Place("out").check(asked | {"base": "gpt2-large"})
    make_datasets("out", "domain")
    place.Place("out").claim(asked)
    for general in ("wiki", ""):
        place.Place("out").check(asked | {"general": general})
    with pytest.raises(UserError, match="out was begun with --text="):
        place.Place("out").check(asked | {"text": "typo"})
    os.makedirs("moved")
    os.rename("out", "moved/out")
    monkeypatch.chdir(tmp_path / "moved")
    make_datasets("out", "general")
    place.Place("out").claim(asked | {"general": "wiki"})
    place.Place("out").check(asked | {"general": "wiki"})
    with pytest.raises(UserError, match="out was begun with --general="):
        place.Place("out").check(asked)


def test_what_an_earlier_start_made_of_other_texts_is_not_taken(tmp_path, monkeypatch):
    """Else the second folder would be ignored without a word."""
    monkeypatch.chdir(tmp_path)
    asked = {"base": "runs/base", "text": "texts", "general": ""}
    place.Place("out").check(asked)
    make_datasets("out", "domain", "samples")
    place.Place("out").claim(asked)
    place.Place("out").check(asked | {"text": str(tmp_path / "texts")})
    for name, other, said in (
        ("text", "texts2", f"with --text={tmp_path}/texts, not {tmp_path}/texts2"),
        ("base", "runs/v3", f"with --base={tmp_path}/runs/base, not {tmp_path}/runs/v3"),
        ("general", "wiki", f"without --general, not {tmp_path}/wiki"),
    ):
        with pytest.raises(UserError, match=f"out was begun {said}: name another --out_dir"):
            place.Place("out").check(asked | {name: other})
    os.makedirs("moved")
    os.rename("out", "moved/out")
    monkeypatch.chdir(tmp_path / "moved")  # with its texts and its base, from where it looks
    place.Place("out").check(asked)


def test_a_start_that_made_nothing_leaves_nothing(tmp_path, monkeypatch):
    """Texts that cannot be read end in the line of mypt prepare."""
    base = run_factory.write_run(tmp_path, "base", parent=None, start=(6.0, 5.0), final=(5.0, 5.1))
    line = [f"--base={base}", f"--text={tmp_path}/texts", f"--out_dir={tmp_path}/out"]
    codes = iter([2, 0])

    def runs(line):
        os.makedirs(tmp_path / "out/data", exist_ok=True)
        code = next(codes)
        if not code:
            os.makedirs(tmp_path / "out/data/domain")
        return code

    monkeypatch.setattr(command.process, "run", runs)
    with pytest.raises(command.StepFailed):
        command.main(line)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError):  # the stand-in makes no dataset
        command.main(line)
    assert sorted(os.listdir(tmp_path / "out")) == ["adapt.json", "data"]


@pytest.mark.parametrize(
    ("kept", "typed", "begun_with", "want"),
    [
        (True, [], "", "parent"),
        (False, [], "", "fresh"),
        (True, ["--config.optim.moments=fresh"], "", "fresh"),
        (True, ["--config.optim.optimizer=lion"], "", "fresh"),
        (True, ["--config.adapter.rank=4"], "", "fresh"),
        (False, [], "parent", "parent"),  # the base has dropped them since
        (True, [], "fresh", "fresh"),
    ],
)
def test_a_base_that_kept_its_optimizer_gives_it(kept, typed, begun_with, want, monkeypatch):
    values = overrides.read(["--config=configs/base.py:tiny"]).config
    values["optim"]["moments"] = begun_with or "fresh"
    monkeypatch.setattr(layout, "resolve_step", lambda spec: (spec, 9))
    monkeypatch.setattr(layout, "has_optimizer", lambda path, step: kept)
    monkeypatch.setattr(layout, "steps", lambda path: [4] if begun_with and path == "run" else [])
    monkeypatch.setattr(command.recorded, "config", lambda path: values)
    given = overrides.read(["--config=configs/adapt.py:tiny", *typed])
    assert command._moments(given, "base", "run") == want


@pytest.mark.full  # seven processes
@pytest.mark.parametrize("has_general", [True, False])
def test_from_a_folder_to_a_model(has_general, datasets, compile_cache, tmp_path):
    small = {**SMALL, "data.domain": datasets["domain"], "compile_cache": compile_cache}
    base = {**small, "data.general": datasets["general"], "num_steps": 6}
    base["checkpoint.keep_optimizer"] = has_general
    assert train("base", {**base, "workdir": tmp_path / "base"}).returncode == 0
    for role in ("text", "general"):
        (tmp_path / role).mkdir()
        for one in documents(role, 60, 0):
            (tmp_path / role / f"{one.id}.md").write_text(f"# A title\n\n{one.text}")
    kept = {key: value for key, value in SMALL.items() if key.startswith(("eval.w", "eval.m"))}
    flags = [f"--config.{key}={value}" for key, value in kept.items()]
    line = [sys.executable, "-m", "mypt_jax", "adapt", f"--base={tmp_path}/base", "--epochs=0.5"]
    line += [f"--text={tmp_path}/text", f"--out_dir={tmp_path}/out", "--limit=50%", *flags]
    line += [f"--general={tmp_path}/general"] if has_general else []
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert layout.finished(str(tmp_path / "out" / "adapted"))["step"] > 0
    moments = layout.config(str(tmp_path / "out" / "adapted"))["optim"]["moments"]
    assert moments == ("parent" if has_general else "fresh")
    assert ("the base kept its optimizer" in done.stdout) == has_general
    assert "it picks the right continuation, by chance in 25 %: of your texts in" in done.stdout
    assert f"mypt export {tmp_path}/out/adapted FOLDER" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert ("that is what was forgotten" if has_general else "Forgetting unknown") in last
    again = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert again.returncode == 0 and again.stdout.splitlines()[-1] == last, again.stderr
    assert "$ mypt prepare" not in again.stdout and "nothing to do" in again.stdout


def test_what_one_document_was_measured_on_has_no_error_and_none_no_figure(tmp_path):
    run = run_factory.write_run(
        tmp_path, "adapt", parent="base", start=(6.0, 5.0), final=(5.0, 5.1)
    )
    ends = {"domain/d": [5.0], "report/domain/d": [5.0], "general/w": [5.1, 5.2]}
    run_factory.write_evaluation(run, 20, ends)
    base = {"domain/d": run_factory.measured([6.0], "domain/d")}
    base |= {"report/domain/d": run_factory.measured([6.0], "report/domain/d")}
    evaluations.write(layout.baseline_file(str(run)), base)
    said = closing._last(str(run), has_general=True)
    assert "domain loss -1.000 nats/token (-16.7 %). Forgetting unknown: not measured: " in said
    assert "nothing was chosen on (general: on all held-out text" in said
    assert "nan" not in said and "that is what was forgotten" not in said


def test_a_limit_that_holds_only_where_it_was_chosen_is_said(tmp_path):
    run = run_factory.write_run(tmp_path, "adapt", parent="base", start=(6, 5), final=(5, 5.1))
    record = json.loads((run / "lineage.json").read_text())
    for kept, is_over in ((5.2, True), (5.04, False)):
        ends = {"domain/d": [5.0], "general/w": [5.04], "report/general/w": [kept]}
        run_factory.write_evaluation(run, 20, ends)
        base = {"domain/d": [6.0], "general/w": [5.0], "report/general/w": [5.0]}
        evaluations.write(
            layout.baseline_file(str(run)),
            {key: run_factory.measured(loss, key) for key, loss in base.items()},
        )
        held = {"budget": 0.01, "on": "general", "found": 0.008, "share": 0.5, "weight": 3.0}
        (run / "lineage.json").write_text(json.dumps(record | {"limit": held}))
        said = closing._last(str(run), has_general=True)
        assert ("a limit of 1 % that holds on the half" in said) == is_over, said
        assert not is_over or "(+0.8 %)" in said


def test_a_share_of_few_passages_is_said_to_be(monkeypatch):
    class Scorer:
        def __init__(self, run, batch_size):
            self.right = {"run": 0.75, "base": 0.5}[run]

        def score_tasks(self, data, most):
            if data == "short":
                return {"a": {}}
            asked = evaluations.Source(
                {"right": self.right * np.full(4, 2.0)}, *[np.full(4, 2)] * 2, np.zeros(0), ""
            )
            return {name: {"choice": asked} for name in (["a"] if data == "few" else range(9))}

    monkeypatch.setattr(closing.scorer, "Scorer", Scorer)
    assert closing._chosen("base", "run", "few") == (
        "in 75% of 8 passages, too few to tell, base 50%"
    )
    assert closing._chosen("base", "run", "many") == "in 75% of 72 passages, base 50%"
    assert closing._chosen("base", "run", "short").startswith("unknown")


def test_a_base_that_was_moved_has_its_own_tokenizer(tmp_path, monkeypatch):
    """And data that are there already are not taken for masked."""
    base = run_factory.write_run(tmp_path, "base", parent=None, start=(6.0, 5.0), final=(5.0, 5.1))
    config = json.loads((base / "config.json").read_text())
    config["data"]["tokenizer"] = "hf:where/it/was"
    (base / "config.json").write_text(json.dumps(config))
    (base / "tokenizer").mkdir()
    (base / "tokenizer/tokenizer.json").write_text("{}")
    ran = []
    monkeypatch.setattr(command.process, "run", lambda line: ran.append(line) or 9)
    flags = [f"--base={base}", f"--text={tmp_path}/texts", f"--out_dir={tmp_path}/out"]
    with pytest.raises(command.StepFailed):
        command.main([*flags, "--sensitive=count"])
    assert f"--tokenizer=hf:{base}/tokenizer" in ran[0] and "--sensitive=count" in ran[0]
    build_dataset(tmp_path / "out/data/domain", {"domain": 30})
    with pytest.raises(UserError, match="was prepared without --sensitive=mask"):
        command.main([*flags, "--sensitive=mask"])
