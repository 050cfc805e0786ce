"""What every key of a config is: one row per key of configs/base.py, in its order.

Value checks, hints for misspelt and old names, `--help`, what a resumed or finished run may change,
what two evaluations must share, and how an old run is read: all follow from these rows. A new key
is a line with its comment in configs/base.py, and a row here.

What a key decides, its effect:

    ARCHITECTURE  what the parameters are and where they start: kept for the life of a run, and in
                  the group `model` by its children
    TRAINING      what is learned, beyond rounding: a finished run with another value is refused
    EVALUATION    what is measured, and when
    RESUME        what is kept, and when a run stops: how it can go on
    FREE          where it runs, how fast, and what is shown
"""

import dataclasses
import typing
from typing import Any

ARCHITECTURE = "architecture"
TRAINING = "training"
EVALUATION = "evaluation"
RESUME = "resume"
FREE = "free"

REQUIRED = object()  # instead of `absent`: no run was ever written without this key

# One value of a type in words, and several.
_WORDS: dict[type, tuple[str, str]] = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("True or False", "True or False"),
    str: ("text", "paths"),
}
_UNITS = {"_steps": "steps", "_tokens": "tokens", "_secs": "seconds", "_nats": "nats/token"}


@dataclasses.dataclass(frozen=True)
class Key:
    """One key; range and choices are those of each entry where the value is a tuple."""

    name: str  # "optim.peak_lr"
    type: Any  # int, float, bool, str, tuple[str, ...] or tuple[float, ...]
    effect: str
    _: dataclasses.KW_ONLY
    absent: Any = REQUIRED  # what a run had that was written before the key existed
    choices: tuple[str, ...] = ()
    above: float | None = None  # value > above
    least: float | None = None  # value >= least
    below: float | None = None  # value < below
    most: float | None = None  # value <= most
    wanted: str = ""  # what it takes, where the words for a range say too little; a text is not ""
    single: bool = False  # the device computes with it in float32
    numerics: bool = False  # evaluations that differ in it are equal but for rounding
    per_process: bool = False  # the processes of one run may differ in it
    unit: str = ""  # where the name does not end with it
    was: tuple[str, ...] = ()  # what the guide and the original call it
    only: tuple[str, ...] = ()  # (another key, values of it with which this one has an effect)

    @property
    def is_recipe(self) -> bool:
        """How one stage learns, which an ancestor of it need not: what is trained, but not which
        datasets there are."""
        is_dataset = self.name.startswith("data.") and self.name != "data.replay_ratio"
        return self.effect == TRAINING and not is_dataset

    @property
    def leaf(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def is_tuple(self) -> bool:
        return typing.get_origin(self.type) is tuple

    @property
    def entry_type(self) -> type:
        """The type of the value, or of each entry of a tuple."""
        return typing.get_args(self.type)[0] if self.is_tuple else self.type

    @property
    def type_in_words(self) -> str:
        return _WORDS[self.entry_type][self.is_tuple]

    @property
    def measured_in(self) -> str:
        """Its unit; "" for none."""
        return self.unit or next((u for end, u in _UNITS.items() if self.name.endswith(end)), "")

    @property
    def allowed(self) -> str:
        """What it takes, in words; "" where the type says all."""
        if self.wanted or self.choices:
            return self.wanted or " | ".join(self.choices)
        low = self.least if self.above is None else self.above
        high = self.most if self.below is None else self.below
        if low is None:
            return ""
        if high is not None:
            lower = "<=" if self.above is None else "<"
            upper = "<=" if self.below is None else "<"
            return f"{low:g} {lower} value {upper} {high:g}"
        if self.above is None:
            return f"{low:g} or more"
        return f"more than {low:g}" if low else "a positive number"


ROWS: tuple[Key, ...] = (
    Key("stage", str, FREE),
    Key("size", str, FREE),
    Key("workdir", str, FREE, wanted="a directory to write to", was=("model_name", "log_file")),
    Key("seed", int, TRAINING, least=0, below=2**32, wanted="less than 2**32, 0 or more"),
    Key(
        "init_from",
        str,
        ARCHITECTURE,
        wanted="scratch or a run (PATH, PATH@STEP, PATH@best)",
        was=("init_from_model",),
    ),
    Key("num_steps", int, TRAINING, above=0, was=("max_iters",)),
    Key("domain_epochs", float, TRAINING, least=0, unit="epochs", absent=0.0),
    Key("batch_size", int, TRAINING, above=0, unit="windows"),
    Key(
        "accumulation_steps",
        int,
        TRAINING,
        above=0,
        unit="parts",
        absent=1,
        was=("grad_accum_steps",),
    ),
    Key("model.vocab_size", int, ARCHITECTURE, above=0, unit="ids"),
    Key("model.block_size", int, ARCHITECTURE, above=0, unit="tokens"),
    Key("model.n_layer", int, ARCHITECTURE, above=0, unit="blocks"),
    Key("model.n_head", int, ARCHITECTURE, above=0, unit="heads"),
    Key("model.n_kv_head", int, ARCHITECTURE, least=0, unit="heads", absent=0),
    Key("model.head_size", int, ARCHITECTURE, least=0, unit="channels", absent=0),
    Key("model.n_embd", int, ARCHITECTURE, above=0, unit="channels"),
    Key("model.mlp_width", int, ARCHITECTURE, least=0, unit="channels", absent=0),
    Key("model.mlp", str, ARCHITECTURE, choices=("plain", "gated"), absent="plain"),
    Key(
        "model.activation", str, ARCHITECTURE, choices=("gelu", "gelu_tanh", "silu"), absent="gelu"
    ),
    Key("model.norm", str, ARCHITECTURE, choices=("layernorm", "rmsnorm"), absent="layernorm"),
    Key("model.norm_eps", float, ARCHITECTURE, above=0, single=True, absent=1e-5),
    Key("model.norm_place", str, ARCHITECTURE, choices=("before", "after"), absent="before"),
    Key("model.qk_norm", str, ARCHITECTURE, choices=("none", "head", "all"), absent="none"),
    Key(
        "model.position",
        str,
        ARCHITECTURE,
        choices=("learned", "rope"),
        absent="learned",
        was=("pos_encoding",),
    ),
    Key(
        "model.rope_theta",
        float,
        ARCHITECTURE,
        above=0,
        single=True,
        absent=10_000.0,
        only=("model.position", "rope"),
    ),
    Key(
        "model.rope_scaling",
        tuple[float, ...],
        ARCHITECTURE,
        above=0,
        wanted="(), (factor,) or (factor, low, high, original block_size), positive and low < high",
        absent=(),
        was=("rope_scale",),
        only=("model.position", "rope"),
    ),
    Key("model.tied_embeddings", bool, ARCHITECTURE, absent=False, was=("tie_weights",)),
    Key("model.qkv_bias", bool, ARCHITECTURE, absent=False, was=("bias",)),
    Key("model.proj_bias", bool, ARCHITECTURE, absent=False, was=("bias",)),
    Key("model.mlp_bias", bool, ARCHITECTURE, absent=True),
    Key("model.head_bias", bool, ARCHITECTURE, absent=True),
    Key("model.dropout", float, TRAINING, least=0, below=1, single=True, unit="share", absent=0.1),
    Key(
        "model.dropout_bits",
        str,
        FREE,
        choices=("auto", "threefry", "hash"),
        numerics=True,
        absent="threefry",
    ),
    Key("model.init", str, TRAINING, choices=("scaled_normal", "torch"), absent="scaled_normal"),
    Key(
        "model.param_dtype",
        str,
        ARCHITECTURE,
        choices=("float32", "bfloat16"),
        numerics=True,
        absent="float32",
        was=("save_dtype",),
    ),
    Key(
        "model.compute_dtype",
        str,
        TRAINING,
        choices=("auto", "float32", "bfloat16"),
        numerics=True,
        absent="auto",
        was=("use_amp", "amp_dtype"),
    ),
    Key(
        "model.attention",
        str,
        FREE,
        choices=("auto", "splash", "cudnn", "xla"),
        numerics=True,
        absent="auto",
    ),
    Key("model.document_mask", bool, TRAINING, numerics=True, absent=False),
    Key(
        "model.remat",
        str,
        FREE,
        choices=("auto", "none", "light", "dots", "full"),
        numerics=True,
        absent="none",
        was=("use_checkpoint",),
    ),
    Key("model.gather_weights", bool, FREE, numerics=True, absent=False),
    Key("model.scan_layers", bool, FREE, numerics=True, absent=True),
    Key("model.loss_chunks", int, FREE, above=0, numerics=True, unit="parts", absent=4),
    Key("optim.optimizer", str, TRAINING, choices=("adamw", "lion"), absent="adamw"),
    Key("optim.peak_lr", float, TRAINING, above=0, single=True, was=("learning_rate", "lr")),
    Key(
        "optim.warmup_steps",
        float,
        TRAINING,
        least=0,
        unit="updates, or a share below 1",
        was=("warmup_iters",),
    ),
    Key("optim.schedule", str, TRAINING, choices=("constant", "cosine", "wsd"), absent="constant"),
    Key(
        "optim.final_lr_ratio",
        float,
        TRAINING,
        least=0,
        most=1,
        unit="share of peak_lr",
        absent=0.1,
        only=("optim.schedule", "cosine", "wsd"),
    ),
    Key(
        "optim.decay_ratio",
        float,
        TRAINING,
        above=0,
        most=1,
        unit="share of num_steps",
        absent=0.2,
        only=("optim.schedule", "wsd"),
    ),
    Key("optim.beta1", float, TRAINING, least=0, below=1, single=True, absent=0.9),
    Key("optim.beta2", float, TRAINING, least=0, below=1, single=True, absent=0.95),
    Key(
        "optim.eps",
        float,
        TRAINING,
        above=0,
        single=True,
        absent=1e-8,
        only=("optim.optimizer", "adamw"),
    ),
    Key("optim.weight_decay", float, TRAINING, least=0, single=True, absent=0.1),
    Key("optim.moments", str, TRAINING, choices=("fresh", "parent"), absent="fresh"),
    Key("optim.average_ratio", float, TRAINING, least=0, below=1, absent=0.0),
    Key("optim.clip_norm", float, TRAINING, above=0, single=True, absent=1.0, was=("grad_clip",)),
    Key("adapter.rank", int, TRAINING, least=0, unit="columns", absent=0),
    Key("adapter.alpha", float, TRAINING, above=0, single=True, absent=16.0),
    Key(
        "adapter.matrices",
        tuple[str, ...],
        TRAINING,
        choices=("qkv", "proj", "gate", "up", "down"),
        absent=("qkv", "proj", "up", "down"),
    ),
    Key("objective.replay", str, TRAINING, choices=("ce", "kl", "ce+kl"), absent="ce"),
    Key(
        "objective.replay_weight",
        float,
        TRAINING,
        least=0,
        single=True,
        absent=3.0,
        only=("objective.replay", "kl", "ce+kl"),
    ),
    Key("objective.max_forgetting", float, TRAINING, least=0, absent=0.0),
    Key(
        "objective.limit_on",
        str,
        TRAINING,
        choices=("general", "behaviour", "drift"),
        absent="general",
    ),
    Key(
        "objective.teacher",
        str,
        TRAINING,
        choices=("base", "parent"),
        absent="base",
        only=("objective.replay", "kl", "ce+kl"),
    ),
    Key("data.tokenizer", str, TRAINING, was=("tokenization",)),
    Key("data.domain", tuple[str, ...], TRAINING, was=("dataset_dir",)),
    Key("data.general", tuple[str, ...], TRAINING, was=("dataset_dir",)),
    Key("data.elsewhere", tuple[str, ...], EVALUATION, absent=()),
    Key("data.domain_weights", tuple[float, ...], TRAINING, absent=()),
    Key("data.general_weights", tuple[float, ...], TRAINING, absent=()),
    Key(
        "data.replay_ratio",
        float,
        TRAINING,
        least=0,
        most=1,
        wanted="0..1 (a share, not %)",
        unit="share",
    ),
    Key("data.mixture", str, TRAINING, absent="", was=("dataset_dir",)),
    Key("data.bos_at_cuts", bool, TRAINING, absent=False),
    Key("data.prefetch_batches", int, FREE, above=0, unit="batches", per_process=True, absent=4),
    Key("data.allow_change", bool, RESUME, absent=False),
    Key("data.expected_domain_tokens", int, FREE, least=0, absent=0),
    Key("data.expected_general_tokens", int, FREE, least=0, absent=0),
    Key("eval.every_steps", int, EVALUATION, above=0, was=("eval_interval",)),
    Key("eval.schedule", str, EVALUATION, choices=("even", "geometric"), absent="even"),
    Key("eval.windows", int, EVALUATION, above=0, unit="windows", was=("eval_iters",)),
    Key("eval.min_windows", int, EVALUATION, above=0, unit="windows", absent=32),
    Key("eval.batch_size", int, FREE, least=0, unit="windows", numerics=True, absent=0),
    Key(
        "eval.extra", tuple[str, ...], EVALUATION, absent=(), was=("eval_sets", "eval_dataset_dir")
    ),
    Key("eval.drift", str, EVALUATION, choices=("end", "always", "off"), absent="off"),
    Key("eval.parent_tolerance_nats", float, EVALUATION, least=0, absent=2e-3),
    Key("checkpoint.every_secs", float, RESUME, least=0, absent=900.0),
    Key("checkpoint.every_steps", int, RESUME, least=0, absent=0),
    Key("checkpoint.keep_last", int, RESUME, above=0, unit="steps", absent=2),
    Key("checkpoint.keep_best", int, RESUME, least=0, unit="steps", absent=1),
    Key("checkpoint.keep_optimizer", bool, RESUME, absent=False),
    Key("checkpoint.allow_cast", bool, RESUME, absent=False),
    Key("checkpoint.fallback", bool, RESUME, absent=True),
    Key("guard.action", str, RESUME, choices=("stop", "warn", "rollback"), absent="stop"),
    Key("guard.max_forgetting", float, RESUME, above=0, unit="share", absent=0.12),
    Key("guard.max_nonfinite_steps", int, RESUME, above=0, absent=5),
    Key("guard.spike_sigma", float, TRAINING, above=0, unit="standard deviations", absent=6.0),
    Key("guard.spike_window", int, TRAINING, above=0, unit="steps", absent=128),
    Key("guard.skip_spikes", bool, TRAINING, absent=False),
    Key("mesh.data", int, FREE, least=-1, unit="devices", absent=0),
    Key("mesh.fsdp", int, FREE, least=-1, unit="devices", absent=1),
    Key("mesh.tensor", int, FREE, least=-1, unit="devices", absent=1),
    Key("log.every_steps", int, FREE, above=0, absent=10),
    Key(
        "log.trackers",
        tuple[str, ...],
        FREE,
        choices=("tensorboard", "wandb"),
        absent=("tensorboard",),
        was=("tensorboard",),
    ),
    Key("log.wandb_project", str, FREE, absent=""),
    Key("profile.start_step", int, FREE, least=0, unit="step", absent=0),
    Key("profile.num_steps", int, FREE, least=0, absent=0),
    Key("time_budget_secs", float, RESUME, least=0, absent=0.0),
    Key("watchdog_secs", float, RESUME, least=0, absent=1800.0),
    Key("deterministic", bool, FREE, numerics=True, absent=False),
    Key("compile_cache", str, FREE, per_process=True, absent=""),
    Key("distributed.coordinator", str, FREE, absent=""),
    Key("distributed.num_processes", int, FREE, least=0, unit="processes", absent=0),
    Key(
        "distributed.process_id",
        int,
        FREE,
        least=-1,
        wanted="0 or more, or -1 where it is detected",
        per_process=True,
        absent=-1,
    ),
    Key("distributed.timeout_secs", float, FREE, above=0, absent=300.0),
    Key("distributed.save_timeout_secs", float, FREE, above=0, absent=1800.0),
)

BY_NAME = {row.name: row for row in ROWS}
