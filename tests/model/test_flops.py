"""The FLOPs formula: the guide's model by hand, and small ones against XLA's own count."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from configs import base
from mypt_jax.model import flops, loss
from mypt_jax.model import gpt as model

GUIDE = base.get_config().model.to_dict()


def test_the_guide_model_by_hand():
    """6 (12 N D^2 + D V) + 12 N L D with N 32, D 1280, L 1024, V 50304."""
    assert flops.per_token(GUIDE) == 4_664_524_800
    assert flops.per_token_causal(GUIDE) == 4_664_524_800 - 6 * 32 * 1024 * 1280
    assert flops.matrix_parameters(GUIDE) == (629_145_600, 64_389_120)


def test_matrix_parameters_of_a_later_shape():
    later = GUIDE | dict(mlp="gated", n_kv_head=5, n_layer=1)
    width = 3456  # 8/3 * 1280 = 3413.3, up to a multiple of 64
    blocks = 1280 * (20 + 2 * 5) * 64 + 1280 * 1280 + 3 * 1280 * width
    assert flops.matrix_parameters(later) == (blocks, 64_389_120)


def test_rematerialisation_is_executed_but_not_counted():
    """All but the head, whose logits are made once, and the last product of each block."""
    full = GUIDE | dict(remat="full", loss_chunks=16)
    assert flops.per_token(full) == flops.per_token(GUIDE)
    forward, head = flops.per_token(GUIDE) / 3, 2 * GUIDE["n_embd"] * GUIDE["vocab_size"]
    last = 2 * GUIDE["n_layer"] * 4 * GUIDE["n_embd"] ** 2
    assert flops.executed_per_token(full) == pytest.approx(4 * forward - head - last)
    for remat in ("none", "light"):
        assert flops.executed_per_token(GUIDE | dict(remat=remat)) == flops.per_token(GUIDE)


def xla_count(n_layer: int, **shape) -> float:
    """FLOPs that XLA counts in one token of the unrolled loss and gradient; nothing is run."""
    config = GUIDE | dict(
        n_layer=n_layer, scan_layers=False, dropout=0.0, attention="xla", compute_dtype="float32"
    )
    config |= shape
    graphdef, params = nnx.eval_shape(
        lambda: nnx.split(model.GPT(rngs=nnx.Rngs(0), **config), nnx.Param)
    )
    rows, length = 2, config["block_size"]

    def mean_loss(params, tokens_BL):
        gpt = nnx.merge(graphdef, params)
        return loss.mean_nll(gpt.head_weights(), gpt(tokens_BL), tokens_BL, num_chunks=1)

    tokens = jax.ShapeDtypeStruct((rows, length), jnp.int32)
    lowered = jax.jit(jax.value_and_grad(mean_loss)).lower(params, tokens)
    return lowered.cost_analysis()["flops"] / (rows * length)


@pytest.mark.parametrize("mlp", ["plain", "gated"])
def test_formula_against_xla_on_one_and_two_layers(mlp):
    shape = dict(n_embd=512, n_head=8, block_size=256, vocab_size=4096, mlp=mlp)
    one, two = (xla_count(n, **shape) for n in (1, 2))
    formula = [flops.per_token(GUIDE | shape | {"n_layer": n}) for n in (1, 2)]
    # XLA also counts what is not a matrix product: norms, GELU, softmax.
    assert one == pytest.approx(formula[0], rel=0.03)
    assert two - one == pytest.approx(formula[1] - formula[0], rel=0.03)
    assert one >= formula[0]


@pytest.mark.parametrize(
    ("kind", "chip"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", None),  # slower by a quarter, and not in the table
        ("NVIDIA H100 NVL", None),
        ("NVIDIA H200", None),
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", None),
        ("Tesla T4", "T4"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA GeForce RTX 4090 D", None),
        ("TPU v4", "v4"),
        ("TPU v5 lite", "v5e"),
        ("TPU v5", "v5p"),
        ("TPU v6 lite", "v6e"),
        ("cpu", None),
    ],
)
def test_chip_of_a_device_kind(kind, chip):
    assert flops.chip_of(kind) == chip


def test_utilisation_is_a_share_of_all_devices():
    # 4 v5e at their peak: 197e12 FLOP/s each.
    tokens_per_sec = 4 * 197e12 / flops.per_token(GUIDE)
    assert flops.utilisation(GUIDE, tokens_per_sec, "TPU v5 lite", 4) == pytest.approx(1.0)
    assert flops.utilisation(GUIDE, tokens_per_sec, "cpu", 4) is None
