"""base_llama: the original's later architecture in place of base: RoPE, RMSNorm, SwiGLU, tied.

Source: the original's unified model (after v8): rotary positions (theta 10,000, halves rotated),
RMSNorm (eps 1e-6, scale only), SwiGLU of width 8/3 n_embd rounded up to 64 without bias, tied
embeddings, N(0, 0.02) initialisation, cosine decay to 10 %, 8 accumulated batches (98,304 tokens
per update). It saw about 6 B tokens (--config.num_steps=61035); the default length here is that of
base, 1.57 B, so that the two can be compared. The learning rate is base's, not scaled with the
batch. 698,911,104 parameters at 750m.

    python -m mypt_jax.main --config=configs/base_llama.py
    python -m mypt_jax.main --config=configs/v3.py:runs/750m/base_llama     # a stage from it
"""

from configs import base, common

ACCUMULATION_STEPS = 8


def get_config(arg: str = common.DEFAULT_ARGUMENT):
    name, batch, _ = common.parse_argument(arg)
    if batch is None:
        batch = ACCUMULATION_STEPS * base.get_config(arg).batch_size
        arg = f"{arg or common.DEFAULT_ARGUMENT},batch={batch}"
    if "lr_scaling" not in arg:
        arg = f"{arg},lr_scaling=none"
    config = base.get_config(arg)
    config.stage = "base_llama"
    config.workdir = common.run_path(name, "base_llama")
    config.accumulation_steps = ACCUMULATION_STEPS
    config.model.position = "rope"
    config.model.norm = "rmsnorm"
    config.model.norm_eps = 1e-6
    config.model.mlp = "gated"
    config.model.activation = "silu"
    config.model.mlp_bias = False
    config.model.tied_embeddings = True
    config.optim.schedule = "cosine"
    config.optim.final_lr_ratio = 0.1
    return config
