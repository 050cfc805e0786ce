"""What an import or export may be asked for; read without jax."""

import os
import re

from data_pipeline.errors import UserError

# Context of an imported model with rotary positions, unless --block_size says otherwise: such a
# model has no table that fixes it, and 131,072 tokens would fit no training batch.
ROPE_BLOCK_TOKENS = 2048
# Of exported weights, by the names of jax and torch.
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
# Of a repository of the Hub: MODEL or USER/MODEL.
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
ORIGIN = "the run that it was made from elsewhere, with which it can be merged"


def check_folder(directory: str) -> None:
    """Raises UserError where there is no folder to import."""
    if not os.path.isdir(directory):
        raise UserError(f"there is no folder {directory}; wanted one with config.json and weights")
