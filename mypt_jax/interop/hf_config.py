"""Hugging Face model configs and tensor names <-> config.model, by family.

GPT-2; Llama, and what differs from it in a few places: Mistral, Qwen 2, Qwen 3 (norms of queries
and keys), OLMo 2 (these, over all heads, and norms after attention and MLP).
"""

from collections.abc import Mapping

from data_pipeline import errors
from mypt_jax.interop import choices, runs, tensors
from mypt_jax.model import flops

GPT2_ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "silu": "silu",
}
QWEN3_HEAD_SIZE = 128  # where its config names none
SPECIAL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
ARCHITECTURES = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "olmo2": "Olmo2ForCausalLM",
    "mypt": "MyPTForCausalLM",
}


def import_settings(config: Mapping, *, block_size: int, where: str) -> dict:
    """config.model for a Hugging Face config.json; block_size 0 takes the usual one.

    Raises UserError for an architecture that config.model cannot express.
    """
    kind = config.get("model_type")
    try:
        if kind in ("gpt2", "mypt"):
            settings = _gpt2_settings(config, where) | {"head_bias": kind == "mypt"}
        elif kind in ARCHITECTURES:
            settings = _llama_settings(config, where)
        else:
            raise errors.UserError(
                f"{where}: model_type is {kind!r}, an unknown architecture: wanted one of "
                f"{', '.join(ARCHITECTURES)}"
            )
    except KeyError as error:
        raise errors.UserError(f"{where}: key {error} is missing") from None
    settings = {**runs.base_model(), **settings}
    longest = settings["block_size"]
    if settings["position"] == "learned" and block_size not in (0, longest):
        raise errors.UserError(f"{where}: its position table fixes --block_size at {longest}")
    if settings["position"] == "rope":
        window = config.get("sliding_window") or longest
        if block_size > window:
            raise errors.UserError(
                f"{where}: sliding_window is {window}, beyond which its layers do not look: "
                f"--block_size at most {window}"
            )
        settings["block_size"] = block_size or min(longest, window, choices.ROPE_BLOCK_TOKENS)
    return settings


def _refuse(config: Mapping, unsupported: Mapping, where: str) -> None:
    for key, allowed in unsupported.items():
        if config.get(key, allowed) != allowed:
            raise errors.UserError(
                f"{where}: {key} is {config[key]!r}, unknown here: wanted {allowed!r}"
            )


def _gpt2_settings(config: Mapping, where: str) -> dict:
    fixed = {"scale_attn_by_inverse_layer_idx": False, "scale_attn_weights": True}
    _refuse(config, {**fixed, "add_cross_attention": False}, where)
    activation = config.get("activation_function", "gelu_new")
    if activation not in GPT2_ACTIVATIONS:
        raise errors.UserError(
            f"{where}: activation_function is {activation!r}, wanted one of "
            f"{', '.join(GPT2_ACTIVATIONS)}"
        )
    return {
        "vocab_size": config["vocab_size"],
        "block_size": config["n_positions"],
        "n_layer": config["n_layer"],
        "n_head": config["n_head"],
        "n_embd": config["n_embd"],
        "mlp_width": config.get("n_inner") or 0,
        "activation": GPT2_ACTIVATIONS[activation],
        "norm_eps": config.get("layer_norm_epsilon", 1e-5),
        "tied_embeddings": config.get("tie_word_embeddings", True),
        "qkv_bias": True,
        "proj_bias": True,
        "mlp_bias": True,
        "dropout": config.get("resid_pdrop", 0.1),
    }


def _llama_settings(config: Mapping, where: str) -> dict:
    kind = config["model_type"]
    qwen = kind == "qwen2"
    n_head, n_embd = config["num_attention_heads"], config["hidden_size"]
    _refuse(config, {"hidden_act": "silu", "use_sliding_window": False}, where)
    usual = n_embd // n_head
    head_size = config.get("head_dim") or (QWEN3_HEAD_SIZE if kind == "qwen3" else usual)
    theta, scaling = _rope(config, where)
    attention_bias = config.get("attention_bias", False)
    return {
        "vocab_size": config["vocab_size"],
        "block_size": config["max_position_embeddings"],
        "n_layer": config["num_hidden_layers"],
        "n_head": n_head,
        "n_kv_head": config.get("num_key_value_heads") or n_head,
        "head_size": 0 if head_size * n_head == n_embd else head_size,
        "n_embd": n_embd,
        "mlp_width": config["intermediate_size"],
        "mlp": "gated",
        "activation": "silu",
        "norm": "rmsnorm",
        "norm_eps": config.get("rms_norm_eps", 1e-5 if kind == "olmo2" else 1e-6),
        "norm_place": "after" if kind == "olmo2" else "before",
        "qk_norm": {"qwen3": "head", "olmo2": "all"}.get(kind, "none"),
        "position": "rope",
        "rope_theta": theta,
        "rope_scaling": scaling,
        "tied_embeddings": config.get("tie_word_embeddings", False),
        "qkv_bias": qwen or attention_bias,
        "proj_bias": not qwen and attention_bias,
        "mlp_bias": config.get("mlp_bias", False),
        "head_bias": False,
        "dropout": 0.0,
    }


