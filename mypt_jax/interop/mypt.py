"""MyPT checkpoint folders (model.pt, config.json, tokenizer.json) in and out.

    python -m mypt_jax.interop.mypt import DIR runs/base_from_mypt
    python -m mypt_jax.interop.mypt export runs/base_from_mypt DIR --dtype=bf16

Format: mypt_v8 core/checkpoint.py. model.pt is read with weights_only=True: nothing in it runs.
Needs torch (requirements-interop.txt).
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pickle import UnpicklingError

import numpy as np

from data_pipeline import errors
from mypt_jax.interop import runs, tensors

DTYPES = ("fp32", "bf16", "fp16")
# Keys of the original's config that shape the model; all others concern training.
SHAPE_KEYS = ("vocab_size", "block_size", "n_layer", "n_head", "n_embd")
# Values that the original's later architecture may hold; this reader knows the first of each.
KNOWN_VALUES = {
    "pos_encoding": ("learned",),
    "mlp_type": ("gelu",),
    "norm_type": ("layernorm",),
    "tie_weights": (False,),
}


def table(settings: Mapping) -> list[tensors.Entry]:
    """Where each of our parameters stands in the original's state_dict."""
    linear = {
        "blocks/attn/qkv": "blocks.{i}.sa.qkv",
        "blocks/attn/proj": "blocks.{i}.sa.proj",
        "blocks/mlp/up": "blocks.{i}.fwd.net.0",
        "blocks/mlp/down": "blocks.{i}.fwd.net.2",
        "head": "lm_head",
    }
    bias = {
        "blocks/attn/qkv": settings["qkv_bias"],
        "blocks/attn/proj": settings["proj_bias"],
    }
    entries = [
        tensors.Entry("embed/tokens", ("token_embedding_table.weight",)),
        tensors.Entry("embed/positions", ("position_embedding_table.weight",)),
    ]
    for ours, theirs in linear.items():
        entries.append(tensors.Entry(f"{ours}/kernel", (f"{theirs}.weight",), True))
        if bias.get(ours, True):
            entries.append(tensors.Entry(f"{ours}/bias", (f"{theirs}.bias",)))
    norms = {"blocks/ln1": "blocks.{i}.ln1", "blocks/ln2": "blocks.{i}.ln2", "ln_f": "ln_f"}
    for ours, theirs in norms.items():
        entries.append(tensors.Entry(f"{ours}/scale", (f"{theirs}.weight",)))
        entries.append(tensors.Entry(f"{ours}/bias", (f"{theirs}.bias",)))
    return entries


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
    except (OSError, ValueError) as error:
        raise errors.UserError(
            f"{path} cannot be read ({error}); wanted a MyPT folder with model.pt, config.json "
            "and tokenizer.json"
        ) from None
    if not isinstance(value, dict):
        raise errors.UserError(f"{path} holds no JSON object")
    return value


