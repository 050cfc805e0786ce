"""The GPT: size, causality, forward pass against float64 NumPy, initialisation, execution modes."""

import math
import re
import types

import jax
import jax.numpy as jnp
import model_factory as factory
import numpy as np
import pytest
from flax import nnx
from jax.extend.core import jaxprs_in_params
from model_factory import quick  # noqa: F401

from data_pipeline import errors
from mypt_jax.model import attention, loss, parameters
from mypt_jax.model import gpt as model

SWITCHES = {
    "original": {},
    "torch init": {"init": "torch"},
    "all biases": {"qkv_bias": True, "proj_bias": True},
    "no biases": {"mlp_bias": False, "head_bias": False},
    "tied": {"tied_embeddings": True},
    "tied without bias": {"tied_embeddings": True, "head_bias": False},
    "gelu_tanh": {"activation": "gelu_tanh"},
    "silu": {"activation": "silu"},
    "gated": {"mlp": "gated", "activation": "silu"},
    "mlp_width": {"mlp_width": 40},
    "rmsnorm": {"norm": "rmsnorm", "norm_eps": 1e-2},
    "norm_eps": {"norm_eps": 0.1},
    "rope": {"position": "rope"},
    "rope_theta": {"position": "rope", "rope_theta": 50.0},
    "rope by interpolation": {"position": "rope", "rope_scaling": (4.0,)},
    "rope of Llama 3": {"position": "rope", "rope_scaling": (8.0, 1.0, 4.0, 64.0)},
    "grouped queries": {"n_kv_head": 2},
    "heads of their own size, normed": {"n_kv_head": 2, "head_size": 6, "qk_norm": "head"},
    "norms after": {"qk_norm": "all", "norm_place": "after", "norm": "rmsnorm"},
    "one key head": {"n_kv_head": 1, "qkv_bias": True},
    "llama": factory.LLAMA,
}


