"""python -m mypt_jax.merge"""

import sys

from data_pipeline import errors
from mypt_jax.merge import command

sys.exit(errors.run(command.main))
