"""The parser of command lines: help is a docstring, with its examples; a complaint is one line."""

import argparse
import difflib
import itertools
import re
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

from data_pipeline import errors


class Parser(argparse.ArgumentParser):
    """argparse whose help shows `text` as it stands, and whose complaints are bad input."""

    def __init__(self, text: str | None, **options: Any):
        options.setdefault("allow_abbrev", False)
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        if sys.argv[0].startswith("mypt ") and options.get("prog", "").startswith("python "):
            options["prog"] = sys.argv[0]  # as it was called
        super().__init__(description=text, **options)

    def add_argument(self, *names, **options):
        """As argparse does; an option of several values that is given again adds to them."""
        if names[0].startswith("-") and options.get("nargs") == "+" and not options.get("default"):
            options.setdefault("action", "extend")
        return super().add_argument(*names, **options)

    def parse_known_args(self, args=None, namespace=None):
        """As argparse does. Raises UserError for --NAME=--, of which argparse makes a list, and for
        an empty --NAME= where something is needed: an empty path is the working directory."""
        given = sys.argv[1:] if args is None else list(args)
        for one, after in itertools.zip_longest(given, given[1:]):
            name, _, value = one.partition("=")
            if one.startswith("--") and value == "--":
                self.error(f"argument {name}: '--' is no value")
            option = self._option_string_actions.get(name)
            is_empty = one == f"{name}=" or (one == name and after == "")
            if option is not None and is_empty and (option.required or option.type is Path):
                self.error(f"argument {name}: it is empty, wanted a value")
        return super().parse_known_args(given, namespace)

    def error(self, message: str) -> NoReturn:
        """Raises UserError instead of printing the usage."""
        unknown = re.match(r"unrecognized arguments: (--[^\s=]+)", message)
        shown = [
            name
            for name, option in self._option_string_actions.items()
            if option.help != argparse.SUPPRESS
        ]
        near = difflib.get_close_matches(unknown[1], shown, 1) if unknown else []
        meant = f"; did you mean {near[0]}?" if near else ""
        raise errors.UserError(f"{message}{meant} (see {self.prog} --help)")


def share(text: str, name: str, what: str) -> float:
    """0.01 of "1%" and of "0.01", as --NAME has it: a share of `what`. Raises UserError."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(%?)", text)
    value = Fraction(found[1]) / (100 if found[2] else 1) if found else 0
    if not 0 < value < 1:
        raise errors.UserError(
            f"--{name}={text}: wanted a share of {what} above 0 and below 1, such as 1% or 0.01"
        )
    return float(value)
