"""The start-up self-test: what it accepts, and every kind of fault that it was made for."""

import jax
import jax.numpy as jnp
import pytest

from data_pipeline import errors
from mypt_jax.model import attention, attention_check

SELF_TEST = {
    "n_head": 4,
    "n_kv_head": 2,
    "head_size": 16,
    "length": 128,
    "compute_dtype": "float32",
    "document_mask": True,
}


@pytest.mark.parametrize("document_mask", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_self_test_accepts_xla(document_mask, dtype):
    settings = {**SELF_TEST, "document_mask": document_mask, "compute_dtype": dtype}
    attention_check.check_attention("xla", **settings)


def test_self_test_accepts_splash_in_several_blocks():
    attention_check.check_attention("splash_interpret", **{**SELF_TEST, "length": 384})


def ignores_documents(q, k, v, ids):
    return attention.attend("xla", q, k, v, segments_BL=None)


def leaks_a_little(q, k, v, ids):
    """A weight of 1e-6 on the first value of the row: far below any tolerance on the output."""
    return attention.attend("xla", q, k, v, segments_BL=ids) + 1e-6 * jnp.repeat(v[:, :1], 2, 2)


def sees_one_ahead(q, k, v, ids):
    mask = attention.visible(q.shape[1], ids) | jnp.eye(q.shape[1], k=1, dtype=bool)
    return attention.attend_masked(q, k, v, mask)


def scales_wrongly(q, k, v, ids):
    return attention.attend("xla", q * 1.1, k, v, segments_BL=ids)


def has_wrong_gradient(q, k, v, ids):
    return attention.attend("xla", q, jax.lax.stop_gradient(k), v, segments_BL=ids)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (ignores_documents, "ignores_documents leaks across documents"),
        (leaks_a_little, "leaks_a_little leaks across documents"),
        (sees_one_ahead, "sees_one_ahead leaks from the future"),
        (scales_wrongly, "scales_wrongly is wrong on this device: output differs"),
        (has_wrong_gradient, "has_wrong_gradient is wrong on this device: dk differs"),
    ],
)
def test_self_test_refuses(function, message):
    with pytest.raises(errors.UserError, match=message):
        attention_check.check_attention(function, **SELF_TEST)
