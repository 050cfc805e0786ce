"""python -m mypt_jax.chain"""

import sys

from mypt_jax import console
from mypt_jax.chain import command

sys.exit(console.run(command.main))
