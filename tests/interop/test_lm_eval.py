"""The harness and the project must give the same likelihoods for the same text."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import train

lm_eval = pytest.importorskip("lm_eval", reason="requirements-eval.txt is not installed")

from data_pipeline import errors  # noqa: E402
from mypt_jax.evaluate import scorer  # noqa: E402
from mypt_jax.interop import harness  # noqa: E402
from mypt_jax.interop.harness import RunLM  # noqa: E402


@pytest.fixture(scope="module")
def base(datasets, compile_cache, tmp_path_factory):
    from conftest import SMALL

    workdir = tmp_path_factory.mktemp("harness") / "base"
    overrides = {
        **SMALL,
        "data.domain": datasets["domain"],
        "data.general": datasets["general"],
        "compile_cache": compile_cache,
        "num_steps": 4,
        "workdir": workdir,
    }
    done = train("base", overrides)
    assert done.returncode == 0, done.stderr
    return str(workdir)


def request(*args):
    return SimpleNamespace(args=args)


def test_rolling_likelihood_is_the_projects_own(base):
    texts = ["one two three", "a longer text of many words " * 30]
    model, own = RunLM(base, batch_size=4), scorer.Scorer(base, batch_size=2)
    found = model.loglikelihood_rolling([request(text) for text in texts])
    expected = [-own.score_text(text).nll_sum_D.sum() for text in texts]
    assert found == pytest.approx(expected, rel=1e-5)


def test_rolling_windows_are_those_of_the_harness(base):
    """Every token with the context that the harness's own windows give it."""
    from lm_eval.utils import get_rolling_token_windows

    own = scorer.Scorer(base, batch_size=2)
    size, eot = own.block_size, own.tokenizer.eot
    for count in (5, size, size + 1, 3 * size - 7):
        ids = np.random.default_rng(count).integers(0, 4096, count).tolist()
        total = 0.0
        for context, targets in get_rolling_token_windows(ids, eot, size, 1):
            window = np.zeros(size + 1, np.int32)
            window[: len(context)] = context
            window[1 : len(context) + 1][-len(targets) :] = targets
            total += own.nll(window[None])[0][: len(context)][-len(targets) :].sum()
        assert own.nll_of(np.array([eot, *ids])).sum() == pytest.approx(total, rel=1e-5)


def test_likelihood_of_a_continuation_adds_up(base):
    """log p(ab | c) = log p(a | c) + log p(b | ca), where the tokens split there."""
    model = RunLM(base, batch_size=4)
    whole, first, second = model._loglikelihood_tokens(
        [((), [1, 2], [3, 4, 5]), ((), [1, 2], [3]), ((), [1, 2, 3], [4, 5])]
    )
    assert whole[0] == pytest.approx(first[0] + second[0], rel=1e-5)


def test_a_task_of_the_harness_runs_from_a_local_file(base, tmp_path):
    (tmp_path / "data.jsonl").write_text(
        "".join(
            json.dumps({"q": f"q {i} ", "a": i % 2, "c": ["yes", "no"]}) + "\n" for i in range(6)
        )
    )
    (tmp_path / "local.yaml").write_text(
        f"""task: local_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {tmp_path / "data.jsonl"}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{q}}}}"
doc_to_target: "{{{{a}}}}"
doc_to_choice: "{{{{c}}}}"
metric_list: [{{metric: acc}}]
"""
    )
    found = lm_eval.simple_evaluate(
        model=RunLM(base, batch_size=4),
        tasks=["local_choice"],
        task_manager=lm_eval.tasks.TaskManager(include_path=str(tmp_path)),
        bootstrap_iters=0,
    )
    assert 0.0 <= found["results"]["local_choice"]["acc,none"] <= 1.0


WORDS = "aback abide abode cabal decade facade jade kick lick mild".split()
PAIRS = [(" ".join(WORDS[: n + 1]), f" {WORDS[-n]}") for n in range(8)]
PAIRS += [("", "some text"), ("a context of many words " * 20, "and more ")]
PAIRS += [("ends in spaces  ", "x")]
TEXTS = ["", "one", *(" ".join(WORDS) * n for n in range(1, 9))]
GENERATION = [
    {"until": [], "max_gen_toks": 5},
    {"until": ["e", " a"], "max_gen_toks": 8},
    {"until": "d", "max_new_tokens": 8},
    {"until": ["no such word"], "max_gen_toks": 12, "do_sample": False, "temperature": 1.0},
    {"until": [], "max_gen_toks": 31},
    {"until": [], "max_gen_toks": 6, "repetition_penalty": 1.3},
]
# What stands for nothing in a task's file, and is a TypeError of the harness's own model.
NOTHING = {"until": None, "temperature": None, "top_k": None}


@pytest.fixture(scope="module")
def both(base, tmp_path_factory):
    """(the run, what it was exported as) as the harness's models."""
    for package in ("accelerate", "safetensors"):
        pytest.importorskip(package)
    from lm_eval.models.huggingface import HFLM

    from mypt_jax.interop import huggingface

    out = tmp_path_factory.mktemp("exported") / "out"
    assert huggingface.main(["export", base, str(out)]) == 0
    theirs = HFLM(pretrained=str(out), trust_remote_code=True, device="cpu", batch_size=1)
    return RunLM(base, batch_size=4), theirs


def instances(kind, arguments):
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, one, number) for number, one in enumerate(arguments)]


@pytest.mark.filterwarnings("ignore")
def test_likelihoods_are_those_of_the_harness_s_own_model(both):
    ours, theirs = both
    pairs = instances("loglikelihood", PAIRS)
    for own, other in zip(ours.loglikelihood(pairs), theirs.loglikelihood(pairs), strict=True):
        assert own[0] == pytest.approx(other[0], rel=1e-4) and own[1] == other[1]
    texts = instances("loglikelihood_rolling", [(text,) for text in TEXTS])
    rolling = ours.loglikelihood_rolling(texts)
    assert rolling == pytest.approx(theirs.loglikelihood_rolling(texts), rel=1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("settings", GENERATION, ids=repr)
def test_continuations_are_those_of_the_harness_s_own_model(both, settings):
    ours, theirs = both
    prompts = [" ".join(WORDS[:n]) or "word " * 60 for n in range(10)]
    own, other = (
        model.generate_until(
            instances("generate_until", [(prompt, given.copy()) for prompt in prompts])
        )
        for model, given in ((ours, NOTHING | settings), (theirs, settings))
    )
    assert own == other


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_gen_toks": 32}, "a task wants 32 new tokens, wanted 1 to 31"),
        ({"num_beams": 4}, "generation_kwargs has {'num_beams': 4}"),
    ],
)
def test_what_cannot_be_done_is_refused(base, settings, message):
    with pytest.raises(errors.UserError, match=re.escape(message)):
        RunLM(base, batch_size=1).generate_until([request("a", settings)])


def test_settings_decide_how_is_sampled():
    def of(**settings):
        return harness._wanted(settings, block_size=64)

    assert of(do_sample=False, temperature=1.0).sampling.temperature == 0.0
    sampled = of(temperature=0.7, top_k=5, top_p=0.9).sampling
    assert (sampled.temperature, sampled.top_k, sampled.top_p) == (0.7, 5, 0.9)
    assert of(do_sample=True).sampling.temperature == 1.0
    assert (of().new_tokens, of().until, of(until="a").until) == (32, (), ("a",))
