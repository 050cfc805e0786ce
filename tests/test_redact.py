"""Secrets: whole words in keys, user information in URLs."""

import pytest

from mypt_jax import redact


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    monkeypatch.setattr(redact, "_known", set())


@pytest.mark.parametrize(
    "key", ["hf_token", "api_key", "wandbApiKey", "db.password", "AWS_SECRET_ACCESS_KEY", "secret"]
)
def test_keys_of_secrets(key):
    assert redact.is_secret(key)


@pytest.mark.parametrize(
    "key",
    ["tokens", "tokenizer", "tokens_by_source", "expected_domain_tokens", "key", "keep_last"],
)
def test_keys_that_only_look_like_it(key):
    assert not redact.is_secret(key)


def test_trees_keep_their_shape():
    tree = {"a": {"hf_token": "x", "n": 1, "t": ("gs://u:p@b/c", None)}, "tokens": "12"}
    assert redact.tree(tree) == {
        "a": {"hf_token": "[redacted]", "n": 1, "t": ["gs://[redacted]@b/c", None]},
        "tokens": "12",
    }


def test_text_with_assignments_and_known_values():
    redact.learn({"deep": {"password": "hunter2!"}, "tokenizer": "gpt2-4096"})
    line = "hunter2! gpt2-4096 hf_token=abc --config.api_key=def {'password': 'ghi'} tokens=5"
    assert redact.text(line) == (
        "[redacted] gpt2-4096 hf_token=[redacted] --config.api_key=[redacted] "
        "{'password': '[redacted]'} tokens=5"
    )
    assert redact.text("see https://host/path@v2 and a@b.c") == "see https://host/path@v2 and a@b.c"


def test_a_unit_is_no_secret():
    line = "general loss 2.5, base 2.2 nats/token: forgetting +12.0 %"
    assert redact.text(line) == line
    assert redact.text("https://host/token=abcdefgh") == f"https://host/token={redact.MASK}"
    assert redact.text("my-token: abcdefgh") == f"my-token: {redact.MASK}"