def _rope(config: Mapping, where: str) -> tuple[float, tuple]:
    """(theta, rope_scaling) from either spelling: rope_parameters, or rope_theta + rope_scaling."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0)
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return theta, ()
    if kind == "linear":
        return theta, (float(rope["factor"]),)
    if kind == "llama3":
        names = ("factor", "low_freq_factor", "high_freq_factor")
        names += ("original_max_position_embeddings",)
        return theta, tuple(float(rope[name]) for name in names)
    raise errors.UserError(
        f"{where}: rope_type is {kind!r}, an unknown architecture here: wanted default, linear "
        "or llama3"
    )


def family(settings: Mapping, *, where: str, was: str = "") -> str:
    """Which Hugging Face model type expresses these keys of config.model; "mypt" is our own.

    `was`: the type that a run was imported as. Raises UserError when none does.
    """
    kv_heads = settings["n_kv_head"] or settings["n_head"]
    gpt2 = (settings["position"], settings["norm"], settings["mlp"], kv_heads)
    norms = settings["norm_place"], settings["qk_norm"]
    plain = norms == ("before", "none")
    if plain and gpt2 == ("learned", "layernorm", "plain", settings["n_head"]):
        return "mypt" if settings["head_bias"] else "gpt2"
    llama = tuple(settings[key] for key in ("position", "norm", "mlp", "activation", "head_bias"))
    if llama == ("rope", "rmsnorm", "gated", "silu", False):
        normed = {("before", "head"): "qwen3", ("after", "all"): "olmo2"}.get(norms)
        if normed and not settings["mlp_bias"]:
            return normed
    if plain and llama == ("rope", "rmsnorm", "gated", "silu", False):
        only_qkv = settings["qkv_bias"] and not settings["proj_bias"] and not settings["mlp_bias"]
        biased = settings["qkv_bias"] or settings["proj_bias"] or settings["mlp_bias"]
        if was == "mistral" and not biased and not settings["rope_scaling"]:
            return was  # the same as a Llama
        return "qwen2" if only_qkv else "llama"
    raise errors.UserError(
        f"{where}: no Hugging Face model has this mixture of position, norm, mlp, activation, "
        f"biases and norms' places {(*gpt2, *llama, *norms)}"
    )


def completed(settings: Mapping, kind: str) -> dict:
    """Settings with the biases that the family always has; absent ones are exported as zeros."""
    if kind in ("gpt2", "mypt"):
        return {**settings, "qkv_bias": True, "proj_bias": True, "mlp_bias": True}
    if kind in ("llama", "qwen3", "olmo2") and settings["qkv_bias"] != settings["proj_bias"]:
        return {**settings, "qkv_bias": True, "proj_bias": True}
    return dict(settings)


def special_ids(config: Mapping, *, where: str) -> dict:
    """What a config.json says of the tokens that begin, end and pad a text; an end may be a list.
    Raises UserError for what are no ids of the model."""
    found = {key: config[key] for key in SPECIAL_IDS if key in config}
    for key, value in found.items():
        ids = value if isinstance(value, list) else [] if value is None else [value]
        if not all(type(one) is int and one < config["vocab_size"] for one in ids):
            raise errors.UserError(
                f"{where}: {key} is {value!r}, wanted ids below {config['vocab_size']}"
            )
    return found


def longest(config: Mapping) -> int:
    """The context that a config.json names, 0 where it names none."""
    found = config.get("n_positions", config.get("max_position_embeddings", 0))
    return found if type(found) is int else 0


def export_config(settings: Mapping, kind: str, *, width: int, ids: Mapping, dtype: str) -> dict:
    """config.json of a (completed) model; `width` is the MLP's, `ids` as of special_ids."""
    common = {
        "architectures": [ARCHITECTURES[kind]],
        "model_type": kind,
        "vocab_size": settings["vocab_size"],
        "tie_word_embeddings": settings["tied_embeddings"],
        **ids,
        "torch_dtype": dtype,
    }
    if kind in ("gpt2", "mypt"):
        names = {ours: theirs for theirs, ours in reversed(GPT2_ACTIVATIONS.items())}
        return {
            **common,
            "n_positions": settings["block_size"],
            "n_ctx": settings["block_size"],  # of no meaning to transformers; converters to GGUF
            "n_layer": settings["n_layer"],
            "n_head": settings["n_head"],
            "n_embd": settings["n_embd"],
            "n_inner": width,
            "activation_function": names[settings["activation"]],
            "layer_norm_epsilon": settings["norm_eps"],
            "resid_pdrop": settings["dropout"],
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
        }
    rope = {"rope_type": "default"}
    scaling = list(settings["rope_scaling"])
    if len(scaling) == 1:
        rope = {"rope_type": "linear", "factor": scaling[0]}
    elif scaling:
        names = ("factor", "low_freq_factor", "high_freq_factor")
        rope = {"rope_type": "llama3", **dict(zip(names, scaling[:3], strict=True))}
        rope["original_max_position_embeddings"] = int(scaling[3])
    config = {
        **common,
        "max_position_embeddings": settings["block_size"],
        "num_hidden_layers": settings["n_layer"],
        "num_attention_heads": settings["n_head"],
        "num_key_value_heads": settings["n_kv_head"] or settings["n_head"],
        "hidden_size": settings["n_embd"],
        "head_dim": flops.head_size(settings),
        "intermediate_size": width,
        "hidden_act": "silu",
        "rms_norm_eps": settings["norm_eps"],
        # Both spellings: transformers 4 reads the first two, transformers 5 the third.
        "rope_theta": settings["rope_theta"],
        "rope_scaling": rope if scaling else None,
        "rope_parameters": {**rope, "rope_theta": settings["rope_theta"]},
    }
    if kind in ("llama", "qwen3", "olmo2"):
        config["attention_bias"] = settings["proj_bias"]
    if kind == "llama":
        config["mlp_bias"] = settings["mlp_bias"]
    if kind == "mistral":
        config["sliding_window"] = None  # no run has a context beyond it
    return config


