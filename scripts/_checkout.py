"""Imported first by every script here, so that the checkout's packages are found uninstalled.

Python puts scripts/ on the path of `python scripts/NAME.py`, and not the root beside it.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
