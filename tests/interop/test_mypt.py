"""MyPT folders: parity with an independent torch model, bit-exact round trip, refused input."""

import json
import math

import model_factory as factory
import numpy as np
import pytest
from model_factory import quick  # noqa: F401

from data_pipeline import errors
from mypt_jax import continuation
from mypt_jax.checkpoint import restore
from mypt_jax.interop import mypt, mypt_folder
from mypt_jax.model import sampling
from mypt_jax.runs import lineage

torch = pytest.importorskip("torch")

CONFIG = {"vocab_size": 50_304, "block_size": 24, "n_embd": 16, "n_head": 2, "n_layer": 2}
CONFIG |= {"dropout": 0.1, "batch_size": 12, "device": "cuda", "use_loss_mask": False}


LATER = {"pos_encoding": "rope", "rope_theta": 500.0, "rope_scale": 2.0, "mlp_type": "swiglu"}
LATER |= {"norm_type": "rmsnorm", "tie_weights": True}


def rotated(x, theta, scale):
    """Pairs of the first with the second half, turned by position / scale (Su et al. 2021)."""
    half = x.shape[-1] // 2
    angles = torch.arange(x.shape[-2])[:, None] / scale / theta ** (torch.arange(half) / half)
    turned = torch.view_as_complex(torch.stack(x.split(half, -1), -1).contiguous())
    turned = torch.view_as_real(turned * torch.polar(torch.ones_like(angles), angles))
    return torch.cat([turned[..., 0], turned[..., 1]], -1)


class Attention(torch.nn.Module):
    def __init__(self, n_embd, n_head, bias, rope):
        super().__init__()
        self.n_head, self.rope = n_head, rope
        self.qkv = torch.nn.Linear(n_embd, 3 * n_embd, bias=bias)
        self.proj = torch.nn.Linear(n_embd, n_embd, bias=bias)

    def forward(self, x):
        batch, length, width = x.shape
        split = (batch, length, self.n_head, width // self.n_head)
        q, k, v = (part.view(split).transpose(1, 2) for part in self.qkv(x).split(width, -1))
        if self.rope:
            q, k = rotated(q, *self.rope), rotated(k, *self.rope)
        scores = q @ k.transpose(-1, -2) / math.sqrt(width // self.n_head)
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(future, float("-inf")).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, length, width))


class FeedForward(torch.nn.Module):
    def __init__(self, n_embd):
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(n_embd, 4 * n_embd),
            torch.nn.GELU(),
            torch.nn.Linear(4 * n_embd, n_embd),
        )

    def forward(self, x):
        return self.net(x)


