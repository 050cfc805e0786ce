"""Hugging Face checkpoint folders (GPT-2, Llama and its kin; safetensors) read and written.

Our default model has a bias in its output head, which GPT2LMHeadModel lacks. It goes into the last
norm's bias, or the export has a modelling file of its own (trust_remote_code=True).
"""

import json
import os
import shutil
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from data_pipeline import errors
from data_pipeline.tokens import tokenizer as tokenizers
from mypt_jax.interop import card, choices, head_bias, hf_config, hf_tokenizer, runs, tensors
from mypt_jax.runs import kinds, lineage, own_tokenizer

MAX_LOSS_CHANGE_NATS = 0.001
MODELLING_FILE = "modeling_mypt.py"
GENERATION_FILE = "generation_config.json"
# Buffers, not weights, that old GPT-2 files carry along.
GPT2_BUFFERS = (".attn.bias", ".attn.masked_bias")


def _safetensors():
    try:
        import safetensors
        import safetensors.flax
    except ImportError:
        raise errors.UserError(
            "Hugging Face checkpoints need safetensors: pip install -r requirements-interop.txt"
        ) from None
    return safetensors


def _files(directory: str) -> list[str]:
    """The .safetensors files of a checkpoint, whole or in parts."""
    index = os.path.join(directory, "model.safetensors.index.json")
    if os.path.isfile(index):
        wanted = {"weight_map": {str: kinds.TEXT}}
        found = lineage.read_json(index, what="checkpoint", wanted=wanted)["weight_map"]
        # A name from a downloaded file must not lead out of its folder.
        return [
            os.path.join(directory, os.path.basename(name)) for name in sorted({*found.values()})
        ]
    path = os.path.join(directory, "model.safetensors")
    if not os.path.isfile(path):
        raise errors.UserError(
            f"{directory} holds no model.safetensors; files that are pickles (.bin, .pt) are never "
            "run: convert them with transformers' save_pretrained first"
        )
    return [path]


def read_tensors(directory: str) -> dict[str, np.ndarray]:
    """All tensors of a checkpoint folder as fp32. Raises UserError."""
    library = _safetensors()
    found = {}
    for path in _files(directory):
        try:
            # The flax reader, since the NumPy one knows no bfloat16.
            with library.safe_open(path, framework="flax") as file:
                for name in file.keys():  # noqa: SIM118 (not a dict)
                    found[name] = np.asarray(file.get_tensor(name), np.float32)
        except (OSError, library.SafetensorError) as error:
            raise errors.UserError(f"{path} cannot be read as safetensors: {error}") from None
    return found


def _normalised(found: Mapping, settings: Mapping, kind: str) -> dict[str, np.ndarray]:
    """Names as in our tables: GPT-2 with its prefix, no buffers, no copy of a tied table."""
    if kind == "gpt2":
        found = {n: x for n, x in found.items() if not n.endswith(GPT2_BUFFERS)}
        if "wte.weight" in found:
            found = {f"transformer.{n}": x for n, x in found.items()}
    if settings["tied_embeddings"]:
        found = {n: x for n, x in found.items() if n != "lm_head.weight"}
    return dict(found)


