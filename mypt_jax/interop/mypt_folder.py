"""MyPT checkpoint folders (model.pt, config.json, tokenizer.json) read and written.

Format: core/checkpoint.py and core/model.py of the original, at v8 and with its later switches
(rotary positions, SwiGLU, RMSNorm, tied embeddings). model.pt is read with weights_only=True:
nothing in it runs.
"""

import json
import os
from collections.abc import Mapping
from pickle import UnpicklingError

import numpy as np

from data_pipeline import errors
from data_pipeline.tokens import mypt_format
from mypt_jax.interop import runs, tensors

# Keys of the original's config that shape the model; all others concern training.
SHAPE_KEYS = ("vocab_size", "block_size", "n_layer", "n_head", "n_embd")
# Its switches, {its value: our keys}. The first value is that of v8, which has no such key; the
# others are of its later architecture (February 2026).
SWITCHES = {
    "pos_encoding": {"learned": {"position": "learned"}, "rope": {"position": "rope"}},
    "mlp_type": {
        "gelu": {"mlp": "plain", "activation": "gelu", "mlp_bias": True},
        "swiglu": {"mlp": "gated", "activation": "silu", "mlp_bias": False},
    },
    "norm_type": {
        "layernorm": {"norm": "layernorm", "norm_eps": 1e-5},
        "rmsnorm": {"norm": "rmsnorm", "norm_eps": 1e-6},
    },
    "tie_weights": {False: {"tied_embeddings": False}, True: {"tied_embeddings": True}},
}
TAGS_KEY = "control_tags"  # in tokenizer.json; the original reads past it
TOKENS, HEAD = "token_embedding_table.weight", "lm_head.weight"


