"""python -m mypt_jax.sweep"""

import sys

from data_pipeline import errors
from mypt_jax.sweep import command

sys.exit(errors.run(command.main))
