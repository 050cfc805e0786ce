"""Bad input: one line that says what was got and what is wanted, before anything is written."""

import json
import math

import pytest
from conftest import SMALL, build_dataset

from configs import base, v3
from data_pipeline.errors import UserError
from mypt_jax.runs import lineage
from mypt_jax.schema import duration, stage_data, validation
from tests import run_factory


def settings(datasets, tmp_path, stage=base, **overrides):
    """A stage's config on the small datasets, with {dotted key: value} overrides."""
    made = stage.get_config("tiny").to_dict()
    changes = {
        **SMALL,
        "data.domain": (datasets["domain"],),
        "data.general": (datasets["general"],),
        "workdir": str(tmp_path / "run"),
        **{key.replace("__", "."): value for key, value in overrides.items()},
    }
    for key, value in changes.items():
        *path, leaf = key.split(".")
        node = made
        for name in path:
            node = node[name]
        assert leaf in node, key
        node[leaf] = value
    return made


@pytest.fixture
def make(datasets, tmp_path):
    def made(stage=base, **overrides):
        return settings(datasets, tmp_path, stage, **overrides)

    return made


BAD = [
    (dict(optim__peak_lr=math.nan), "optim.peak_lr is nan"),
    (dict(data__domain_weights=(math.inf,)), "data.domain_weights"),
    (dict(data__replay_ratio=1.5), "data.replay_ratio is 1.5"),
    (dict(data__replay_ratio=-0.1), "data.replay_ratio is -0.1"),
    (dict(model__n_head=3), "not divisible by model.n_head 3"),
    (dict(model__n_kv_head=4), "not divisible by model.n_kv_head 4"),
    (dict(model__rope_scaling=(1.0, 2.0)), "wanted (), (factor,) or (factor, low, high"),
    (dict(model__rope_scaling=(0.0,)), "model.rope_scaling is (0.0,)"),
    (dict(optim__warmup_steps=13), "longer than the run"),
    (dict(optim__warmup_steps=1.5), "whole steps or a share below 1"),
    (dict(num_steps=0), "num_steps is 0"),
    (dict(profile__start_step=12, profile__num_steps=1), "not before the end of the run"),
    (dict(batch_size=-1), "batch_size is -1"),
    (dict(accumulation_steps=3), "not divisible by accumulation_steps"),
    (dict(model__dropout=1.0), "model.dropout is 1.0"),
    (dict(model__mlp="gatd"), "did you mean gated"),
    (dict(optim__schedule="linear"), "constant | cosine | wsd"),
    (dict(data__domain=("data/nowhere",)), "data/nowhere"),
    (dict(data__domain_weights=(-1,)), "data.domain_weights"),
    (dict(data__domain_weights=(0,)), "data.domain_weights"),
    (dict(data__general_weights=(1, 2)), "2 numbers"),
    (dict(data__tokenizer="gpt2", model__vocab_size=50_304), "was made with tokenizer gpt2-4096"),
    (dict(model__vocab_size=1000), "model.vocab_size 1000 is smaller"),
    (dict(eval__extra=("data/x",)), "wanted domain=DIR or general=DIR"),
    (dict(workdir=""), "workdir is empty"),
    (dict(workdir="runs/x@7"), "workdir runs/x@7 reads as step 7 of runs/x"),
    (dict(init_from="runs/nowhere/base"), "make it with: python -m mypt_jax.main"),
    (dict(init_from="runs/x@newest"), "step number or the word best"),
    (dict(domain_epochs=2.0), "trains on no domain text"),
    (dict(optim__eps=1e-300), "optim.eps is 1e-300, which is 0 in float32"),
    (dict(optim__peak_lr=1e300), "optim.peak_lr is 1e+300, which is inf in float32"),
    (dict(optim__beta1=0.9999999999999), "which is 1 in float32"),
    (dict(optim__clip_norm=1e-40), "optim.clip_norm"),
    (dict(seed=2**32), "seed is 4294967296, wanted less than 2**32"),
    (dict(data__domain=(1, 2)), "data.domain is (1, 2), wanted paths"),
    (dict(eval__extra=(1,)), "eval.extra is (1,), wanted paths"),
    (dict(data__domain_weights=("a",)), "data.domain_weights is ('a',), wanted numbers"),
    (dict(domain_epochs=1e305, data__replay_ratio=0.5), "domain_epochs 1e+305 would take"),
    (dict(model__loss_chunks=33), "more than the 32 positions"),
    (dict(optim__final_lr_ratio=-0.5), "optim.final_lr_ratio"),
    (dict(optim__decay_ratio=0.0), "optim.decay_ratio"),
    (
        dict(optim__schedule="wsd", optim__decay_ratio=0.9, optim__warmup_steps=3.0),
        "optim.decay_ratio 0.9 begins before the warmup of 3 of 12 steps has ended; wanted at most",
    ),
    (dict(distributed__process_id=-2), "distributed.process_id is -2"),
]