def import_folder(
    directory: str, workdir: str, *, block_size: int, tokenizer: str, origin: str
) -> list[str]:
    """Reads a Hugging Face folder and writes it as a finished base run; returns remarks for the
    user. `origin`: the run that it was made from, or ""."""
    runs.check_new_run(workdir)
    where = os.path.join(directory, "config.json")
    config = lineage.read_json(where, what="checkpoint", wanted={})
    settings = hf_config.import_settings(config, block_size=block_size, where=where)
    hf_config.special_ids(config, where=where)
    kind = config["model_type"]
    name = tokenizer or hf_tokenizer.recognise(directory)
    if tokenizers.get(name).vocab_size > settings["vocab_size"]:
        raise errors.UserError(
            f"{directory}: tokenizer {name} has {tokenizers.get(name).vocab_size} ids, the model "
            f"{settings['vocab_size']}: it belongs to another model"
        )
    found = _normalised(read_tensors(directory), settings, kind)
    params = tensors.to_ours(found, hf_config.table(settings, kind), settings, where=directory)
    family = runs.family_of(origin, settings=settings, tokenizer_name=name, source=directory)
    # The run keeps its own copy of them, and of what else its export must say.
    own = os.path.join(workdir, own_tokenizer.DIRECTORY)
    own_tokenizer.copy(directory, own)
    if name.startswith("hf:"):
        if name != f"hf:{directory}":
            shutil.copyfile(
                os.path.join(name.removeprefix("hf:"), "tokenizer.json"),
                os.path.join(own, "tokenizer.json"),
            )
        name = f"hf:{own}"
    remarks = _context_remarks(config, settings["block_size"], "--block_size=N takes more of it.")
    runs.write(
        workdir,
        params=params,
        settings=settings,
        tokenizer_name=name,
        source=directory,
        note=". ".join(
            [f"imported from the Hugging Face checkpoint {directory} ({kind})", *remarks]
        ),
        origin=family,
    )
    return remarks


def _context_remarks(config: Mapping, block_size: int, advice: str) -> list[str]:
    """What is said where a model's context is longer than what is taken of it."""
    longest = hf_config.longest(config)
    if longest <= block_size:
        return []
    return [f"Its context of {longest:,} tokens is cut to {block_size:,}. {advice}".rstrip()]


def _without_head_bias(loaded, settings: dict, *, eot: int, force: bool) -> tuple[dict, list[str]]:
    """Parameters with the head bias folded into the last norm's, and remarks on what that costs.

    Raises UserError when a role loses more than MAX_LOSS_CHANGE_NATS, unless forced.
    """
    params = head_bias.fold(loaded.params, tied=settings["tied_embeddings"])
    try:
        changes = head_bias.loss_change(
            loaded.params, params, settings, loaded.config["data"], eot=eot
        )
    except errors.UserError:
        if not force:
            raise
        changes = {}
    remarks = [
        f"Head bias folded into the last norm's: {role} loss {before:.4f} -> {after:.4f} "
        f"({after - before:+.5f} nats/token)."
        for role, (before, after) in changes.items()
    ] or ["Head bias folded into the last norm's; what that costs was not measured."]
    worst = max((after - before for before, after in changes.values()), default=0.0)
    if worst > MAX_LOSS_CHANGE_NATS and not force:
        raise errors.UserError(
            f"a plain GPT-2 has no head bias, and without it the loss rises by {worst:.5f} nats, "
            f"allowed are {MAX_LOSS_CHANGE_NATS}: {' '.join(remarks)} --keep_head_bias exports it "
            "as it is (loads with trust_remote_code=True), --force nevertheless"
        )
    return params, remarks


def _filled(params: Mapping, settings: Mapping) -> dict:
    """Parameters with zeros for biases that the family has and the run has not: exact."""
    flat = lineage.flatten(params)
    for name, shape in tensors.shapes(settings).items():
        flat.setdefault(name, np.zeros(shape, np.float32))
    return tensors.nested(flat)