def reference(flat: dict, tokens_L: np.ndarray, **changes) -> np.ndarray:
    """Logits [L, V] of one row in float64, one head at a time; shares no code with mypt_jax."""
    c = {**factory.ORIGINAL, **changes}
    d, heads, layers = c["n_embd"], c["n_head"], c["n_layer"]
    groups, length = c["n_kv_head"] or heads, len(tokens_L)
    size = c["head_size"] or d // heads

    def linear(x, name, layer=None):
        pick = (lambda a: a) if layer is None else (lambda a: a[layer])
        y = x @ pick(flat[f"{name}/kernel"])
        return y + pick(flat[f"{name}/bias"]) if f"{name}/bias" in flat else y

    def norm(x, scale, bias):
        if c["norm"] == "rmsnorm":
            return x / np.sqrt((x * x).mean(-1, keepdims=True) + c["norm_eps"]) * scale
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(
            x.var(-1, keepdims=True) + c["norm_eps"]
        ) * scale + bias

    def activate(x):
        if c["activation"] == "silu":
            return x / (1 + np.exp(-x))
        if c["activation"] == "gelu_tanh":
            return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
        return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))

    def rotate(x):  # [L, size]
        if c["position"] != "rope":
            return x
        out = np.empty_like(x)
        for j in range(size // 2):
            wavelength = 2 * np.pi * c["rope_theta"] ** (2 * j / size)
            slow = 1.0
            if len(c["rope_scaling"]) == 1:
                slow = c["rope_scaling"][0]
            elif c["rope_scaling"]:
                factor, low, high, old = c["rope_scaling"]
                if wavelength > old / low:
                    slow = factor
                elif wavelength > old / high:
                    smooth = (old / wavelength - low) / (high - low)
                    slow = 1 / ((1 - smooth) / factor + smooth)
            angle = np.arange(length) * 2 * np.pi / (wavelength * slow)
            turned = (x[:, j] + 1j * x[:, j + size // 2]) * np.exp(1j * angle)
            out[:, j], out[:, j + size // 2] = turned.real, turned.imag
        return out

    x = flat["embed/tokens"][tokens_L]
    if c["position"] == "learned":
        x = x + flat["embed/positions"][:length]
    ones = np.zeros((layers, d))
    for i in range(layers):
        first, second = (
            lambda y, n=n, i=i: norm(
                y, flat[f"blocks/{n}/scale"][i], flat.get(f"blocks/{n}/bias", ones)[i]
            )
            for n in ("ln1", "ln2")
        )
        after = c["norm_place"] == "after"
        qkv = linear(x if after else first(x), "blocks/attn/qkv", i)
        q, k, v = np.split(qkv, [heads * size, (heads + groups) * size], axis=-1)
        if c["qk_norm"] != "none":
            q, k = (
                norm(
                    y.reshape(length, -1, size) if c["qk_norm"] == "head" else y,
                    flat[f"blocks/attn/{n}_norm/scale"][i],
                    flat.get(f"blocks/attn/{n}_norm/bias", np.zeros((layers, 1)))[i],
                ).reshape(length, -1)
                for n, y in (("q", q), ("k", k))
            )
        mixed = []
        for h in range(heads):
            g = h // (heads // groups)
            part = slice(g * size, (g + 1) * size)
            scores = rotate(q[:, h * size : (h + 1) * size]) @ rotate(k[:, part]).T / np.sqrt(size)
            scores[np.triu_indices(length, 1)] = -np.inf
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            mixed.append(weights / weights.sum(-1, keepdims=True) @ v[:, part])
        out = linear(np.concatenate(mixed, -1), "blocks/attn/proj", i)
        x = x + (first(out) if after else out)
        h = x if after else second(x)
        inner = linear(h, "blocks/mlp/up", i)
        if c["mlp"] == "gated":
            inner = inner * activate(linear(h, "blocks/mlp/gate", i))
        else:
            inner = activate(inner)
        out = linear(inner, "blocks/mlp/down", i)
        x = x + (second(out) if after else out)
    x = norm(x, flat["ln_f/scale"], flat.get("ln_f/bias", 0.0))
    kernel = flat["embed/tokens"].T if c["tied_embeddings"] else flat["head/kernel"]
    return x @ kernel + flat.get("head/bias", 0.0)


@pytest.mark.parametrize("name", SWITCHES)
def test_forward_equals_float64_numpy(name):
    changes = SWITCHES[name]
    gpt = factory.randomized(**changes)
    rows = factory.tokens((2, 16))
    got = np.asarray(factory.logits(gpt, rows))
    flat = factory.flat(gpt)
    for row in range(2):
        want = reference(flat, rows[row], **changes)
        assert np.abs(got[row] - want).max() <= 1e-5 * np.abs(want).max()


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        ({"n_layer": 32, "n_embd": 1280, "n_head": 20}, 759_656_064),
        ({"n_layer": 24, "n_embd": 1024, "n_head": 16}, 406_334_592),
        ({"n_layer": 12, "n_embd": 768, "n_head": 12}, 163_122_816),
        ({"n_layer": 32, "n_embd": 1280, "n_head": 20, "tied_embeddings": True}, 695_266_944),
    ],
)
def test_parameter_counts(shape, count):
    def make():
        return factory.build(vocab_size=50_304, block_size=1024, **shape)[1]

    params = jax.eval_shape(make)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


@pytest.mark.parametrize("changes", [{}, factory.LLAMA, {"tied_embeddings": True}])
def test_every_parameter_has_logical_axes(changes):
    params = jax.eval_shape(lambda: factory.build(**changes)[1])
    for path, leaf in nnx.to_flat_state(params):
        axes = parameters.of(path).axes
        assert len(axes) == leaf.ndim
        assert (axes[0] == "layer") == (path[0] == "blocks")


@pytest.mark.parametrize("changes", [{}, factory.LLAMA])
def test_causality_by_gradient(changes):
    """Output i depends on inputs 0..i, on each of them, and on nothing later."""
    gpt = factory.randomized(**changes)
    graph, params = nnx.split(gpt, nnx.Param)
    row = jnp.arange(8)[None]  # distinct tokens: their table rows are the inputs

    @jax.jit
    @jax.grad
    def gradient(table, i):
        moved = nnx.to_pure_dict(params)
        moved["embed"]["tokens"] = table
        return jnp.sin(nnx.merge(graph, nnx.State(moved))(row)[0, i]).sum()

    table = params["embed"]["tokens"][...]
    for i in range(8):
        size_V = np.abs(np.asarray(gradient(table, i))).max(-1)
        assert (size_V[: i + 1] > 0).all()
        assert (size_V[i + 1 :] == 0).all()


@pytest.mark.parametrize(
    ("init", "excess"),
    # Unit-variance hidden states against head weights of variance 1 / (3 D): logits of variance
    # 1/3, so E log sum exp = ln V + 1/6. N(0, 0.02^2): variance 0.0004 D.
    [("torch", 1 / 6), ("scaled_normal", 0.0004 * 64 / 2)],
)
def test_expected_loss_at_initialisation(init, excess):
    changes = {"vocab_size": 4096, "n_embd": 64, "init": init, "head_bias": False}
    gpt = jax.jit(lambda: factory.build(**changes)[0])()
    rows = factory.tokens((32, 17), vocab_size=4096)

    @jax.jit
    def mean(gpt):
        return loss.mean_nll(gpt.head_weights(), gpt(rows[:, :-1]), rows[:, 1:], num_chunks=1)

    assert abs(float(mean(gpt)) - (math.log(4096) + excess)) < 0.06


def test_scaled_normal_initialisation():
    shape = {"n_embd": 128, "n_layer": 2, "vocab_size": 512}
    flat = factory.flat(jax.jit(lambda: factory.build(**shape)[0])())
    for name, std in {
        "embed/tokens": 0.02,
        "embed/positions": 0.02,
        "blocks/attn/qkv/kernel": 0.02,
        "blocks/attn/proj/kernel": 0.02 / 2,  # 1 / sqrt(2 n_layer)
        "blocks/mlp/up/kernel": 0.02,
        "blocks/mlp/down/kernel": 0.02 / 2,
        "head/kernel": 0.02,
    }.items():
        assert abs(flat[name].std() / std - 1) < 0.05, name
        assert abs(flat[name].mean()) < 0.1 * std, name
    assert not np.array_equal(flat["blocks/mlp/up/kernel"][0], flat["blocks/mlp/up/kernel"][1])
    assert not flat["blocks/mlp/up/bias"].any() and not flat["head/bias"].any()


def test_torch_initialisation():
    shape = {"n_embd": 64, "n_layer": 2, "vocab_size": 512, "init": "torch"}
    flat = factory.flat(jax.jit(lambda: factory.build(**shape)[0])())
    assert abs(flat["embed/tokens"].std() - 1) < 0.05
    assert abs(flat["embed/positions"].std() - 1) < 0.1
    for name, fan_in in {
        "blocks/attn/proj/kernel": 64,
        "blocks/mlp/down/kernel": 256,
        "blocks/mlp/down/bias": 256,
        "head/bias": 64,
    }.items():
        bound = 1 / math.sqrt(fan_in)
        assert 0.9 * bound < np.abs(flat[name]).max() <= bound, name


def run(gpt, rows, key=None):
    """Loss and gradients of a GPT on rows of tokens, as a flat dict."""
    graph, params = nnx.split(gpt, nnx.Param)

    @jax.jit
    def compute(params):
        def mean(params):
            gpt = nnx.merge(graph, params)
            hidden = gpt(rows[:, :-1], dropout_key=key)
            return loss.mean_nll(gpt.head_weights(), hidden, rows[:, 1:], num_chunks=1)

        return jax.value_and_grad(mean)(params)

    return compute(params)


def test_execution_modes_agree():
    """Scanned or unrolled, with any rematerialisation: one parameter tree, one gradient."""
    rows, key = factory.tokens((2, 17)), jax.random.key(7)
    want = run(factory.randomized(dropout=0.2), rows, key)
    policies = ("none", "light", "dots", "full")
    modes = [(scan, remat) for scan in (True, False) for remat in policies][1:]
    for scan_layers, remat in modes:
        gpt = factory.randomized(dropout=0.2, scan_layers=scan_layers, remat=remat)
        got = run(gpt, rows, key)
        for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-6)


def products(jaxpr) -> list[str]:
    """The products of a program, those of loops and calls included."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            found.append(equation.primitive.name)
        else:
            for inner in jaxprs_in_params(equation.params):
                found += products(inner)
    return found


def test_light_computes_no_product_again():
    """As many products as without recomputation; the other policies have more."""
    rows = factory.tokens((1, 17))
    counts = {}
    for remat in ("none", "light", "dots", "full"):
        gpt = factory.randomized(remat=remat)
        graph, params = nnx.split(gpt)

        def mean(params, graph=graph):
            return nnx.merge(graph, params)(rows[:, :-1]).sum()

        counts[remat] = len(products(jax.make_jaxpr(jax.grad(mean))(params).jaxpr))
    assert counts["light"] == counts["none"] < counts["dots"] < counts["full"]


def test_remat_full_saves_less():
    """The policies differ in what they keep: temporary bytes fall from none to dots to full."""
    rows = factory.tokens((8, 65))
    sizes = {}
    for remat in ("none", "light", "dots", "full"):
        gpt = factory.randomized(n_layer=8, block_size=64, remat=remat)
        graph, params = nnx.split(gpt)

        def mean(params, graph=graph):
            return nnx.merge(graph, params)(rows[:, :-1]).sum()

        with factory.quick_compilation(False):
            compiled = jax.jit(jax.grad(mean)).lower(params).compile()
        sizes[remat] = compiled.memory_analysis().temp_size_in_bytes
    assert sizes["full"] < 0.7 * sizes["dots"] < 0.7 * sizes["none"]
    assert sizes["light"] < 0.8 * sizes["none"]


def test_dropout_is_on_both_residual_branches_and_only_with_a_key():
    gpt = factory.randomized(dropout=0.5)
    rows = factory.tokens((2, 16))
    plain = factory.hidden(gpt, rows)
    np.testing.assert_allclose(plain, factory.hidden(factory.randomized(dropout=0.0), rows))
    keys = [jax.random.key(k) for k in (1, 1, 2)]
    one, again, other = (factory.hidden(gpt, rows, dropout_key=k) for k in keys)
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.01
    assert np.abs(one - plain).max() > 0.01


def test_document_mask_separates_documents():
    eot = 5
    gpt = factory.randomized(document_mask=True)
    rows = factory.tokens((1, 16))
    rows[rows == eot] = 6
    rows[0, 7] = eot
    forward = jax.jit(lambda t: gpt(t, segments_BL=attention.segments_from_eot(t, eot)))
    other = rows.copy()
    other[0, :7] = 1
    np.testing.assert_array_equal(forward(rows)[0, 8:], forward(other)[0, 8:])
    assert not np.array_equal(forward(rows)[0, 7], forward(other)[0, 7])
    with pytest.raises(ValueError, match="document_mask"):
        gpt(rows)
    with pytest.raises(ValueError, match="document_mask"):
        factory.randomized()(rows, segments_BL=np.zeros_like(rows))


def test_bfloat16_compute_keeps_fp32_parameters_and_logits():
    gpt = factory.randomized(compute_dtype="bfloat16")
    wide = factory.randomized()
    rows = factory.tokens((2, 16))
    logits = factory.logits(gpt, rows)
    assert factory.hidden(gpt, rows).dtype == jnp.bfloat16 and logits.dtype == jnp.float32
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(nnx.state(gpt, nnx.Param)))
    want = factory.logits(wide, rows)
    assert np.abs(logits - want).max() < 0.05 * np.abs(want).max()


def test_constrain_sees_the_activations():
    seen = []

    def constrain(x, axes):
        assert x.ndim == len(axes)
        seen.append(axes)
        return x

    factory.hidden(factory.randomized(), factory.tokens((2, 16)), constrain=constrain)
    assert {("batch", "length", "embed"), ("batch", "length", "mlp")} < set(seen)


@pytest.mark.parametrize(
    ("platform", "capability", "block_size", "dtype", "note"),
    [
        ("tpu", None, 256, "bfloat16", ""),
        ("tpu", None, 320, "bfloat16", "by xla, not by splash: .*, got 320"),
        ("gpu", "9.0", 320, "bfloat16", ""),
        ("gpu", "7.5", 256, "float32", "7.5 has neither .*: attention=xla, compute_dtype=float32"),
        ("gpu", "gfx942", 256, "float32", "attention=xla, compute_dtype=float32"),
        ("cpu", None, 320, "float32", ""),
    ],
)
def test_numerics_follow_the_device(platform, capability, block_size, dtype, note):
    device = types.SimpleNamespace(
        platform=platform, compute_capability=capability, device_kind="Tesla T4"
    )
    config = factory.ORIGINAL | {"attention": "auto", "compute_dtype": "auto"}
    config |= {"block_size": block_size}
    resolved = model.resolve(config, device)
    assert resolved["compute_dtype"] == dtype
    assert re.search(note, model.device_note(resolved, device))
    assert bool(note) == bool(model.device_note(resolved, device))


def test_a_named_backend_that_cannot_is_refused_and_auto_takes_xla():
    """cuDNN attention has no float32."""
    device = types.SimpleNamespace(platform="gpu", compute_capability="8.0", device_kind="A100")
    config = factory.ORIGINAL | {"compute_dtype": "float32"}
    assert model.resolve(config | {"attention": "auto"}, device)["attention"] == "xla"
    with pytest.raises(errors.UserError, match="computes in bfloat16, got float32.*attention=xla"):
        model.resolve(config | {"attention": "cudnn"}, device)


def test_heads_that_cudnn_has_no_kernel_for():
    """It would end in JAX's own NotImplementedError."""
    device = types.SimpleNamespace(platform="gpu", compute_capability="9.0", device_kind="H100")
    for n_embd, n_head, size in ((1280, 5, 256), (60, 5, 12)):
        config = factory.ORIGINAL | {"compute_dtype": "auto", "n_embd": n_embd, "n_head": n_head}
        assert model.resolve(config | {"attention": "auto"}, device)["attention"] == "xla"
        with pytest.raises(errors.UserError, match=f"n_embd / n_head = {size}"):
            model.resolve(config | {"attention": "cudnn"}, device)


def test_no_random_state_in_the_module():
    gpt = jax.eval_shape(lambda: factory.build(dropout=0.1)[0])
    assert not jax.tree.leaves(nnx.state(gpt, nnx.Not(nnx.Param)))