def table(settings: Mapping, kind: str) -> list[tensors.Entry]:
    """Where each of our parameters stands in a checkpoint of this family."""
    return _gpt2_table(settings) if kind in ("gpt2", "mypt") else _llama_table(settings)


def _gpt2_table(settings: Mapping) -> list[tensors.Entry]:
    entries = [
        tensors.Entry("embed/tokens", ("transformer.wte.weight",)),
        tensors.Entry("embed/positions", ("transformer.wpe.weight",)),
    ]
    layer = {"attn/qkv": "attn.c_attn", "attn/proj": "attn.c_proj"}
    layer |= {"mlp/up": "mlp.c_fc", "mlp/down": "mlp.c_proj"}
    for ours, theirs in layer.items():  # Conv1D: [in, out], as ours
        name = f"transformer.h.{{i}}.{theirs}"
        entries.append(tensors.Entry(f"blocks/{ours}/kernel", (f"{name}.weight",)))
        entries.append(tensors.Entry(f"blocks/{ours}/bias", (f"{name}.bias",)))
    norms = {"blocks/ln1": "transformer.h.{i}.ln_1", "blocks/ln2": "transformer.h.{i}.ln_2"}
    for ours, theirs in {**norms, "ln_f": "transformer.ln_f"}.items():
        entries.append(tensors.Entry(f"{ours}/scale", (f"{theirs}.weight",)))
        entries.append(tensors.Entry(f"{ours}/bias", (f"{theirs}.bias",)))
    return entries + _head(settings)


def _llama_table(settings: Mapping) -> list[tensors.Entry]:
    layer = "model.layers.{i}."
    attention = tuple(f"{layer}self_attn.{n}_proj" for n in "qkv")
    linear = {
        "attn/qkv": (attention, settings["qkv_bias"]),
        "attn/proj": ((f"{layer}self_attn.o_proj",), settings["proj_bias"]),
        "mlp/up": ((f"{layer}mlp.up_proj",), settings["mlp_bias"]),
        "mlp/gate": ((f"{layer}mlp.gate_proj",), settings["mlp_bias"]),
        "mlp/down": ((f"{layer}mlp.down_proj",), settings["mlp_bias"]),
    }
    norms = {"ln1": "input_layernorm", "ln2": "post_attention_layernorm"}
    if settings["norm_place"] == "after":
        norms = {"ln1": "post_attention_layernorm", "ln2": "post_feedforward_layernorm"}
    if settings["qk_norm"] != "none":
        norms |= {f"attn/{one}_norm": f"self_attn.{one}_norm" for one in "qk"}
    entries = [
        tensors.Entry("embed/tokens", ("model.embed_tokens.weight",)),
        tensors.Entry("ln_f/scale", ("model.norm.weight",)),
    ]
    for ours, theirs in norms.items():
        entries.append(tensors.Entry(f"blocks/{ours}/scale", (f"{layer}{theirs}.weight",)))
    for ours, (theirs, bias) in linear.items():
        weights = tuple(f"{name}.weight" for name in theirs)
        entries.append(tensors.Entry(f"blocks/{ours}/kernel", weights, True))
        if bias:
            biases = tuple(f"{name}.bias" for name in theirs)
            entries.append(tensors.Entry(f"blocks/{ours}/bias", biases))
    return entries + _head(settings)


def _head(settings: Mapping) -> list[tensors.Entry]:
    entries = []
    if not settings["tied_embeddings"]:
        entries.append(tensors.Entry("head/kernel", ("lm_head.weight",), True))
    if settings["head_bias"]:
        entries.append(tensors.Entry("head/bias", ("lm_head.bias",)))
    return entries
