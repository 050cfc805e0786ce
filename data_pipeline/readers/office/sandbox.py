"""Runs worker.py on a file, within limits of time, memory and output."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

from data_pipeline import document, errors

MAX_FILE_BYTES = 512 << 20
_WORKER = Path(__file__).with_name("worker.py")
_PACKAGES = {"docx": "mammoth", "pdf": "pypdfium2", "pptx": "pptx"}
_TIMEOUT_SECS = 120
_MEMORY_BYTES = 2 << 30
_OUTPUT_BYTES = 128 << 20
# Where Python and its packages lie; nothing else, above all no proxy and no key.
_ENVIRONMENT = ("PATH", "HOME", "PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "VIRTUAL_ENV", "LANG")


def converted(
    stream: BinaryIO, kind: str, *, path: str, timeout_secs: int = _TIMEOUT_SECS
) -> dict[str, Any]:
    """Returns what the worker found in a file of `kind`: pages, slides, or HTML, and a title.

    Raises MissingExtra, or ReadError: "encrypted_KIND", "broken_KIND", "too_large", "too_slow".
    """
    if importlib.util.find_spec(_PACKAGES[kind]) is None:
        raise errors.MissingExtra(_PACKAGES[kind], "office")
    command = [sys.executable, "-P", "-W", "ignore", str(_WORKER), kind]
    command += [str(_MEMORY_BYTES), str(timeout_secs), str(_OUTPUT_BYTES)]
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as taken:
        given.write(document.read_bytes(stream, path=path, max_bytes=MAX_FILE_BYTES))
        given.seek(0)
        try:
            code = subprocess.run(
                command,
                stdin=given,
                stdout=taken,
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd="/",
                timeout=timeout_secs,
            ).returncode
        except subprocess.TimeoutExpired:
            message = f"{path}: not converted in {timeout_secs} s"
            raise document.ReadError("too_slow", message) from None
        taken.seek(0)
        return _answer(taken, code, kind=kind, path=path)


def _answer(taken: BinaryIO, code: int, *, kind: str, path: str) -> dict[str, Any]:
    try:
        found = json.load(taken)
    except (ValueError, RecursionError):  # killed by a limit, or by a fault of the converter
        message = f"{path}: the converter ended with {code}"
        raise document.ReadError(f"broken_{kind}", message) from None
    if "error" not in found:
        return found
    name = found["error"] if found["error"] == "too_large" else f"{found['error']}_{kind}"
    raise document.ReadError(name, f"{path}: {found['message']}")


def clean(text: str) -> str:
    """Returns a converter's text with LF line ends, without control characters."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\v", "\n").replace("\f", "\n")
    text = text.encode("utf-8", "ignore").decode()
    return "".join(char for char in text if char >= " " or char in "\n\t") if text else text


def line(text: str) -> str:
    """Returns a title on one line."""
    return " ".join(clean(text).split())