def settings_of(config: Mapping, *, where: str) -> dict:
    """config.model for a MyPT config. Raises UserError for an architecture unknown here."""
    for key, known in KNOWN_VALUES.items():
        if config.get(key, known[0]) not in known:
            raise errors.UserError(
                f"{where}: {key} is {config[key]!r}: an unknown architecture; "
                f"this command reads the original one ({key} {known[0]!r})"
            )
    wrong = [k for k in SHAPE_KEYS if type(config.get(k)) is not int or config[k] < 1]
    if wrong:
        raise errors.UserError(f"{where}: {wrong[0]} is {config.get(wrong[0])!r}, wanted a number")
    if config["n_embd"] % config["n_head"]:
        raise errors.UserError(
            f"{where}: n_embd {config['n_embd']} is not divisible by n_head {config['n_head']}"
        )
    bias = bool(config.get("bias", False))
    return {
        **runs.base_model(),
        **{key: config[key] for key in SHAPE_KEYS},
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


def import_folder(directory: str, workdir: str) -> None:
    """Reads a MyPT folder and writes it as a finished base run."""
    runs.check_target(workdir)
    where = os.path.join(directory, "config.json")
    settings = settings_of(_json(directory, "config.json"), where=where)
    kind = _json(directory, "tokenizer.json").get("token_kind")
    if kind != "gpt2":
        raise errors.UserError(
            f"{directory}/tokenizer.json: token_kind is {kind!r}, wanted 'gpt2': the tokenizer "
            "differs from every one known here"
        )
    path = os.path.join(directory, "model.pt")
    params = tensors.to_ours(_state_dict(path), table(settings), settings, where=path)
    runs.write(
        workdir,
        params=params,
        settings=settings,
        tokenizer_name="gpt2",
        source=directory,
        note=f"imported from the MyPT checkpoint {directory}",
    )


def check_exportable(settings: Mapping, tokenizer: str, *, where: str) -> None:
    """Raises UserError when the original cannot express a model with these keys."""
    base = runs.base_model()
    free = {*SHAPE_KEYS, "dropout", "qkv_bias", "proj_bias", "init", "param_dtype"}
    free |= {"compute_dtype", "attention", "document_mask", "remat", "scan_layers", "loss_chunks"}
    for key, value in settings.items():
        same = tuple(value) == base[key] if isinstance(value, list) else value == base[key]
        if key not in free and not same:
            raise errors.UserError(
                f"{where}: model.{key} is {value}, the original MyPT knows only {base[key]}: "
                "export to Hugging Face instead"
            )
    if settings["qkv_bias"] != settings["proj_bias"]:
        raise errors.UserError(f"{where}: the original has one switch for qkv_bias and proj_bias")
    if tokenizer != "gpt2":
        raise errors.UserError(f"{where}: tokenizer is {tokenizer}, the original knows only gpt2")


def export_folder(spec: str, directory: str, *, dtype: str) -> None:
    """Writes a run as a folder that the original loads: wrapped model.pt and its JSON files."""
    torch = _torch()
    runs.check_target(directory)
    loaded = runs.read(spec)
    settings = loaded.config["model"]
    check_exportable(settings, loaded.config["data"]["tokenizer"], where=loaded.path)
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
    arrays = tensors.to_theirs(loaded.params, table(settings), settings)
    state = {name: torch.from_numpy(array).to(kind) for name, array in arrays.items()}
    config = {
        **{key: settings[key] for key in SHAPE_KEYS},
        "dropout": settings["dropout"],
        "bias": settings["qkv_bias"],
        "batch_size": loaded.config["batch_size"],
        "use_checkpoint": settings["remat"] != "none",
        "use_loss_mask": False,
        "device": "cpu",
    }
    os.makedirs(directory, exist_ok=True)
    wrapped = {"state_dict": state, "checkpoint_dtype": dtype, "model_dtype": str(kind)}
    torch.save(wrapped, os.path.join(directory, "model.pt"))
    tokenizer = {"token_kind": "gpt2", "chars": None, "base_vocab_size": 50_257}
    for name, value in (("config.json", config), ("tokenizer.json", tokenizer)):
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            json.dump(value, file, indent=2)


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m mypt_jax.interop.mypt", description="MyPT checkpoint folders in and out."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    reader = commands.add_parser("import", help="a MyPT folder becomes a finished base run")
    reader.add_argument("directory")
    reader.add_argument("run")
    writer = commands.add_parser("export", help="a run becomes a folder that the original loads")
    writer.add_argument("run", help="PATH[@STEP|@best]")
    writer.add_argument("directory")
    writer.add_argument("--dtype", choices=DTYPES, default="fp32")
    arguments = parser.parse_args(argv)
    if arguments.command == "import":
        import_folder(arguments.directory, arguments.run)
        print(f"wrote {arguments.run}; train from it: --config=configs/v3.py:{arguments.run}")
    else:
        export_folder(arguments.run, arguments.directory, dtype=arguments.dtype)
        print(f"wrote {arguments.directory}")
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
