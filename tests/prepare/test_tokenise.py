"""Encoding in processes gives what encoding here gives, and their ends are reported."""

import itertools
import multiprocessing
import os
import signal

import numpy as np
import pytest
from conftest import documents

from data_pipeline import errors
from data_pipeline.prepare import tokenise
from data_pipeline.tokens import tokenizer


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    """Processes are started for this little text too."""
    monkeypatch.setattr(tokenise, "_ALONE_CHARS", 10_000)
    monkeypatch.setattr(tokenise, "_BATCH_CHARS", 5_000)
    monkeypatch.setattr(tokenise, "default_workers", lambda: 8)


def texts(count: int):
    for number, item in enumerate(documents("s", count, 0)):
        yield tokenise.Text(f"s{number % 3}", item.text + "Grün 😀", "", item.id)


def encoded(count: int, workers: int) -> list[tokenise.Encoded]:
    vocabulary = tokenizer.get("gpt2-4096")
    return list(tokenise.encode_all(texts(count), vocabulary=vocabulary, workers=workers))


def test_processes_give_the_same_in_the_same_order(monkeypatch):
    given, asked, ask = [], [], tokenise._ask
    monkeypatch.setattr(tokenise, "_ask", lambda *args: asked.append(1) or ask(*args))

    def until_the_processes_have_done_some():
        for text in itertools.cycle(texts(200)):
            if len(asked) > 20:
                return
            given.append(text)
            yield text

    vocabulary = tokenizer.get("gpt2-4096")
    shared = list(
        tokenise.encode_all(until_the_processes_have_done_some(), vocabulary=vocabulary, workers=3)
    )
    alone = list(tokenise.encode_all(given, vocabulary=vocabulary, workers=1))
    assert [one.sources for one in alone] == [one.sources for one in shared]
    for name in ("table", "tokens"):
        assert np.array_equal(
            np.concatenate([getattr(one, name) for one in alone]),
            np.concatenate([getattr(one, name) for one in shared]),
        )
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("cores", "chars"), [(1, 10_000), (8, 1 << 24)])
def test_no_process_is_started_where_it_cannot_help(monkeypatch, cores, chars):
    monkeypatch.setattr(tokenise, "default_workers", lambda: cores)
    monkeypatch.setattr(tokenise, "_ALONE_CHARS", chars)
    monkeypatch.setattr(tokenise, "_process", lambda vocabulary: pytest.fail("a process"))
    assert len(encoded(200, 2)) > 10


def test_a_lone_surrogate_found_by_a_process_is_an_error_here():
    def some():
        yield from texts(100)
        yield tokenise.Text("s", "good \ud800 bad", "", "file.txt, line 7")

    vocabulary = tokenizer.get("gpt2-4096")
    with pytest.raises(errors.UserError, match="file.txt, line 7: a lone surrogate U[+]D800"):
        list(tokenise.encode_all(some(), vocabulary=vocabulary, workers=2))
    assert not multiprocessing.active_children()


def test_a_killed_process_is_an_error_and_not_a_hang():
    vocabulary = tokenizer.get("gpt2-4096")
    found = tokenise.encode_all(texts(400), vocabulary=vocabulary, workers=2)
    with pytest.raises(errors.UserError, match="was killed .out of memory.*fewer --workers"):
        for _ in found:
            for child in multiprocessing.active_children():
                os.kill(child.pid, signal.SIGKILL)
    assert not multiprocessing.active_children()
