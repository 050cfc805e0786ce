"""Floating-point operations of a step by formula, peak rates of chips, and what follows from them.

Convention everywhere: model FLOPs, forward and backward, attention counted over the full L x L
square, nothing counted twice for rematerialisation (PaLM, appendix B; nanoGPT). Per token:

    6 * (matrix parameters) + 12 * n_layer * block_size * n_head * head_size

A multiply-add is 2; backward costs twice the forward pass. At 750m: 4.665e9. The causal convention
(half the square) gives 4.413e9; XLA's own count of a scanned model is no help, since it counts the
body of a loop once.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

CONVENTION = "forward + backward, full L x L attention, no recomputation"


class Chip(NamedTuple):
    """Peak dense matrix rate in the compute dtype used on it, FLOP/s, and the memory that a program
    may use there: TPUs keep some of theirs (XLA's own limits)."""

    peak: float
    dtype: str
    memory_gib: float


# Vendors' data sheets, dense rates with fp32 sums. A T4 has no bfloat16, so it computes in fp32.
CHIPS = {
    "T4": Chip(8.1e12, "float32", 15.0),
    "L4": Chip(121e12, "bfloat16", 22.5),
    "RTX 4090": Chip(165e12, "bfloat16", 24.0),
    "A100": Chip(312e12, "bfloat16", 40.0),
    "H100": Chip(989e12, "bfloat16", 80.0),
    "v4": Chip(275e12, "bfloat16", 30.75),
    "v5e": Chip(197e12, "bfloat16", 15.75),
    "v5p": Chip(459e12, "bfloat16", 95.0),
    "v6e": Chip(918e12, "bfloat16", 31.25),
}
# jax.Device.device_kind, lower case, by words of it; the first that matches.
_KINDS = (
    ("h100 80gb hbm3", "H100"),  # SXM; PCIe and NVL are slower
    ("a100", "A100"),
    ("rtx 4090$", "RTX 4090"),  # neither Laptop nor D
    ("nvidia l4", "L4"),
    ("tesla t4", "T4"),
    ("v6 lite", "v6e"),
    ("v6e", "v6e"),
    ("v5 lite", "v5e"),
    ("v5e", "v5e"),
    ("v5p", "v5p"),
    ("tpu v5", "v5p"),
    ("tpu v4", "v4"),
)


def chip_of(device_kind: str) -> str | None:
    """The row of CHIPS for a device, None when it is not in the table (a CPU)."""
    kind = device_kind.lower()
    return next((name for part, name in _KINDS if re.search(rf"\b{part}(?!\w)", kind)), None)


def mlp_width(model: Mapping) -> int:
    """F: 4 n_embd, or 8/3 n_embd rounded up to 64 for the gated MLP, unless it is given."""
    gated = -(-8 * model["n_embd"] // 192) * 64
    return model["mlp_width"] or (gated if model["mlp"] == "gated" else 4 * model["n_embd"])


def head_size(model: Mapping) -> int:
    """K: n_embd / n_head, unless it is given."""
    return model["head_size"] or model["n_embd"] // model["n_head"]


def matrix_parameters(model: Mapping) -> tuple[int, int]:
    """(of all blocks, of the head): parameters that multiply each token; tables are looked up."""
    D, H = model["n_embd"], model["n_head"]
    K, G = head_size(model), model["n_kv_head"] or H
    attention = D * (H + 2 * G) * K + H * K * D
    mlp = (3 if model["mlp"] == "gated" else 2) * D * mlp_width(model)
    return model["n_layer"] * (attention + mlp), D * model["vocab_size"]


def _square(model: Mapping) -> int:
    """Forward FLOPs of a token's scores, over the full square; the weighted sum takes as many."""
    return 2 * model["n_layer"] * model["block_size"] * model["n_head"] * head_size(model)


def per_token(model: Mapping) -> int:
    """Model FLOPs of one training token, in the convention above."""
    blocks, head = matrix_parameters(model)
    return 3 * (2 * (blocks + head) + 2 * _square(model))


def per_token_causal(model: Mapping) -> int:
    """As per_token, with half the attention square (MaxText's convention)."""
    return per_token(model) - 3 * _square(model)


def executed_per_token(model: Mapping) -> int:
    """What the hardware computes: recomputation by model.remat included."""
    blocks, _ = matrix_parameters(model)
    attention = 2 * _square(model)
    # No gradient needs what the last product of a block gave.
    last = model["n_layer"] * mlp_width(model) * model["n_embd"]
    again = {"dots": attention, "full": 2 * (blocks - last) + attention}
    return per_token(model) + again.get(model["remat"], 0)


def utilisation(model: Mapping, tokens_per_sec: float, device_kind: str, devices: int):
    """MFU: achieved model FLOP/s as a share of the devices' peak; None for unknown devices."""
    chip = chip_of(device_kind)
    if chip is None:
        return None
    return per_token(model) * tokens_per_sec / (CHIPS[chip].peak * devices)
