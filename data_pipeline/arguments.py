"""The parser of command lines: help is a docstring, with its examples; a complaint is one line."""

import argparse
from typing import Any, NoReturn

from data_pipeline import errors


class Parser(argparse.ArgumentParser):
    """argparse whose help shows `text` as it stands, and whose complaints are bad input."""

    def __init__(self, text: str | None, **options: Any):
        options.setdefault("allow_abbrev", False)
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(description=text, **options)

    def error(self, message: str) -> NoReturn:
        """Raises UserError instead of printing the usage."""
        raise errors.UserError(f"{message} (see {self.prog} --help)")
