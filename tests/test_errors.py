"""How a command ends, as its shell sees it."""

import ast
import errno
import os
import pickle
import subprocess
import sys

import pytest
from conftest import ROOT

from data_pipeline import document, errors


def test_a_reader_who_leaves_is_no_success():
    """`check_contamination ... | head -1` must not look clean."""
    code = (
        "from data_pipeline import errors\n"
        "def main():\n    [print('x' * 999) for _ in range(9999)]\n    return 1\n"
        "raise SystemExit(errors.run(main))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT
    ) as command:
        command.stdout.readline()
        command.stdout.close()
        assert command.wait(timeout=60) == 141


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOENT, errno.EISDIR])
def test_what_the_system_says_of_no_path_and_no_console_has_its_traceback(number):
    """A process of ours that is gone is no reader who left, and "it is not there" says nothing."""
    code = (
        "from data_pipeline import errors\n"
        f"def main():\n    raise OSError({number}, 'no name')\n"
        "raise SystemExit(errors.run(main))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, text=True)
    assert done.returncode == 1 and "Traceback" in done.stderr


def test_a_full_disk_behind_the_console_is_one_line():
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m mypt_jax --help > /dev/full"],
        capture_output=True,
        cwd=ROOT,
        text=True,
    )
    assert done.returncode == errors.BAD_INPUT
    assert done.stderr == (
        "error: the disk is full: free some space and run the same command again\n"
    )


def test_errors_go_from_one_process_to_another():
    for error in (errors.MissingExtra("mammoth", "office"), document.ReadError("scanned", "f: x")):
        again = pickle.loads(pickle.dumps(error))
        assert (str(again), vars(again)) == (str(error), vars(error))


def test_what_the_system_refuses_is_one_line_and_anything_else_a_traceback(capsys):
    def refused(number):
        def main():
            raise OSError(number, os.strerror(number), "/some/file")

        return main

    assert errors.run(refused(errno.ENOSPC)) == errors.BAD_INPUT
    assert errors.run(refused(errno.ENAMETOOLONG)) == errors.BAD_INPUT
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and said[0].startswith("error: cannot use /some/file: the disk is full")
    with pytest.raises(OSError):
        errors.run(refused(errno.ECHILD))


def test_who_expects_bad_json_expects_deep_json():
    """Python's parser raises RecursionError for "[[[[...", which is no ValueError."""
    missing = []
    for path in [
        path for top in ("mypt_jax", "data_pipeline") for path in (ROOT / top).rglob("*.py")
    ]:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Try):
                continue
            body = {ast.unparse(call.func) for part in node.body for call in ast.walk(part)
                    if isinstance(call, ast.Call)}  # fmt: skip
            expected = " ".join(ast.unparse(one.type) for one in node.handlers if one.type)
            if body & {"json.load", "json.loads"} and "ValueError" in expected:
                if "RecursionError" not in expected:
                    missing.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert missing == []
