"""python -m mypt_jax.sample"""

import sys

from mypt_jax import console
from mypt_jax.sample import command

sys.exit(console.run(command.main))
