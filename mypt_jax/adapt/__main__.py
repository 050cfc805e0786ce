"""python -m mypt_jax.adapt"""

import sys

from mypt_jax import console
from mypt_jax.adapt import command

sys.exit(console.run(command.main))