def _mlp_width(settings: Mapping) -> int:
    """The original's MLP width: 4 n_embd, or 8/3 n_embd rounded up to 64."""
    plain = settings["mlp"] == "plain"
    return 4 * settings["n_embd"] if plain else -(-(8 * settings["n_embd"] // 3) // 64) * 64


def table(settings: Mapping) -> list[tensors.Entry]:
    """Where each of our parameters stands in the original's state_dict."""
    linear = {
        "blocks/attn/qkv": ("blocks.{i}.sa.qkv", settings["qkv_bias"]),
        "blocks/attn/proj": ("blocks.{i}.sa.proj", settings["proj_bias"]),
    }
    names = {"up": "net.0", "down": "net.2"}
    if settings["mlp"] == "gated":
        names = {"gate": "w_gate", "up": "w_up", "down": "w_down"}
    for ours, theirs in names.items():
        linear[f"blocks/mlp/{ours}"] = f"blocks.{{i}}.fwd.{theirs}", settings["mlp_bias"]
    entries = [tensors.Entry("embed/tokens", (TOKENS,))]
    if settings["position"] == "learned":
        entries.append(tensors.Entry("embed/positions", ("position_embedding_table.weight",)))
    for ours, (theirs, bias) in linear.items():
        entries.append(tensors.Entry(f"{ours}/kernel", (f"{theirs}.weight",), True))
        if bias:
            entries.append(tensors.Entry(f"{ours}/bias", (f"{theirs}.bias",)))
    norms = {"blocks/ln1": "blocks.{i}.ln1", "blocks/ln2": "blocks.{i}.ln2", "ln_f": "ln_f"}
    for ours, theirs in norms.items():
        entries.append(tensors.Entry(f"{ours}/scale", (f"{theirs}.weight",)))
        if settings["norm"] == "layernorm":
            entries.append(tensors.Entry(f"{ours}/bias", (f"{theirs}.bias",)))
    if not settings["tied_embeddings"]:
        entries.append(tensors.Entry("head/kernel", (HEAD,), True))
    return [*entries, tensors.Entry("head/bias", ("lm_head.bias",))]


def _torch():
    try:
        import torch
    except ImportError:
        raise errors.UserError(
            "MyPT checkpoints need torch: pip install -r requirements-interop.txt"
        ) from None
    return torch


def _json(directory: str, name: str) -> dict:
    path = os.path.join(directory, name)
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise errors.UserError(
            f"{path} cannot be read ({error}); wanted a MyPT folder with model.pt, config.json "
            "and tokenizer.json"
        ) from None
    if not isinstance(value, dict):
        raise errors.UserError(f"{path} holds no JSON object")
    return value


def settings_of(config: Mapping, *, where: str) -> dict:
    """config.model for a MyPT config. Raises UserError for an architecture unknown here."""
    switched = {}
    for key, known in SWITCHES.items():
        value = config.get(key, next(iter(known)))
        if value not in known:
            raise errors.UserError(
                f"{where}: {key} is {value!r}, an unknown architecture: wanted "
                f"{' or '.join(map(repr, known))}"
            )
        switched |= known[value]
    wrong = [k for k in SHAPE_KEYS if type(config.get(k)) is not int or config[k] < 1]
    if wrong:
        raise errors.UserError(f"{where}: {wrong[0]} is {config.get(wrong[0])!r}, wanted a number")
    if config["n_embd"] % config["n_head"]:
        raise errors.UserError(
            f"{where}: n_embd {config['n_embd']} is not divisible by n_head {config['n_head']}"
        )
    bias = bool(config.get("bias", False))
    settings = {**runs.base_model(), **{key: config[key] for key in SHAPE_KEYS}, **switched}
    scale = float(config.get("rope_scale", 1.0))
    return {
        **settings,
        "mlp_width": _mlp_width(settings),
        "rope_theta": float(config.get("rope_theta", settings["rope_theta"])),
        "rope_scaling": () if scale == 1 else (scale,),
        "dropout": float(config.get("dropout", 0.1)),
        "qkv_bias": bias,
        "proj_bias": bias,
    }


def _state_dict(path: str) -> dict[str, np.ndarray]:
    """Tensors of a model.pt, wrapped or raw, as fp32 NumPy."""
    torch = _torch()
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:
        raise errors.UserError(
            f"{path} holds more than tensors (a pickle payload), which is never run: "
            "save its state_dict alone"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise errors.UserError(f"{path} cannot be read as a torch file: {error}") from None
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(
        isinstance(value, torch.Tensor) and value.is_floating_point() for value in content.values()
    ):
        raise errors.UserError(f"{path} holds no state_dict: wanted a mapping of names to tensors")
    return {str(name): value.float().numpy() for name, value in content.items()}


def _tokenizer_of(directory: str, config: Mapping) -> str:
    """Which control tags a model says: an earlier export of ours names them; else one that was
    trained with a loss mask, which is for conversations, has those of now."""
    state = _json(directory, "tokenizer.json")
    kind = state.get("token_kind")
    if kind != "gpt2":
        raise errors.UserError(
            f"{directory}/tokenizer.json: token_kind is {kind!r}, wanted 'gpt2': the tokenizer "
            "differs from every one known here"
        )
    named = state.get(TAGS_KEY, "mypt" if config.get("use_loss_mask") else "gpt2")
    if named not in mypt_format.TOKENIZERS:
        raise errors.UserError(f"{directory}/tokenizer.json: {TAGS_KEY} is {named!r}, unknown here")
    return named


def import_folder(directory: str, workdir: str, *, origin: str, tokenizer: str = "") -> None:
    """Reads a MyPT folder and writes it as a finished base run; `origin`: the run that it was made
    from, or ""; `tokenizer`: which of TOKENIZERS, "" for what the folder says."""
    runs.check_new_run(workdir)
    where = os.path.join(directory, "config.json")
    config = _json(directory, "config.json")
    settings = settings_of(config, where=where)
    name = _tokenizer_of(directory, config)
    name = tokenizer or name
    path = os.path.join(directory, "model.pt")
    state = _state_dict(path)
    if settings["tied_embeddings"] and HEAD in state and TOKENS in state:
        if np.array_equal(state[HEAD], state[TOKENS]):
            del state[HEAD]  # the same tensor twice
    params = tensors.to_ours(state, table(settings), settings, where=path)
    runs.write(
        workdir,
        params=params,
        settings=settings,
        tokenizer_name=name,
        source=directory,
        note=f"imported from the MyPT checkpoint {directory}",
        origin=runs.family_of(origin, settings=settings, tokenizer_name=name, source=directory),
    )


def switches_of(settings: Mapping, *, where: str) -> dict:
    """The original's switches that mean these keys. Raises UserError where it has none."""
    found = {}
    for key, values in SWITCHES.items():
        for value, ours in values.items():
            if all(settings[name] == wanted for name, wanted in ours.items()):
                found[key] = value
        if key not in found:
            names = [name for name in next(iter(values.values()))]
            raise errors.UserError(
                f"{where}: {', '.join(f'model.{name} {settings[name]}' for name in names)}: the "
                "original MyPT has no such model, export to Hugging Face instead"
            )
    return found


def check_exportable(settings: Mapping, tokenizer: str, *, where: str) -> None:
    """Raises UserError when the original cannot express a model with these keys."""
    switches_of(settings, where=where)
    base = runs.base_model()
    free = {*SHAPE_KEYS, "dropout", "dropout_bits", "qkv_bias", "proj_bias", "init", "param_dtype"}
    free |= {"compute_dtype", "attention", "document_mask", "remat", "gather_weights"}
    free |= {"scan_layers", "loss_chunks"}
    free |= {name for values in SWITCHES.values() for ours in values.values() for name in ours}
    if settings["position"] == "rope" and len(settings["rope_scaling"]) < 2:
        free |= {"rope_theta", "rope_scaling"}
    usual = {"n_kv_head": settings["n_head"], "mlp_width": _mlp_width(settings)}
    for key, value in settings.items():
        same = tuple(value) == base[key] if isinstance(value, list) else value == base[key]
        if key not in free and not same and value != usual.get(key):
            raise errors.UserError(
                f"{where}: model.{key} is {value}, the original MyPT knows only {base[key]}: "
                "export to Hugging Face instead"
            )
    if settings["qkv_bias"] != settings["proj_bias"]:
        raise errors.UserError(f"{where}: the original has one switch for qkv_bias and proj_bias")
    if tokenizer not in mypt_format.TOKENIZERS:
        raise errors.UserError(f"{where}: tokenizer is {tokenizer}, the original knows only gpt2")


def export_folder(spec: str, directory: str, *, dtype: str) -> None:
    """Writes a run as a folder that the original loads: wrapped model.pt and its JSON files."""
    torch = _torch()
    runs.check_target(directory)
    loaded = runs.read(spec)
    settings = loaded.config["model"]
    name = loaded.config["data"]["tokenizer"]
    check_exportable(settings, name, where=loaded.path)
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
    arrays = tensors.to_theirs(loaded.params, table(settings), settings)
    if settings["tied_embeddings"]:
        arrays[HEAD] = arrays[TOKENS]
    state = {name: torch.from_numpy(array).to(kind) for name, array in arrays.items()}
    config = {
        **{key: settings[key] for key in SHAPE_KEYS},
        "dropout": settings["dropout"],
        "bias": settings["qkv_bias"],
        "batch_size": loaded.config["batch_size"],
        "use_checkpoint": settings["remat"] in ("dots", "full"),
        "use_loss_mask": False,
        "device": "cpu",
        **switches_of(settings, where=loaded.path),
    }
    if settings["position"] == "rope":
        config["rope_theta"] = settings["rope_theta"]
        config["rope_scale"] = settings["rope_scaling"][0] if settings["rope_scaling"] else 1.0
    os.makedirs(directory, exist_ok=True)
    wrapped = {"state_dict": state, "checkpoint_dtype": dtype, "model_dtype": str(kind)}
    torch.save(wrapped, os.path.join(directory, "model.pt"))
    tokenizer = {"token_kind": "gpt2", "chars": None, "base_vocab_size": 50_257}
    tokenizer[TAGS_KEY] = name
    for name, value in (("config.json", config), ("tokenizer.json", tokenizer)):
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            json.dump(value, file, indent=2)
