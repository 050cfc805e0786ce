"""Split keys for documents that were not deduplicated before: near-duplicates share one."""

import dataclasses
from collections.abc import Iterable

from data_pipeline import document, errors

try:
    from data_pipeline.corpus import dedup
    from data_pipeline.similarity import minhash
except ImportError as error:  # xxhash belongs to the requirements of corpora and demo
    _MISSING: ImportError | None = error
else:
    _MISSING = None


def is_available() -> bool:
    """Whether the packages for finding near-duplicates are installed."""
    return _MISSING is None


def check_available() -> None:
    """Raises UserError where the packages for finding near-duplicates are not installed."""
    if _MISSING is not None:
        raise errors.UserError(
            f"finding near-duplicates needs {_MISSING.name}: "
            "pip install -r requirements-corpora.txt"
        )


def with_split_keys(documents: Iterable[document.Document]) -> list[document.Document]:
    """Returns the documents; those of Jaccard 0.5 or more to another share a split key.

    Keeps everything in memory: for the demo's size. The corpus builders do it on disk.
    """
    check_available()
    found = list(documents)
    shingles = [minhash.shingles(item.text) for item in found]
    joined = dedup.Clusters()
    by_band: dict[tuple[int, int], list[int]] = {}
    for number, own in enumerate(shingles):
        if not len(own):
            continue
        for band, key in enumerate(minhash.band_keys(own).tolist()):
            alike = by_band.setdefault((band, key), [])
            for other in alike:
                if joined.find(number) != joined.find(other):
                    if minhash.jaccard(own, shingles[other]) >= dedup.SPLIT_JACCARD:
                        joined.join(number, other)
            # As in dedup: of many alike, each is compared with some, which are alike themselves.
            if len(alike) < dedup.MAX_BUCKET:
                alike.append(number)
    for members in joined.members():
        name = min(f"{found[number].source}/{found[number].id}" for number in members)
        for number in members:
            found[number] = dataclasses.replace(found[number], split_key=name)
    return found
