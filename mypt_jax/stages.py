"""Copies this project's stage files out, to be changed.

    mypt stages configs      base.py, common.py, v3.py, ...; then --config=configs/v8.py is yours
    mypt stages my/stages    the same elsewhere

`from configs import base` in a stage file means the base.py beside it.
"""

import os
import shutil
import sys
from pathlib import Path

from data_pipeline import arguments, errors
from mypt_jax import shipped


def main(argv: list[str] | None = None) -> int:
    parser = arguments.Parser(__doc__, prog="python -m mypt_jax.stages")
    parser.add_argument("directory", type=Path, help="made where it is not there")
    directory = parser.parse_args(argv).directory
    files = [f"{name}.py" for name in shipped.names(shipped.STAGES)]
    there = [name for name in files if os.path.lexists(directory / name)]
    if there:
        raise errors.UserError(
            f"{directory} has {', '.join(there)} already; name another directory, or remove them"
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name in files:
            shutil.copyfile(os.path.join(shipped.STAGES, name), directory / name)
    except OSError as error:
        raise errors.UserError(f"cannot write to {directory}: {error.strerror}") from error
    print(f"{directory}: {', '.join(files)}")
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
