"""python -m mypt_jax.main --config=configs/v8.py[:SIZE] [--config.KEY=VALUE ...]

Flags to a validated config to train.run; nothing else. Exit codes: README, "Exit codes".
"""

import sys

from absl import app, flags, logging
from ml_collections import config_flags

from data_pipeline.errors import UserError
from mypt_jax import exits

_CONFIG = config_flags.DEFINE_config_file("config", None, "A stage file, configs/v8.py[:SIZE].")


def _fail(message: object, code: int = 2) -> int:
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr, flush=True)
    return code


def _parse(argv: list[str]) -> list[str]:
    """Parses flags and reads the config file, with one line and exit code 2 on bad input."""
    try:
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise UserError(f"unexpected argument {rest[1]!r}; values are given as --config.KEY=V")
        if _CONFIG.value is None:
            raise UserError("no --config given; for example --config=configs/v8.py:tiny")
    except (flags.Error, UserError, ValueError, TypeError, AttributeError, KeyError) as error:
        sys.exit(_fail(error))
    except (OSError, ImportError) as error:
        sys.exit(_fail(f"the config file cannot be read: {error}"))
    return rest


def main(argv: list[str]) -> int:
    del argv
    logging.set_verbosity(logging.WARNING)  # Orbax reports every save at INFO
    # Imported here, so that a wrong flag is answered at once.
    from mypt_jax import config, train

    overridden = config_flags.get_override_values(flags.FLAGS["config"])
    try:
        train.run_stage(config.validate(_CONFIG.value.to_dict(), overridden=overridden))
    except UserError as error:
        return _fail(error)
    except exits.RunEnd as end:
        return _fail(end, end.code)
    return 0


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
