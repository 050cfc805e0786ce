"""Choice and recall: what is asked, and that the figures mean what they say."""

import numpy as np
import pytest

from data_pipeline.batches import eval_windows
from data_pipeline.tokens import shards
from mypt_jax.evaluate import tasks

BLOCK = 64
MAKE = {"choice": tasks.choice, "recall": tasks.recall}


@pytest.fixture(scope="module")
def source(datasets):
    return shards.open_dataset(datasets["general"]).sources["encyclopedia"]


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_all_answers_are_of_the_document_and_the_first_is_true(source, make):
    task = make(source, block_size=BLOCK, most=20)
    stream = source.stream("val")
    kept = {number: stream.read(a, b) for number, a, b in eval_windows.kept_documents(source)}
    assert 5 < len(task.windows) <= 20
    assert task.windows.shape[1] == tasks.CANDIDATES and task.windows.shape[2] <= BLOCK + 1
    for windows, doc in zip(task.windows, task.doc_N, strict=True):
        text = kept[int(doc)].tobytes()
        prompts = {row[: -tasks.ANSWER_TOKENS].tobytes() for row in windows}
        assert len(prompts) == 1 and prompts.pop() in text
        assert all(row[-tasks.ANSWER_TOKENS :].tobytes() in text for row in windows)
        assert not any(row.tobytes() in text for row in windows[1:]), "a wrong one that is right"
        true = windows[0]
        if make is tasks.choice:
            assert true.tobytes() in text
        else:
            assert (true[: tasks.ANSWER_TOKENS] == true[-tasks.ANSWER_TOKENS :]).all()


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_no_question_is_of_text_that_is_chosen_on(source, make):
    kept = {number for number, _, _ in eval_windows.kept_documents(source)}
    assert {*make(source, block_size=BLOCK, most=50).doc_N} <= kept
    chosen_on, reported = eval_windows.halved_windows(source, block_size=32, num_windows=10**6)
    assert not kept & {*chosen_on.doc_WL.ravel()} and kept >= {*reported.doc_WL.ravel()}


def test_an_oracle_is_always_right_and_chance_is_one_in_four(source):
    task = tasks.choice(source, block_size=BLOCK, most=200)
    truth = {row[0].tobytes() for row in task.windows}
    rng = np.random.default_rng(0)

    def oracle(windows):
        wrong_W = np.array([window.tobytes() not in truth for window in windows])
        return np.repeat(wrong_W[:, None], windows.shape[1] - 1, 1).astype(float)

    def guess(windows):
        return rng.random((len(windows), windows.shape[1] - 1))

    right = tasks.score(oracle, task)
    assert right.sums["right"].sum() == right.tokens == len(task.windows)
    guessed = np.mean([tasks.score(guess, task).sums["right"].sum() for _ in range(50)])
    assert guessed / len(task.windows) == pytest.approx(1 / tasks.CANDIDATES, abs=0.05)


def test_equal_answers_are_not_right(source):
    task = tasks.choice(source, block_size=BLOCK, most=5)
    same = tasks.score(lambda windows: np.ones((len(windows), windows.shape[1] - 1)), task)
    assert not same.sums["right"].any()


def test_documents_too_short_for_a_question_give_none(source):
    assert tasks.choice(source, block_size=100_000, most=5) is None
