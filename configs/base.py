"""base: phase 1, a GPT trained from scratch on general text. The one complete config.

Source: MyPT domain adaptation guide, "Phase 1". There: val about 2.2 after 128,000 steps, 24 to
48 hours on an A100. The guide's table (3e-4, 128,000 steps, warmup 2,000) wins over the JSON file
that its command names (1.5e-4, 315,000 steps, warmup 5 %). Values that the guide leaves out are
the original's: clip 1.0, betas 0.9 / 0.95, evaluation every 2,000 steps.

    python -m mypt_jax.main --config=configs/base.py              # 759,656,064 parameters
    python -m mypt_jax.main --config=configs/base.py:tiny         # CPU, about two minutes

Every key stands here once, with its unit. Stage files change a few of them through
`common.domain_stage`; `--config.KEY=VALUE` is applied last and always wins, because `get_config`
computes literals from its argument only, never one key from another.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str = common.DEFAULT_ARGUMENT) -> ConfigDict:
    config = ConfigDict()
    config.stage = "base"  # the name of the stage, as reports and children call it
    config.size = "750m"  # which row of common.SIZES, or the name of the run it was derived from
    config.workdir = ""  # where this run writes: runs/<size>/<stage>
    config.seed = 1337  # initialisation, data order, dropout
    config.init_from = (
        "scratch"  # "scratch", or a run: PATH, PATH@STEP or PATH@best (parameters only)
    )

    config.num_steps = 128_000  # optimizer updates in this run
    config.domain_epochs = 0.0  # if set: num_steps follows from the domain's train tokens, 0 = off
    config.batch_size = 12  # windows per update, over all devices and hosts
    config.accumulation_steps = 1  # parts of a batch computed one after another, for memory

    config.model = ConfigDict()
    config.model.vocab_size = 50_304  # GPT-2's 50,257 padded to a multiple of 128
    config.model.block_size = 1024  # context length, tokens
    config.model.n_layer = 32  # blocks
    config.model.n_head = 20  # attention heads; divides n_embd
    config.model.n_kv_head = 0  # heads of keys and values, 0 = n_head
    config.model.head_size = 0  # channels of a head, 0 = n_embd / n_head
    config.model.n_embd = 1280  # width of the residual stream
    config.model.mlp_width = 0  # 0 = 4 n_embd; gated: 8/3 n_embd rounded up to 64
    config.model.mlp = "plain"  # plain | gated (SwiGLU with activation silu)
    config.model.activation = "gelu"  # gelu (erf) | gelu_tanh | silu
    config.model.norm = "layernorm"  # layernorm (scale and bias) | rmsnorm (scale)
    config.model.norm_eps = 1e-5  # added to the variance
    config.model.norm_place = "before"  # before | after (OLMo 2) attention and MLP
    config.model.qk_norm = "none"  # of queries and keys: none | head (Qwen 3) | all (OLMo 2)
    config.model.position = "learned"  # learned | rope
    config.model.rope_theta = 10_000.0  # base of the rotary frequencies
    config.model.rope_scaling = ()  # Llama 3: (factor, low, high, original length); () = off
    config.model.tied_embeddings = False  # the head is the token embedding
    config.model.qkv_bias = False  # of queries, keys and values
    config.model.proj_bias = False  # of the attention output projection
    config.model.mlp_bias = True  # of both MLP layers
    config.model.head_bias = True  # of the output layer
    config.model.dropout = 0.1  # on the two residual branches; never on attention probabilities
    config.model.dropout_bits = "auto"  # auto (on a TPU hash, which costs less) | threefry | hash
    config.model.init = "scaled_normal"  # scaled_normal (GPT-2) | torch (the original's)
    config.model.param_dtype = "float32"  # master weights; bfloat16 shows what the original lost
    config.model.compute_dtype = "auto"  # auto: bfloat16 on TPU and newer GPUs, float32 elsewhere
    config.model.attention = "auto"  # auto | splash | cudnn | xla
    config.model.document_mask = False  # no attention across documents inside a window
    # What the backward pass computes again: auto (the cheapest that fits) | none | light (norms,
    # activations, dropout) | dots (also attention) | full (a whole block).
    config.model.remat = "auto"
    # Split over devices: weights whole before they multiply, the loss by each device for its own
    # rows; False leaves both to XLA, which multiplies slices of a weight as they come by.
    config.model.gather_weights = True
    config.model.scan_layers = True  # one compiled block; False unrolls, same checkpoint
    config.model.loss_chunks = 4  # parts of the cross-entropy; [B, L, V] exists one part at a time

    config.optim = ConfigDict()
    config.optim.optimizer = "adamw"  # adamw | lion
    config.optim.peak_lr = 3e-4  # learning rate after warmup
    config.optim.warmup_steps = 2000.0  # updates; below 1: share of num_steps
    config.optim.schedule = "constant"  # after linear warmup: constant (original) | cosine | wsd
    config.optim.final_lr_ratio = 0.1  # cosine, wsd: last learning rate as a share of peak_lr
    config.optim.decay_ratio = 0.2  # wsd: share of num_steps in which the rate falls
    config.optim.beta1 = 0.9  # Adam: decay of the mean of gradients
    config.optim.beta2 = 0.95  # Adam: decay of the mean of their squares
    config.optim.eps = 1e-8  # Adam: added to the root of the squares
    config.optim.weight_decay = 0.1  # on weight matrices; not on embeddings, norms, biases
    config.optim.moments = "fresh"  # fresh | parent (and its last rate): what a stage begins with
    config.optim.average_ratio = 0.0  # last share of the run whose mean is its result, 0 = off
    config.optim.clip_norm = 1.0  # global gradient norm

    config.adapter = ConfigDict()
    config.adapter.rank = 0  # train a low-rank addition to matrices instead of all, 0 = off
    config.adapter.alpha = 16.0  # the addition is alpha / rank times its product
    config.adapter.matrices = ("qkv", "proj", "up", "down")  # of every block; gate where gated

    config.objective = ConfigDict()
    config.objective.replay = "ce"  # ce | kl | ce+kl: what replay windows are trained on
    config.objective.replay_weight = 3.0  # kl: of the divergence from the teacher
    config.objective.max_forgetting = 0.0  # replay_weight follows it, the end holds it; 0 = off
    # general | behaviour (the base's own samples): loss over the base's, as a share of it; drift:
    # KL(base || model), nats/token
    config.objective.limit_on = "general"
    config.objective.teacher = "base"  # base | parent: whose words replay windows keep

    config.data = ConfigDict()
    config.data.tokenizer = "gpt2"  # gpt2 | gpt2-4096 | mypt | mypt-v8 | hf:DIR
    # Token datasets: directories, each a DIR or one source of it, DIR#SOURCE.
    config.data.domain = ("data/itsec_v3_tokenized",)
    config.data.general = tuple(f"data/multilingual_1.5B_wiki90#{s}" for s, _ in common.PHASE1)
    config.data.elsewhere = ()  # general text of kinds that are never replayed: evaluated only
    config.data.domain_weights = ()  # relative numbers, one per entry; () = by train tokens
    config.data.general_weights = tuple(weight for _, weight in common.PHASE1)  # as domain_weights
    config.data.replay_ratio = 1.0  # share of general windows in training, 0..1
    config.data.mixture = (
        ""  # a directory of scripts/mix_tokenized_datasets.py, instead of the above
    )
    # Where documents begin with BOS (prepare --bos), windows cut out of one begin with it, too.
    config.data.bos_at_cuts = False
    config.data.prefetch_batches = 4  # batches made ready ahead of the step
    config.data.allow_change = False  # let a resumed run go on with changed data, and record it
    # Tokens by source for `plan` where a dataset is not there yet (the guide's tables).
    config.data.expected_domain_tokens = 161_000_000
    config.data.expected_general_tokens = 1_575_000_000

    config.eval = ConfigDict()
    config.eval.every_steps = 2000  # and at step 0 and the last
    # even | geometric: at 1, 2, 4, 8, .. times every_steps, so that a curve is seen early.
    config.eval.schedule = "even"
    # Per role, and as many of the half that is kept for the report: the guide's 150 batches of 12.
    config.eval.windows = 1800
    config.eval.min_windows = 32  # per source, where its val split has as many
    config.eval.batch_size = 0  # windows per forward pass, 0 = those of one training pass
    config.eval.extra = ()  # role=DIR: evaluated, never trained on, beside the role's own text
    # end | always | off: when KL(base || model) is measured on general text; end: and at step 0.
    config.eval.drift = "end"
    config.eval.parent_tolerance_nats = 2e-3  # step 0 against the parent's end, on other hardware

    config.checkpoint = ConfigDict()
    config.checkpoint.every_secs = 900.0  # time between saves, 0 = off
    config.checkpoint.every_steps = 0  # 0 = off; a save is due by whichever of the two comes first
    config.checkpoint.keep_last = 2  # newest steps kept
    config.checkpoint.keep_best = 1  # steps of lowest domain loss inside guard.max_forgetting
    config.checkpoint.keep_optimizer = False  # keep optimizer state when the stage is finished
    config.checkpoint.allow_cast = False  # take a parent's parameters of another dtype
    config.checkpoint.fallback = True  # an invalid newest step: use the next older valid one

    config.guard = ConfigDict()
    config.guard.action = "stop"  # stop | warn | rollback, when forgetting is over the limit
    config.guard.max_forgetting = 2.50 / 2.227 - 1  # general loss over the base stage's, as a share
    config.guard.max_nonfinite_steps = 5  # in a row, then the run stops
    config.guard.spike_sigma = 6.0  # loss above mean + k sigma of the last spike_window is a spike
    config.guard.spike_window = 128  # steps whose losses are remembered for it
    config.guard.skip_spikes = False  # leave parameters unchanged on a spike

    config.mesh = ConfigDict()
    config.mesh.data = 0  # copies, each with a part of the batch; 0 = auto, -1 = what others leave
    config.mesh.fsdp = 1  # parts of parameters and optimizer state; also splits the batch
    config.mesh.tensor = 1  # parts of every matrix product

    config.log = ConfigDict()
    config.log.every_steps = 10  # a row of metrics.jsonl and a line
    config.log.trackers = ("tensorboard",)  # tensorboard (events in the workdir) | wandb
    config.log.wandb_project = ""  # of Weights & Biases, which wandb needs

    config.profile = ConfigDict()
    config.profile.start_step = 0  # first step of the trace
    config.profile.num_steps = 0  # steps traced, into profile/ of the workdir; 0 = off

    config.time_budget_secs = 0.0  # save and exit 75 after this wall time, 0 = off
    config.watchdog_secs = 1800.0  # no step for so long: dump stacks, exit 6; 0 = off
    config.deterministic = False  # GPU: deterministic kernels, slower
    config.compile_cache = "~/.cache/mypt_jax/xla"  # compiled programs; "" = off

    config.distributed = ConfigDict()
    config.distributed.coordinator = (
        ""  # host:port; "" = detect (TPU pod, Slurm, GKE) or one process
    )
    config.distributed.num_processes = 0  # with a coordinator: how many there are
    config.distributed.process_id = -1  # with a coordinator: which one this is, from 0
    config.distributed.timeout_secs = 300.0  # how long a process may not be heard of
    config.distributed.save_timeout_secs = 1800.0  # how long for files, to and from a bucket

    common.apply_size(config, arg)
    config.lock()  # a stage file that misspells a key fails
    return config