class Gated(torch.nn.Module):
    def __init__(self, n_embd):
        super().__init__()
        width = math.ceil(8 * n_embd // 3 / 64) * 64
        self.w_gate = torch.nn.Linear(n_embd, width, bias=False)
        self.w_up = torch.nn.Linear(n_embd, width, bias=False)
        self.w_down = torch.nn.Linear(width, n_embd, bias=False)

    def forward(self, x):
        return self.w_down(torch.nn.functional.silu(self.w_gate(x)) * self.w_up(x))


def norm_of(config):
    if config.get("norm_type") == "rmsnorm":
        return torch.nn.RMSNorm(config["n_embd"], eps=1e-6)
    return torch.nn.LayerNorm(config["n_embd"])


class Block(torch.nn.Module):
    def __init__(self, config, bias):
        super().__init__()
        n_embd = config["n_embd"]
        rope = (config["rope_theta"], config["rope_scale"]) if "rope_theta" in config else ()
        self.sa = Attention(n_embd, config["n_head"], bias, rope)
        self.fwd = Gated(n_embd) if config.get("mlp_type") == "swiglu" else FeedForward(n_embd)
        self.ln1 = norm_of(config)
        self.ln2 = norm_of(config)

    def forward(self, x):
        x = x + self.sa(self.ln1(x))
        return x + self.fwd(self.ln2(x))


class Reference(torch.nn.Module):
    """The original's architecture under its parameter names, from its published shapes."""

    def __init__(self, config, bias=False):
        super().__init__()
        n_embd = config["n_embd"]
        self.token_embedding_table = torch.nn.Embedding(config["vocab_size"], n_embd)
        if config.get("pos_encoding") != "rope":
            self.position_embedding_table = torch.nn.Embedding(config["block_size"], n_embd)
        self.blocks = torch.nn.Sequential(*(Block(config, bias) for _ in range(config["n_layer"])))
        self.ln_f = norm_of(config)
        self.lm_head = torch.nn.Linear(n_embd, config["vocab_size"])
        if config.get("tie_weights"):
            self.lm_head.weight = self.token_embedding_table.weight
        for parameter in self.parameters():  # norms and biases too, so that none can be lost
            parameter.data += 0.1 * torch.randn(parameter.shape)

    def forward(self, tokens):
        x = self.token_embedding_table(tokens)
        if hasattr(self, "position_embedding_table"):
            x = x + self.position_embedding_table(torch.arange(tokens.shape[1]))
        return self.lm_head(self.ln_f(self.blocks(x)))


def write_folder(path, *, bias=False, wrapped=True, dtype=torch.float32, state=None, **changes):
    """A checkpoint folder as the original writes it; returns the fp32 model it holds."""
    torch.manual_seed(0)
    later = {key: value for key, value in changes.items() if key in LATER}
    reference = Reference({**CONFIG, **later}, bias).to(dtype).float()
    path.mkdir()
    tensors = (
        {k: v.to(dtype) for k, v in reference.state_dict().items()} if state is None else state
    )
    content = {"state_dict": tensors, "checkpoint_dtype": "bf16", "model_dtype": "x"}
    torch.save(content if wrapped else tensors, path / "model.pt")
    (path / "config.json").write_text(json.dumps({**CONFIG, "bias": bias, **changes}))
    tokenizer = {"token_kind": "gpt2", "chars": None, "base_vocab_size": 50_257}
    (path / "tokenizer.json").write_text(json.dumps(tokenizer))
    return reference


@pytest.mark.parametrize(
    ("bias", "wrapped", "dtype", "later"),
    [
        (False, True, torch.bfloat16, {}),
        (True, False, torch.float32, {}),
        (False, True, torch.float16, {}),
        (False, True, torch.float32, LATER),
    ],
    ids=["bf16", "raw with biases", "fp16", "the later architecture"],
)
def test_import_gives_the_same_logits_and_continuations(tmp_path, bias, wrapped, dtype, later):
    reference = write_folder(tmp_path / "in", bias=bias, wrapped=wrapped, dtype=dtype, **later)
    run = tmp_path / "base"
    assert mypt.main(["import", str(tmp_path / "in"), str(run)]) == 0
    made, tokenizer = continuation.load(str(run))
    assert tokenizer.name == "gpt2"
    rows = factory.tokens((2, 24), vocab_size=50_257)
    with torch.no_grad():
        want = reference(torch.from_numpy(rows).long()).numpy()
    got = np.asarray(factory.logits(made.gpt, rows))
    assert np.abs(got - want).max() < 1e-4
    greedy = sampling.Sampling(temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0)
    prompt = rows[0, :4].tolist()
    tokens = made.generate([prompt], max_new_tokens=16, sampling=greedy, seed=0).tokens[0]
    for token in tokens:
        with torch.no_grad():
            logits = reference(torch.tensor([prompt]))[0, -1, :50_257]
        assert token == int(logits.argmax())
        prompt.append(token)


@pytest.mark.parametrize(
    ("dtype", "name", "later"),
    [(torch.float32, "fp32", {}), (torch.bfloat16, "bf16", {}), (torch.float32, "fp32", LATER)],
)
def test_round_trip_is_bit_exact(tmp_path, dtype, name, later):
    write_folder(tmp_path / "in", dtype=dtype, **later)
    run = str(tmp_path / "base")
    mypt.main(["import", str(tmp_path / "in"), run])
    mypt.main(["export", run, str(tmp_path / "out"), f"--dtype={name}"])
    before, after = (
        torch.load(tmp_path / side / "model.pt", weights_only=True)["state_dict"]
        for side in ("in", "out")
    )
    assert set(before) == set(after)
    for key, tensor in before.items():
        assert tensor.dtype == after[key].dtype and torch.equal(tensor, after[key]), key
    Reference({**CONFIG, **later}).load_state_dict(after, strict=True)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert {key: config[key] for key in later} == later
    assert {key: config[key] for key in mypt_folder.SHAPE_KEYS} == {
        k: CONFIG[k] for k in mypt_folder.SHAPE_KEYS
    }


def test_an_imported_run_is_finished_and_has_a_lineage(tmp_path):
    write_folder(tmp_path / "in")
    run = str(tmp_path / "base")
    mypt.main(["import", str(tmp_path / "in"), run])
    loaded = restore.load_params(run)
    assert loaded.step == 0 and loaded.config["stage"] == "base"
    assert loaded.config["model"]["n_embd"] == 16 and not loaded.config["model"]["qkv_bias"]
    finished = json.loads((tmp_path / "base" / "finished.json").read_text())
    assert finished["params_sha256"] == lineage.params_sha256(loaded.params)


@pytest.mark.parametrize(
    ("changes", "flags", "tokenizer"),
    [
        ({}, [], "gpt2"),
        ({"use_loss_mask": True}, [], "mypt"),
        ({"use_loss_mask": True}, ["--tokenizer=mypt-v8"], "mypt-v8"),
    ],
)
def test_one_that_was_trained_on_conversations_says_control_tags(
    tmp_path, changes, flags, tokenizer
):
    """Also after a way out and in again, which the original's own files do not tell."""
    write_folder(tmp_path / "in", **changes)
    mypt.main(["import", str(tmp_path / "in"), str(tmp_path / "base"), *flags])
    mypt.main(["export", str(tmp_path / "base"), str(tmp_path / "out")])
    mypt.main(["import", str(tmp_path / "out"), str(tmp_path / "again")])
    for run in ("base", "again"):
        made, found = continuation.load(str(tmp_path / run))
        assert found.name == tokenizer and made.vocab_size == found.vocab_size


class Payload:
    """Unpickling this would create the file `marker`."""

    marker = "never"

    def __reduce__(self):
        return open, (self.marker, "w")


def changed(**tensors):
    """The state_dict with some tensors replaced; None removes one."""
    state = {**Reference(CONFIG).state_dict(), **tensors}
    return {name: tensor for name, tensor in state.items() if tensor is not None}


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ({"state": changed(**{"ln_f.weight": None})}, "tensor ln_f.weight (16,) is missing"),
        (
            {"state": changed(**{"ln_f.weight": torch.ones(3)})},
            "tensor ln_f.weight is (3,), its config wants (16,)",
        ),
        ({"state": changed(extra=torch.ones(3))}, "tensor extra has no place"),
        (
            {"state": changed(**{"ln_f.weight": torch.full((16,), torch.nan)})},
            "tensor ln_f.weight has values that are no numbers",
        ),
        ({"n_layer": 3}, "tensor blocks.2.sa.qkv.weight (48, 16) is missing"),
        ({"n_head": 3}, "n_embd 16 is not divisible by n_head 3"),
        ({"n_embd": "16"}, "n_embd is '16', wanted a number"),
        ({"pos_encoding": "alibi"}, "pos_encoding is 'alibi', an unknown architecture"),
        ({"state": {"x": "text"}}, "holds no state_dict"),
    ],
)
def test_refused_folders(tmp_path, capsys, folder, message):
    write_folder(tmp_path / "in", **folder)
    refused(tmp_path, capsys, message)


