"""python -m mypt_jax.adapt"""

import sys

from data_pipeline import errors
from mypt_jax.adapt import command

sys.exit(errors.run(command.main))
