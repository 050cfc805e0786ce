"""Sampling: cache against no cache, the choice of the next token, and the command."""

import json

import jax
import jax.numpy as jnp
import model_factory as factory
import numpy as np
import pytest
from flax import nnx
from model_factory import quick  # noqa: F401

from data_pipeline import errors
from data_pipeline.tokens import tokenizer
from mypt_jax import continuation, generate
from mypt_jax.checkpoint import save
from mypt_jax.model import sampling
from mypt_jax.runs import layout, lineage
from tests import run_factory

EOT = 96
GREEDY = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0}
PROMPTS = [[3, 1, 4, 1, 5, 9, 2, 6], [7], [2, 7, 1, 8, 2]]


def generator(seed=0, **changes):
    gpt = factory.randomized(seed, **{"block_size": 32, **changes})
    return sampling.Generator(gpt, eot=EOT, vocab_size=97)


def new_tokens(made, **changes):
    settings = {"max_new_tokens": 20, "seed": 0, "prompts": PROMPTS, **changes}
    chosen = {k: settings.pop(k, v) for k, v in GREEDY.items()}
    how = sampling.Sampling(**chosen)
    return made.generate(settings.pop("prompts"), sampling=how, **settings).tokens


@pytest.mark.parametrize(
    "changes", [{}, factory.LLAMA, {"n_kv_head": 1, "tied_embeddings": True, "head_bias": False}]
)
def test_logits_with_cache_equal_those_without(changes):
    """Prompts of unequal length in one batch, then token by token."""
    gpt = factory.randomized(**changes)
    rows = factory.tokens((3, 12))
    want = factory.logits(gpt, rows)
    lengths = np.array([7, 1, 4])
    padded = np.where(np.arange(7) < lengths[:, None], rows[:, :7], 0)
    step = jax.jit(lambda m, t, s, c: m.decode_step(t, s, c))
    hidden, cache = step(gpt, padded, np.zeros(3, np.int32), gpt.init_cache(3, 12))
    head = jax.jit(lambda m, h: m.logits(h))
    got = head(gpt, hidden)
    for row, length in enumerate(lengths):
        np.testing.assert_allclose(got[row, :length], want[row, :length], atol=2e-5)
    for ahead in range(5):
        at = lengths + ahead
        hidden, cache = step(gpt, rows[np.arange(3), at][:, None], at.astype(np.int32), cache)
        got = head(gpt, hidden)[:, 0]
        np.testing.assert_allclose(got, want[np.arange(3), at], atol=2e-5)


def test_greedy_continuation_with_and_without_cache():
    made = generator()
    with_cache = new_tokens(made)
    assert with_cache == new_tokens(made, use_cache=False)
    assert all(with_cache)
    for prompt, tokens in zip(PROMPTS, with_cache, strict=True):
        row = list(prompt)
        for token in tokens:
            padded = np.array([row + [0] * (32 - len(row))])
            logits = np.asarray(factory.logits(made.gpt, padded))
            assert token == int(logits[0, len(row) - 1].argmax())
            row.append(token)


def test_a_prompt_alone_continues_as_in_a_batch():
    made = generator()
    assert new_tokens(made, prompts=PROMPTS[:1]) == new_tokens(made)[:1]
    one, two = (new_tokens(made, prompts=p, temperature=1.0) for p in (PROMPTS[:1], PROMPTS))
    assert one == two[:1]


