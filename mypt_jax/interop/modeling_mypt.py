"""The default mypt_jax model for transformers: GPT-2 with a bias in its output head.

Exported folders carry this file; load them with trust_remote_code=True.
"""

from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel


class MyPTConfig(GPT2Config):
    """GPT-2's config under a name of its own."""

    model_type = "mypt"


class MyPTForCausalLM(GPT2LMHeadModel):
    """GPT2LMHeadModel whose lm_head adds a bias."""

    config_class = MyPTConfig

    def __init__(self, config):
        super().__init__(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=True)
        self.post_init()
