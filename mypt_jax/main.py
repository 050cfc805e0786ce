"""python -m mypt_jax.main --config=configs/v8.py[:SIZE] [--config.KEY=VALUE ...]

Flags to a validated config to train.run_stage; nothing else. --help shows every key. Exit codes:
README, "Exit codes".
"""

import faulthandler
import logging
import os
import sys
import traceback
from typing import NoReturn

from absl import app, flags
from absl import logging as absl_logging

from data_pipeline import errors
from data_pipeline.errors import UserError
from mypt_jax import console, exits, redact
from mypt_jax.monitor import preemption
from mypt_jax.schema import help, hints, original, overrides, values

_HELP = {"-h", "-help", "--help", "-helpshort", "--helpshort", "-helpfull", "--helpfull"}
_given: overrides.Given  # what the command line says


def _parse(argv: list[str]) -> list[str]:
    """Reads the stage file and the flags; bad input is one line and exit code 2."""
    global _given
    console.hold()
    redact.learn(os.environ)
    try:
        if _HELP & {*argv}:
            print(help.of(arguments=[one for one in argv[1:] if one not in _HELP]), end="")
            sys.exit(0)
        if answer := original.answer(argv[1:]):
            raise UserError(answer)
        _given = overrides.read(argv[1:])
        redact.learn(_given.config)
        values.check_values(_given.config)
        rest = flags.FLAGS([argv[0], *_given.rest])
        if len(rest) > 1:
            raise UserError(f"unexpected argument {rest[1]!r}; values are given as --config.KEY=V")
    except flags.UnrecognizedFlagError as error:
        sys.exit(_fail(f"unknown flag --{error.flagname}{hints.hint(error.flagname)}", 2))
    except (flags.Error, UserError, ValueError) as error:
        sys.exit(_fail(error, 2))
    except OSError as error:
        if (known := errors.known(error)) is None:
            raise
        sys.exit(_fail(known, 2))
    return rest


def _fail(message: object, code: int) -> int:
    """One line on stderr for an end that is not success; returns `code`."""
    line = redact.text(" ".join(str(message).split()))
    word = message.word if isinstance(message, errors.Stop) else errors.Stop.word
    print(f"{word}: {line}", file=sys.stderr, flush=True)
    return code


def _show(kind, error, trace) -> None:
    """A traceback without secrets."""
    text = "".join(traceback.format_exception(kind, error, trace))
    sys.stderr.write(redact.text(text))


def _show_ignored(ignored) -> None:
    """What Python could not raise anywhere, but for the writes that a failed save left behind."""
    if str(ignored.exc_value) != "Event loop is closed":
        _show(ignored.exc_type, ignored.exc_value, ignored.exc_traceback)


def _is_news(record) -> bool:
    """A save that fails is told by our own line, and not by each thread and task of Orbax."""
    record.exc_info = record.exc_text = None
    return f"{os.sep}orbax{os.sep}" not in record.pathname or record.levelno < logging.ERROR


def main(argv: list[str]) -> int:
    del argv
    interrupts = preemption.Interrupts()
    faulthandler.enable()  # a stack also for what is no exception, as a mapped file cut short
    sys.excepthook, sys.unraisablehook = _show, _show_ignored
    absl_logging.set_verbosity(absl_logging.WARNING)  # Orbax reports every save at INFO
    absl_logging.get_absl_logger().addFilter(_is_news)
    logging.getLogger("asyncio").addFilter(lambda record: "never retrieved" not in record.msg)
    try:
        return _train(interrupts)
    finally:
        interrupts.close()


def _train(interrupts: preemption.Interrupts) -> int:
    # Imported here, so that a wrong flag or a signal is answered at once, and jax last of all.
    from mypt_jax.schema import validation
    from mypt_jax.storage import fetch

    try:
        local = fetch.localise(_given.config)
        validated = validation.validate(local, overridden=_given.overridden, stage=_given.stage)
    except UserError as error:
        return _fail(error, 2)
    except exits.RunEnd as end:
        return _fail(end, end.code)
    except (OSError, UnicodeError) as error:
        if (known := errors.known(error)) is None:
            raise
        return _fail(known, 2)
    from mypt_jax.distributed import hosts
    from mypt_jax.train import stage

    try:
        stage.run_stage(validated, interrupts)
    except UserError as error:
        return hosts.leave(_fail(error, 2), error)
    except exits.RunEnd as end:
        return hosts.leave(_fail(end, end.code), end)
    except (OSError, UnicodeError) as error:  # of what is read; exits.storage has what is written
        if (known := errors.known(error)) is None:
            raise
        return hosts.leave(_fail(known, 2), known)
    return 0


def run(argv: list[str] | None = None) -> NoReturn:
    """The command. Ends the process, as absl does."""
    app.run(main, argv=None if argv is None else [sys.argv[0], *argv], flags_parser=_parse)


if __name__ == "__main__":
    run()
