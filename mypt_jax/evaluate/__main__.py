"""python -m mypt_jax.evaluate"""

import sys

from data_pipeline import errors
from mypt_jax.evaluate import command

sys.exit(errors.run(command.main))