def test_seed_decides():
    made = generator()
    draws = [new_tokens(made, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_stops_at_eot():
    """With a head bias that makes EOT certain, nothing follows; unfinished rows go on."""
    made = generator()
    made.gpt.head.bias[...] = jnp.zeros(97).at[EOT].set(1e4)
    assert new_tokens(made) == [[], [], []]
    seen = []
    made.generate(
        PROMPTS,
        max_new_tokens=5,
        sampling=sampling.Sampling(**GREEDY),
        seed=0,
        on_tokens=lambda tokens_B: seen.append(tokens_B.tolist()),
    )
    assert seen == [[-1, -1, -1]]


def test_padding_of_the_vocabulary_is_never_sampled():
    made = generator()
    made.gpt.head.bias[...] = jnp.zeros(97).at[50:].set(1e4)
    made.vocab_size = 50
    draws = new_tokens(made, temperature=5.0)
    assert max(max(row) for row in draws) < 50


def choose(logits, seen=(), count=4000, **changes):
    how = sampling.Sampling(**{**GREEDY, "temperature": 1.0, **changes})
    logits_BV = jnp.tile(jnp.asarray(logits, jnp.float32), (count, 1))
    seen_BV = jnp.zeros(logits_BV.shape, bool).at[:, list(seen)].set(True)
    keys_B = jax.random.split(jax.random.key(0), count)
    drawn = jax.jit(lambda *x: sampling._choose(*x, sampling=how, vocab_size=len(logits)))(
        logits_BV, seen_BV, keys_B
    )
    return np.bincount(np.asarray(drawn), minlength=len(logits)) / count


LOGITS = np.log([0.5, 0.3, 0.15, 0.05])


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


@pytest.mark.parametrize(
    ("changes", "want"),
    [
        ({}, [0.5, 0.3, 0.15, 0.05]),
        ({"temperature": 0.0}, [1, 0, 0, 0]),
        ({"temperature": 2.0}, softmax(LOGITS / 2)),
        ({"top_k": 2}, [0.625, 0.375, 0, 0]),
        ({"top_k": 9}, [0.5, 0.3, 0.15, 0.05]),
        ({"top_p": 0.79}, [0.625, 0.375, 0, 0]),
        ({"top_p": 0.81}, np.array([0.5, 0.3, 0.15, 0]) / 0.95),
        ({"top_p": 0.01}, [1, 0, 0, 0]),
        ({"repetition_penalty": 2.0, "seen": [0]}, softmax(LOGITS * [2, 1, 1, 1])),
    ],
)
def test_choice_of_the_next_token(changes, want):
    assert np.abs(choose(LOGITS, **changes) - want).max() < 0.03


def reference(logits, seen, *, temperature, top_k, top_p, repetition_penalty):
    """Probabilities of the next token, one after another in plain Python."""
    lowered = {i: logits[i] * repetition_penalty ** (-1 if logits[i] > 0 else 1) for i in seen}
    scaled = {i: lowered.get(i, value) / temperature for i, value in enumerate(logits)}
    order = sorted(scaled, key=scaled.get, reverse=True)[: top_k or None]
    odds = {i: np.exp(scaled[i]) for i in order}
    found, reached = np.zeros(len(logits)), 0.0
    for i in order:
        if reached < top_p:
            found[i] = odds[i]
        reached += odds[i] / sum(odds.values())
    return found / found.sum()


@pytest.mark.parametrize("seed", range(4))
def test_all_settings_together_equal_the_reference(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=12).round(3).tolist()
    seen = rng.choice(12, 4, replace=False).tolist()
    how = {
        "temperature": float(rng.uniform(0.5, 2)),
        "top_k": int(rng.integers(3, 10)),
        "top_p": float(rng.uniform(0.6, 0.95)),
        "repetition_penalty": float(rng.uniform(1.1, 2)),
    }
    got, want = choose(logits, seen=seen, **how), reference(logits, seen, **how)
    assert np.array_equal(got > 0, want > 0)
    assert np.abs(got - want).max() < 0.04


def test_repetition_penalty_lowers_positive_logits_too():
    got = choose([2.0, 1.0, 0.0], seen=[0], repetition_penalty=4.0)
    assert np.abs(got - softmax(np.array([0.5, 1.0, 0.0]))).max() < 0.03


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_k": -1}, "top_k is -1"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0"),
    ],
)
def test_refused_settings(changes, message):
    with pytest.raises(errors.UserError, match=message):
        sampling.Sampling(**{**GREEDY, **changes})


def test_prompt_longer_than_the_context():
    with pytest.raises(errors.UserError, match="prompt 2 has 30 tokens.*context is 32"):
        new_tokens(generator(), prompts=[[1], [2] * 30], max_new_tokens=3)