@pytest.mark.parametrize(("overrides", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_values_are_refused_in_one_line(make, tmp_path, overrides, message):
    with pytest.raises(UserError) as error:
        validation.validate(make(**overrides))
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_file_where_the_workdir_should_be(make, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file, wanted a directory"):
        validation.validate(make(workdir=str(tmp_path / "file" / "run")))


def test_one_source_of_a_dataset_by_name(make, datasets):
    found = validation.validate(
        make(data__domain=(f"{datasets['domain']}#laws",), data__replay_ratio=0.5)
    )
    assert [part.key for part in found.mixture.components] == [
        "domain/laws",
        "general/encyclopedia",
    ]
    with pytest.raises(UserError, match="no source 'law'; it has"):
        validation.validate(make(data__domain=(f"{datasets['domain']}#law",)))


@pytest.mark.parametrize(
    ("directory", "script"),
    [("data/demo/nowhere", "mypt_jax demo"), ("data/mine", "mypt_jax prepare")],
)
def test_a_missing_dataset_names_the_command_that_makes_it(make, directory, script):
    with pytest.raises(UserError, match=f"there is no {directory}.*{script}"):
        validation.validate(make(data__domain=(directory,)))


def test_the_resolved_numbers_are_told(make):
    notes = validation.validate(make(optim__warmup_steps=0.25)).notes
    line = "base from scratch: 12 steps of 8 x 32 tokens, peak_lr 0.001 (constant, warmup 3 steps)"
    assert any(note.startswith(line) for note in notes), notes


def test_domain_epochs_set_the_length(make, datasets):
    found = validation.validate(make(domain_epochs=2.0, data__replay_ratio=0.2))
    tokens = stage_data.domain_tokens(found.mixture)
    trained = 0.8 * found.config["num_steps"] * 8 * 32
    assert trained == pytest.approx(2 * tokens, rel=0.01)
    with pytest.raises(UserError, match="both given"):
        validation.validate(make(domain_epochs=2.0), overridden={"num_steps", "domain_epochs"})


def test_warmup_and_evaluation_follow_the_length_unless_given(make):
    """Both were left at those of the stage file: 53 steps with 48 of warmup, no evaluation."""
    before, values = make(), dict(domain_epochs=2.0, data__replay_ratio=0.2)
    found = validation.validate(make(**values)).config
    factor = found["num_steps"] / before["num_steps"]
    assert factor > 2
    assert found["eval"]["every_steps"] == round(before["eval"]["every_steps"] * factor)
    assert found["optim"]["warmup_steps"] == round(before["optim"]["warmup_steps"] * factor)
    given = {"optim.warmup_steps", "eval.every_steps"}
    kept = validation.validate(make(**values), overridden=given).config
    assert kept["eval"]["every_steps"] == before["eval"]["every_steps"]
    assert kept["optim"]["warmup_steps"] == before["optim"]["warmup_steps"]


@pytest.mark.parametrize(
    "role, epochs, said",
    [
        ("domain", 0.2, "not all of it is read"),
        ("domain", 3.0, "(2 to 5 is good)"),
        ("domain", 6.0, "warning: x: above 5"),
        ("domain", 11.0, "memorisation"),
        ("general", 0.1, "x"),
        ("general", 203.0, "warning: x: replayed until it is known by heart"),
    ],
)
def test_how_often_text_is_read_is_judged(role, epochs, said):
    assert said in duration.judged("x", role, epochs)


def test_warmup_below_one_is_a_share(make):
    assert validation.validate(make(optim__warmup_steps=0.25)).config["optim"]["warmup_steps"] == 3


def test_coverage_warns_above_five_and_ten_epochs(make):
    for steps, word in ((3, ""), (6, "above 5"), (11, "memorisation")):
        one_epoch = validation.validate(make(domain_epochs=1.0, data__replay_ratio=0.0))
        steps *= one_epoch.config["num_steps"]
        found = validation.validate(make(num_steps=steps, data__replay_ratio=0.0))
        warnings = [note for note in found.notes if note.startswith("warning")]
        assert all(word in note for note in warnings) and bool(warnings) == bool(word)


def test_a_document_in_train_and_val_is_found(make, tmp_path):
    """The domain's own text as an evaluation set that puts more documents into val."""
    again = build_dataset(tmp_path / "again", {"manuals": 120}, val_fraction=0.5)
    (again / "manuals").rename(again / "copies")
    manifest = again / "manifest.json"
    manifest.write_text(manifest.read_text().replace("manuals", "copies"))
    with pytest.raises(UserError, match="are also in the train split of domain/manuals"):
        validation.validate(make(eval__extra=(f"domain={again}",), data__replay_ratio=0.5))


def test_text_that_is_trained_on_is_not_elsewhere(make, datasets):
    with pytest.raises(UserError, match="which is trained on as general/encyclopedia"):
        validation.validate(make(data__elsewhere=(datasets["general"],)))
    found = validation.validate(make(data__elsewhere=(datasets["domain"],), data__domain=()))
    assert {one.key for one in found.elsewhere} == {"elsewhere/manuals", "elsewhere/laws"}
    assert not [one for one in found.elsewhere if one.share]


def finished_run(path, made, *, tokenizer_sha256, step=12):
    path.mkdir()
    (path / "config.json").write_text(json.dumps(made))
    tokenizer = {"name": "gpt2-4096", "sha256": tokenizer_sha256}
    record = lineage.new(config=made, run_id="r", created="", data={}, tokenizer=tokenizer)
    (path / "lineage.json").write_text(json.dumps(record))
    if step is not None:
        (path / "finished.json").write_text(json.dumps({"step": step, "params_sha256": ""}))


def test_the_parent_must_be_finished_and_of_the_same_shape(make, tmp_path):
    own = validation.validate(make()).tokenizer.sha256
    shape = make()
    finished_run(tmp_path / "good", shape, tokenizer_sha256=own)
    found = validation.validate(make(v3, init_from=str(tmp_path / "good")))
    assert (found.parent.path, found.parent.step) == (str(tmp_path / "good"), 12)

    finished_run(tmp_path / "open", shape, tokenizer_sha256=own, step=None)
    with pytest.raises(UserError, match="is not finished"):
        validation.validate(make(v3, init_from=str(tmp_path / "open")))

    finished_run(tmp_path / "wide", make(model__n_embd=128), tokenizer_sha256=own)
    with pytest.raises(UserError, match="model.n_embd is 64, but the parent"):
        validation.validate(make(v3, init_from=str(tmp_path / "wide")))

    older = make()
    del older["model"]["n_kv_head"], older["model"]["rope_scaling"]
    finished_run(tmp_path / "older", older, tokenizer_sha256=own)
    validation.validate(make(v3, init_from=str(tmp_path / "older")))
    with pytest.raises(UserError, match=r"\(--config.model.n_kv_head=0\)"):
        validation.validate(make(v3, init_from=str(tmp_path / "older"), model__n_kv_head=1))

    finished_run(tmp_path / "foreign", shape, tokenizer_sha256="0" * 64)
    with pytest.raises(UserError, match="was trained with tokenizer"):
        validation.validate(make(v3, init_from=str(tmp_path / "foreign")))


def test_a_run_keeps_its_parent(make, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps({"init_from": "scratch"}))
    with pytest.raises(UserError, match="was started from scratch"):
        validation.validate(make(v3, init_from="runs/tiny/base"))


def test_low_replay_is_a_warning(make, tmp_path):
    own = validation.validate(make()).tokenizer.sha256
    finished_run(tmp_path / "base", make(), tokenizer_sha256=own)
    found = validation.validate(make(v3, init_from=str(tmp_path / "base"), data__replay_ratio=0.05))
    assert any("catastrophic forgetting" in note for note in found.notes)


def test_what_an_earlier_version_took_goes_on_by_the_command_that_began_it(make, tmp_path):
    """max_forgetting=0 was typed for no limit; who begins a run so now would train without one."""
    typed = {"overridden": {"objective.max_forgetting"}}
    begun = run_factory.write_run(tmp_path, "base", parent=None, start=(9, 9), final=(5, 5))
    config = make(workdir=str(begun))
    (begun / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="leave it out for no limit"):
        validation.validate(config, **typed)
    (begun / "checkpoints/00000006").mkdir(parents=True)
    assert validation.validate(config, **typed).config["objective"]["max_forgetting"] == 0
