"""Where the dependencies install: resolved for other machines than this one; README.md says it."""

import subprocess

import pytest
from conftest import ROOT

FILES = ("requirements.txt", "requirements-demo.txt", "requirements-report.txt")
# The two that come as sources only; they are plain Python.
SOURCES = ("promise", "future")
PYTHONS = ("3.11", "3.12", "3.13")
# What has no binary wheel where the dependencies do not install.
MISSING = {"windows": "array-record", "x86_64-apple-darwin": "grain"}


def resolve(platform: str, python: str, folder) -> subprocess.CompletedProcess[str]:
    """uv's answer for all that the quickstart needs, from binary wheels only."""
    uv = pytest.importorskip("uv").find_uv_bin()
    overrides = folder / "overrides.txt"
    overrides.write_text("".join(f"{name}; sys_platform == 'never'\n" for name in SOURCES))
    target = [f"--python-platform={platform}", f"--python-version={python}"]
    wheels_only = ["--only-binary=:all:", f"--override={overrides}"]
    return subprocess.run(
        [uv, "pip", "compile", "--quiet", "--no-header", *target, *wheels_only, *FILES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.full
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("platform", ["aarch64-apple-darwin", "aarch64-manylinux_2_28"])
def test_binary_wheels_for_apple_silicon_and_arm_linux(platform, python, tmp_path):
    done = resolve(platform, python, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\njaxlib==" in done.stdout and "\narray-record==" in done.stdout


@pytest.mark.full
@pytest.mark.parametrize(("platform", "package"), MISSING.items())
def test_where_it_does_not_install_the_package_is_the_one_that_the_readme_names(
    platform, package, tmp_path
):
    done = resolve(platform, "3.12", tmp_path)
    cause = " ".join(done.stderr.partition("hint:")[0].split())
    assert done.returncode != 0 and package in cause
    assert "no wheels with a matching platform tag" in cause
    assert f"`{package.replace('-', '_')}`" in (ROOT / "README.md").read_text()
