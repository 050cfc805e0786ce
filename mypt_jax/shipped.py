"""Where the project's stage files lie: configs/ of a checkout, stage_files/ of an installation.

configs/v8.py is the file of that name in the working directory, and where there is none, ours.
"""

import os

HERE = "configs"  # what a command line calls the directory
_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_INSTALLED = os.path.join(_PACKAGE, "stage_files")
STAGES = _INSTALLED if os.path.isdir(_INSTALLED) else os.path.join(os.path.dirname(_PACKAGE), HERE)


def find(path: str) -> str:
    """The file that a stage file's path means; it need not exist."""
    directory, name = os.path.split(os.path.normpath(path))
    ours = os.path.join(STAGES, name)
    is_ours = directory == HERE and not os.path.exists(path) and os.path.isfile(ours)
    return ours if is_ours else path


def names(directory: str = HERE) -> list[str]:
    """The stage files that a directory offers: ["base", "common", "v3", ...]."""
    places = {directory, STAGES} if os.path.normpath(directory) == HERE else {directory}
    files = {n for place in places if os.path.isdir(place) for n in os.listdir(place)}
    return sorted(n.removesuffix(".py") for n in files if n.endswith(".py") and n[0] != "_")


def package_of(path: str) -> str:
    """The directory that `from configs import base` means in a stage file: its own where that has
    base.py, else configs/ of the working directory, else ours."""
    own = os.path.dirname(os.path.abspath(path))
    places = (own, os.path.abspath(HERE))
    return next((one for one in places if os.path.isfile(os.path.join(one, "base.py"))), STAGES)