def refused(tmp_path, capsys, message):
    flags = ["import", str(tmp_path / "in"), str(tmp_path / "base")]
    assert errors.run(lambda: mypt.main(flags)) == errors.BAD_INPUT
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert not (tmp_path / "base").exists()


def test_a_pickle_payload_is_never_run(tmp_path, capsys):
    write_folder(tmp_path / "in")
    Payload.marker = str(tmp_path / "marker")
    torch.save({"state_dict": Payload()}, tmp_path / "in" / "model.pt")
    refused(tmp_path, capsys, "a pickle payload")
    assert not (tmp_path / "marker").exists()


def test_other_refused_input(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    refused(tmp_path, capsys, "wanted a MyPT folder")
    (tmp_path / "in").rmdir()
    write_folder(tmp_path / "in")
    (tmp_path / "in" / "model.pt").write_bytes(b"not a checkpoint")
    refused(tmp_path, capsys, "model.pt")
    (tmp_path / "in" / "tokenizer.json").write_text('{"token_kind": "char"}')
    refused(tmp_path, capsys, "token_kind is 'char', wanted 'gpt2'")


def test_export_never_overwrites_and_refuses_what_the_original_cannot_hold(tmp_path, capsys):
    write_folder(tmp_path / "in")
    run = str(tmp_path / "base")
    mypt.main(["import", str(tmp_path / "in"), run])
    capsys.readouterr()
    flags = ["export", run, str(tmp_path / "in")]
    assert errors.run(lambda: mypt.main(flags)) == errors.BAD_INPUT
    assert "not an empty directory" in capsys.readouterr().err
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    config["model"]["norm"] = "rmsnorm"
    (tmp_path / "base" / "config.json").write_text(json.dumps(config))
    flags = ["export", run, str(tmp_path / "out")]
    assert errors.run(lambda: mypt.main(flags)) == errors.BAD_INPUT
    assert "model.norm rmsnorm, model.norm_eps 1e-05" in capsys.readouterr().err
    config["model"] |= {"norm": "layernorm", "n_kv_head": 1}
    (tmp_path / "base" / "config.json").write_text(json.dumps(config))
    assert errors.run(lambda: mypt.main(flags)) == errors.BAD_INPUT
    assert "model.n_kv_head is 1" in capsys.readouterr().err