def write_run(path, seed, sha256=None):
    """A finished run with a random model and the tokenizer gpt2-4096."""
    changes = {"vocab_size": 4224, "block_size": 64, "n_layer": 1}
    gpt = factory.randomized(seed, **changes)
    vocabulary = tokenizer.get("gpt2-4096")
    model = {**factory.ORIGINAL, **changes, "attention": "auto", "compute_dtype": "auto"}
    config = run_factory.config(stage=path.name, size="test", model=model)
    record = lineage.new(
        config=config,
        run_id="test",
        created="2026-01-01T00:00:00+00:00",
        data={},
        tokenizer={"name": vocabulary.name, "sha256": sha256 or vocabulary.sha256},
    )
    params = nnx.to_pure_dict(nnx.state(gpt, nnx.Param))
    save.write_finished_run(str(path), params, config, record)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate(("base", "v3")):
        write_run(root / name, seed)
    return root


def test_command_streams_and_repeats(runs, capsys):
    arguments = [f"--run={runs}/v3", "--prompt=The buffer", "--max_new_tokens=8", "--seed=3"]
    outputs = []
    for extra in ([], [], ["--no_cache"], ["--seed=4"]):
        assert generate.main([*arguments, *extra]) == 0
        captured = capsys.readouterr()
        outputs.append(captured.out)
        assert "tokens/s" in captured.err
    assert outputs[0].startswith("The buffer") and len(outputs[0]) > len("The buffer\n")
    assert outputs[0] == outputs[1] == outputs[2] != outputs[3]


def test_command_with_a_file_of_prompts(runs, tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text("One\nTwo words\n")
    flags = [f"--run={runs}/v3", f"--prompts_file={tmp_path}/prompts.txt", "--max_new_tokens=4"]
    assert generate.main(flags) == 0
    out = capsys.readouterr().out
    assert "prompt: One\nOne" in out and "prompt: Two words\nTwo words" in out


def test_compare_shows_runs_side_by_side(runs, capsys):
    flags = [f"--run={runs}/v3", "--compare", "base", "v3", "--prompt=A", "--max_new_tokens=6"]
    assert generate.main([*flags, "--save", "--temperature=0"]) == 0
    out = capsys.readouterr().out
    assert any("base" in line and "| v3" in line for line in out.splitlines())
    saved = json.loads((runs / layout.SAMPLES).read_text())
    assert set(saved["A"]) == {"base", "v3"} and saved["A"]["base"] != saved["A"]["v3"]


@pytest.mark.parametrize(
    ("name", "run", "want"),
    [
        ("v3", "runs/tiny/v8/", "runs/tiny/v3"),
        ("v3@best", "runs/tiny/v8@12", "runs/tiny/v3@best"),
        ("v3", "v8", "v3"),
        ("v3", "gs://bucket/tiny/v8", "gs://bucket/tiny/v3"),
        ("s3://other/v3", "runs/tiny/v8", "s3://other/v3"),
    ],
)
def test_a_run_is_named_by_its_stage_or_path(name, run, want):
    assert generate._locate(name, run) == want


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--run={runs}/v9"], "there is no run at"),
        (["--run={runs}/v3", "--prompt=" + "word " * 70], "the model's context is 64"),
        (["--run={runs}/v3", "--max_new_tokens=65"], "the model's context is 64"),
        (["--run={runs}/v3", "--max_new_tokens=-1"], "--max_new_tokens is -1"),
        (["--run={runs}/v3", "--prompts_file={runs}/none"], "--prompts_file cannot be read"),
        (["--run={runs}/v3", "--compare", "v4"], "there is no run at"),
    ],
)
def test_bad_input_is_one_line(runs, flags, message, capsys):
    flags = [flag.format(runs=runs) for flag in flags]
    assert errors.run(lambda: generate.main(flags)) == errors.BAD_INPUT
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1 and out == ""


def test_an_empty_run_directory(tmp_path):
    with pytest.raises(errors.UserError, match="there is no run at .* a run is a directory with"):
        continuation.load(str(tmp_path))


def test_another_tokenizer_is_refused(tmp_path):
    write_run(tmp_path / "base", 0, sha256="0" * 64)
    with pytest.raises(errors.UserError, match="trained with tokenizer gpt2-4096 .000000000000"):
        continuation.load(str(tmp_path / "base"))
