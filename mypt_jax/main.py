"""python -m mypt_jax.main --config=configs/v8.py[:SIZE] [--config.KEY=VALUE ...]

Flags to a validated config to train.run_stage; nothing else. Exit codes: README, "Exit codes".
"""

import faulthandler
import os
import sys
import traceback

from absl import app, flags, logging
from ml_collections import config_flags

from data_pipeline.errors import UserError
from mypt_jax import exits, redact
from mypt_jax.monitor import preemption
from mypt_jax.schema import stage_file

_CONFIG = config_flags.DEFINE_config_file("config", None, "A stage file, configs/v8.py[:SIZE].")
_STAGE: dict = {}  # the stage file's own values, before overrides


def _parse(argv: list[str]) -> list[str]:
    """Parses flags and reads the stage file; bad input is one line and exit code 2."""
    redact.learn(os.environ)
    try:
        stage = stage_file.load(stage_file.named_by(argv))
        stage_file.check_keys(argv[1:], stage)
        _STAGE.update(stage.to_dict())
        redact.learn(_STAGE)
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise UserError(f"unexpected argument {rest[1]!r}; values are given as --config.KEY=V")
    except (flags.Error, UserError, ValueError, TypeError, AttributeError) as error:
        sys.exit(_fail(error, 2))
    return rest


def _fail(message: object, code: int) -> int:
    """One line on stderr for an end that is not success; returns `code`."""
    line = redact.text(" ".join(str(message).split()))
    print(f"error: {line}", file=sys.stderr, flush=True)
    return code


def _show(kind, error, trace) -> None:
    """A traceback without secrets."""
    text = "".join(traceback.format_exception(kind, error, trace))
    sys.stderr.write(redact.text(text))


def _without_stack(record) -> bool:
    """A save that fails is told by our own line, and not by the stacks of four threads as well."""
    record.exc_info = record.exc_text = None
    return True


def main(argv: list[str]) -> int:
    del argv
    interrupts = preemption.Interrupts()
    faulthandler.enable()  # a stack also for what is no exception, as a mapped file cut short
    sys.excepthook = _show
    logging.set_verbosity(logging.WARNING)  # Orbax reports every save at INFO
    logging.get_absl_logger().addFilter(_without_stack)
    # Imported here, so that a wrong flag or a signal is answered at once.
    from mypt_jax.distributed import hosts
    from mypt_jax.schema import config_values, validation
    from mypt_jax.storage import fetch
    from mypt_jax.train import stage

    overridden = config_flags.get_override_values(flags.FLAGS["config"])
    try:
        values = config_values.plain(_CONFIG.value.to_dict())
        config_values.check_values(values)  # before anything is fetched
        values = fetch.localise(values)
        validated = validation.validate(values, overridden=overridden, stage=_STAGE)
        stage.run_stage(validated, interrupts)
    except UserError as error:
        return hosts.leave(_fail(error, 2), error)
    except exits.RunEnd as end:
        return hosts.leave(_fail(end, end.code), end)
    finally:
        interrupts.close()
    return 0


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
