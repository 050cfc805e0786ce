"""The harness and the project must give the same likelihoods for the same text."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import train

lm_eval = pytest.importorskip("lm_eval", reason="requirements-eval.txt is not installed")

from mypt_jax.evaluate import scorer  # noqa: E402
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
