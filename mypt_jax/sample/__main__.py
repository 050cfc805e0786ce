"""python -m mypt_jax.sample"""

import sys

from data_pipeline import errors
from mypt_jax.sample import command

sys.exit(errors.run(command.main))
