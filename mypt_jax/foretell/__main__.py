"""python -m mypt_jax.foretell"""

import sys

from data_pipeline import errors
from mypt_jax.foretell import command

sys.exit(errors.run(command.main))