def export_folder(
    spec: str,
    directory: str,
    *,
    dtype: str,
    keep_head_bias: bool,
    force: bool,
    base_model: str = "",
) -> list[str]:
    """Writes a run as a folder that transformers loads; returns remarks for the user."""
    library = _safetensors()
    runs.check_target(directory)
    loaded = runs.read(spec)
    settings = dict(loaded.config["model"])
    tokenizer = own_tokenizer.of(loaded.path, loaded.config, loaded.record)
    own = os.path.join(loaded.path, own_tokenizer.DIRECTORY)
    origin = _origin(own)
    params = loaded.params
    remarks = _context_remarks(origin, settings["block_size"], "")
    is_gpt2 = hf_config.family({**settings, "head_bias": False}, where=loaded.path) == "gpt2"
    if settings["head_bias"] and is_gpt2 and not keep_head_bias:
        params, cost = _without_head_bias(loaded, settings, eot=tokenizer.eot, force=force)
        remarks += cost
        settings["head_bias"] = False
    kind = hf_config.family(settings, where=loaded.path, was=origin.get("model_type", ""))
    settings = hf_config.completed(settings, kind)
    params = _filled(params, settings)
    arrays = tensors.to_theirs(params, hf_config.table(settings, kind), settings)
    flat = lineage.flatten(params)
    config = hf_config.export_config(
        settings,
        kind,
        width=flat["blocks/mlp/up/kernel"].shape[-1],
        ids=_special_ids(tokenizer, origin),
        dtype=choices.DTYPES[dtype],
    )
    os.makedirs(directory, exist_ok=True)
    if kind == "mypt":
        config["auto_map"] = {
            "AutoConfig": "modeling_mypt.MyPTConfig",
            "AutoModelForCausalLM": "modeling_mypt.MyPTForCausalLM",
        }
        source = os.path.join(os.path.dirname(__file__), MODELLING_FILE)
        shutil.copyfile(source, os.path.join(directory, MODELLING_FILE))
        remarks.append(f"Loads with trust_remote_code=True: its head bias is in {MODELLING_FILE}.")
    library.flax.save_file(
        {name: jnp.asarray(array, choices.DTYPES[dtype]) for name, array in arrays.items()},
        os.path.join(directory, "model.safetensors"),
        metadata={"format": "pt"},
    )
    hf_tokenizer.write(tokenizer, directory, block_size=settings["block_size"], own=own)
    text = card.render(
        path=loaded.path,
        step=loaded.step,
        config=loaded.config,
        record=loaded.record,
        parameters=sum(array.size for array in lineage.flatten(loaded.params).values()),
        remarks=remarks,
        base_model=base_model or _hub_name(origin),
        own_code=kind == "mypt",
    )
    written = {"config.json": json.dumps(config, indent=2), "README.md": text}
    if not os.path.isfile(os.path.join(directory, GENERATION_FILE)):
        ids = {key: config[key] for key in hf_config.SPECIAL_IDS if key in config}
        written[GENERATION_FILE] = json.dumps(ids, indent=2)
    for name, content in written.items():
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            file.write(content)
    # safetensors makes a file that nobody else may read.
    mode = os.stat(os.path.join(directory, "config.json")).st_mode
    os.chmod(os.path.join(directory, "model.safetensors"), mode)
    return remarks


def _origin(own: str) -> dict:
    """config.json of the model that a run was imported from, or its ancestor; {} for none."""
    path = os.path.join(own, own_tokenizer.ORIGIN)
    if not os.path.isfile(path):
        return {}
    found = lineage.read_json(path, what="checkpoint", wanted={"vocab_size": kinds.WHOLE})
    hf_config.special_ids(found, where=path)
    return found


def _hub_name(origin: Mapping) -> str:
    """What the model was called on the Hub that a run was imported from; "" where that is unknown.
    A path of the machine that it was saved on is no name."""
    name = origin.get("_name_or_path", "")
    return name if isinstance(name, str) and choices.HUB_NAME.fullmatch(name) else ""


def _special_ids(tokenizer: tokenizers.Tokenizer, origin: Mapping) -> dict:
    """bos, eos and pad as they came, else what the tokenizer says."""
    ends = [tokenizer.eot, *tokenizer.stops]
    own = {"bos_token_id": tokenizer.eot if tokenizer.bos is None else tokenizer.bos}
    own["eos_token_id"] = ends if tokenizer.stops else tokenizer.eot
    return {**own, **{key: origin[key] for key in hf_config.SPECIAL_IDS if key in origin}}
