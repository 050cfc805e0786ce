"""What an import or export may be asked for; read without jax."""

# Context of an imported model with rotary positions, unless --block_size says otherwise: such a
# model has no table that fixes it, and 131,072 tokens would fit no training batch.
ROPE_BLOCK_TOKENS = 2048
# Of exported weights, by the names of jax and torch.
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
ORIGIN = "the run that it was made from elsewhere, with which it can be merged"
