"""What int8 products would do for a TPU step: the MLP of 750m, forward and backward.

    python scripts/tpu_int8.py

12 windows on one chip that is not here (requirements-tpu.txt), nine compilations. Rows of x and
columns of a weight are divided by their largest value and rounded to int8, the products summed in
int32 (vector-wise quantisation, Dettmers et al. 2022, arXiv:2208.07339). The figures are the
compiler's estimates: they rank variants of one program and are no speed.
"""

import argparse
import functools
import sys

import _checkout  # noqa: F401

from data_pipeline import errors

TOKENS, D, F = 12 * 1024, 1280, 5120
CHIPS = {"v5e": "v5e:1x1", "v5p": "v5p:2x2x1", "v6e": "v6e:2x2"}
FORMS = ("bfloat16", "int8 forward", "int8 forward and backward")
HEADER = "| chip | products in | products, Mcycles | the rest | total |\n|---|---|---|---|---|"


def product(form: str):
    """x [T, in] @ w [in, out] in bfloat16, or by int8."""
    import jax
    import jax.numpy as jnp

    def plain(x, w):
        return x @ w

    def quantised(x, axis):
        scale = jnp.abs(x).max(axis, keepdims=True).astype(jnp.float32) / 127 + 1e-12
        return jnp.round(x.astype(jnp.float32) / scale).astype(jnp.int8), scale

    def rounded(x, w):
        (x8, x_scale), (w8, w_scale) = quantised(x, 1), quantised(w, 0)
        sums = jax.lax.dot(x8, w8, preferred_element_type=jnp.int32)
        return (sums.astype(jnp.float32) * x_scale * w_scale).astype(x.dtype)

    if form == FORMS[0]:
        return plain
    behind = rounded if form == FORMS[2] else plain
    found = jax.custom_vjp(rounded)
    found.defvjp(
        lambda x, w: (rounded(x, w), (x, w)),
        lambda kept, grad: (behind(grad, kept[1].T), behind(kept[0].T, grad)),
    )
    return found


def measure(chip: str, form: str):
    """The account of the gradients of an MLP, and whether int8 is in its program."""
    import jax
    import jax.numpy as jnp

    from mypt_jax.model import layers
    from mypt_jax.plan import account, topology

    multiply = product(form)

    def loss(x, up, down):
        hidden = layers.ACTIVATIONS["gelu"](multiply(x, up))
        return jnp.square(multiply(hidden, down).astype(jnp.float32)).sum()

    place = jax.sharding.SingleDeviceSharding(topology.devices(CHIPS[chip])[0])
    shaped = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.bfloat16, sharding=place)
    shapes = shaped((TOKENS, D)), shaped((D, F)), shaped((F, D))
    text = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(*shapes).compile().as_text()
    if ("s8[" in text) != (form != FORMS[0]):
        raise errors.UserError(f"{chip}, {form}: the compiled program has other products")
    shape = account.Shape(n_layer=1, rows=12, length=1024, vocab=0)
    return account.of(text, chip=chip, shape=shape, slice_size=1)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args(argv)
    from mypt_jax.plan import account, topology

    topology.prepare()
    print(HEADER)
    for chip in CHIPS:
        for form in FORMS:
            found = measure(chip, form)
            products = found.cycles[account.PRODUCTS]
            cells = (products, found.total - products, found.total)
            shown = " | ".join(f"{cycles / 1e6:.2f}" for cycles in cells)
            print(f"| {chip} | {form} | {shown} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
