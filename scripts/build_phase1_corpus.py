"""Builds the general corpus from dumps and files on disk, or from what TFDS prepared.

python scripts/build_phase1_corpus.py --sources_dir=sources --out_dir=data/corpus_general
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from data_pipeline import errors  # noqa: E402
from data_pipeline.corpus import command  # noqa: E402

REGISTRY = ROOT / "data_pipeline" / "corpus" / "phase1_general.json"


def main(argv: list[str] | None = None) -> int:
    """Runs the build that the command line describes."""
    return command.main(
        argv, registry_path=REGISTRY, description=__doc__.partition("\n")[0], say=print
    )


if __name__ == "__main__":
    sys.exit(errors.run(main))
