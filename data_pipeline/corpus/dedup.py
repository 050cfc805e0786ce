"""Second stage of a build: which documents say the same, and which one of them is kept.

Candidates by equal bands -> true Jaccard similarity of the shingle sets -> union-find -> one kept
by (source priority, length, id). Nothing depends on the order or grouping of the input.
"""

import dataclasses
import json
import types
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from data_pipeline.corpus import files
from data_pipeline.similarity import minhash

# A pair at least this similar shares a side of the train/val split, even if both stay.
SPLIT_JACCARD = 0.5
# In a bucket of more documents than this, each is compared with the best ones only.
MAX_BUCKET = 32
# Rows of one band held in memory; more are handled in several passes over the files.
MAX_BAND_ROWS = 20_000_000
# Pairs remembered as compared; one that is forgotten is compared again, with the same result.
MAX_SEEN = 4_000_000
_NONE_HELD: Mapping[str, np.ndarray] = types.MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class Group:
    """A part as deduplication sees it: its key, the rank of its source, its threshold."""

    key: str
    priority: int
    jaccard: float
    protected: bool = False  # evaluation documents: they win, and are not written


class Index:
    """All documents of all parts, numbered through; arrays stay on disk until needed."""

    def __init__(
        self, groups: list[Group], read_dir: Path, *, held: Mapping[str, np.ndarray] = _NONE_HELD
    ):
        self.groups, self.read_dir = groups, read_dir
        self._held = held  # by key of a group: documents (bool[N]) that are left out anyway
        self._arrays: dict[tuple[int, str], np.ndarray] = {}
        sizes = [len(self.array(number, "chars")) for number in range(len(groups))]
        self.starts = np.cumsum([0, *sizes]).astype(np.int64)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def array(self, group: int, kind: str) -> np.ndarray:
        """One of a part's arrays, memory-mapped; at most 64 are open."""
        if (group, kind) not in self._arrays:
            if len(self._arrays) >= 64:
                self._arrays.pop(next(iter(self._arrays)))
            path = self.read_dir / f"{self.groups[group].key}.{kind}.npy"
            self._arrays[group, kind] = files.read_array(path)
        return self._arrays[group, kind]

    def locate(self, number: int) -> tuple[int, int]:
        """The group and the row of a document."""
        group = int(np.searchsorted(self.starts, number, side="right")) - 1
        return group, number - int(self.starts[group])

    def shingles(self, number: int) -> np.ndarray:
        """A document's shingle set."""
        group, row = self.locate(number)
        ends = self.array(group, "ends")
        return np.asarray(self.array(group, "sets")[ends[row] : ends[row + 1]])

    def threshold(self, left: int, right: int) -> float:
        """Similarity from which a pair counts as the same: the stricter of the two sources'."""
        return max(self.groups[self.locate(n)[0]].jaccard for n in (left, right))

    def held(self, group: int) -> np.ndarray:
        """bool[N]: the documents of a group that are left out whatever they resemble."""
        own = self._held.get(self.groups[group].key)
        return np.zeros(self.starts[group + 1] - self.starts[group], bool) if own is None else own

    def rank(self, number: int, ids: dict[int, str]) -> tuple:
        """Smaller is kept: protected, not held, source priority, longer text, id."""
        group, row = self.locate(number)
        settings = self.groups[group]
        length = int(self.array(group, "chars")[row])
        held = bool(self.held(group)[row])
        return (not settings.protected, held, settings.priority, -length, ids[number], number)

    def ids(self, numbers: list[int]) -> dict[int, str]:
        """The ids of some documents."""
        found: dict[int, str] = {}
        current, names = -1, []
        for number in sorted(numbers):
            group, row = self.locate(number)
            if group != current:
                current = group
                names = files.read_json(self.read_dir / f"{self.groups[group].key}.ids.json")
            found[number] = names[row]
        return found


class Clusters:
    """Union-find over document numbers; only documents with a partner take memory."""

    def __init__(self):
        self._parent: dict[int, int] = {}

    def find(self, number: int) -> int:
        """The cluster's representative."""
        root = number
        while self._parent.get(root, root) != root:
            root = self._parent[root]
        while self._parent.get(number, number) != root:
            self._parent[number], number = root, self._parent[number]
        return root

    def join(self, left: int, right: int) -> None:
        """Puts two documents into one cluster."""
        left, right = self.find(left), self.find(right)
        # The smaller number wins, whatever the order of joins.
        self._parent[max(left, right)] = min(left, right)
        self._parent.setdefault(min(left, right), min(left, right))

    def members(self) -> list[list[int]]:
        """All clusters of two and more, sorted."""
        found: dict[int, list[int]] = {}
        for number in sorted(self._parent):
            found.setdefault(self.find(number), []).append(number)
        return [each for each in found.values() if len(each) > 1]


def candidates(index: Index, *, max_rows: int) -> Iterator[tuple[int, int]]:
    """Yields pairs (left < right) that share a band, or all their text; some more than once.

    Holds at most about `max_rows` rows of one band in memory.
    """
    passes = max(1, -(-len(index) // max_rows))
    for band in range(-1, minhash.KEYS):
        for turn in range(passes):
            keys, numbers = _band(index, band, turn, passes)
            order = np.argsort(keys, kind="stable")
            keys, numbers = keys[order], numbers[order]
            borders = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1], True])
            for bucket in np.flatnonzero(np.diff(borders) > 1):
                members = numbers[borders[bucket] : borders[bucket + 1]]
                yield from _pairs(index, members, exact=band < 0)


def _band(index: Index, band: int, turn: int, passes: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys and document numbers of one band (-1: of the exact hash), this turn's share of them."""
    all_keys, all_numbers = [], []
    for group in range(len(index.groups)):
        if band < 0:
            keys = np.asarray(index.array(group, "exact")[:, 0])
        else:
            keys = np.asarray(index.array(group, "bands")[band])
        numbers = np.arange(len(keys), dtype=np.int64) + index.starts[group]
        mine = keys != 0  # no shingles, no band
        if passes > 1:
            mine &= keys % np.uint64(passes) == turn
        all_keys.append(keys[mine])
        all_numbers.append(numbers[mine])
    if not all_keys:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    return np.concatenate(all_keys), np.concatenate(all_numbers)


def _pairs(index: Index, members: np.ndarray, *, exact: bool) -> Iterator[tuple[int, int]]:
    if len(members) > MAX_BUCKET:
        # Sorted by content, not by number: the choice must not depend on the input's order.
        ranked = sorted(members.tolist(), key=lambda number: _content_key(index, number))
        pivots = ranked[:1] if exact else ranked[:MAX_BUCKET]
        for position, number in enumerate(ranked):
            for other in pivots[: position if position < len(pivots) else None]:
                yield min(number, other), max(number, other)
        return
    listed = sorted(members.tolist())
    for position, left in enumerate(listed):
        for right in listed[position + 1 :]:
            yield left, right


def _content_key(index: Index, number: int) -> tuple:
    group, row = index.locate(number)
    first, second = index.array(group, "exact")[row]
    return -int(index.array(group, "chars")[row]), int(first), int(second)


@dataclasses.dataclass
class Result:
    """What was decided: numbers dropped and why, the split cluster of each clustered document."""

    dropped: dict[int, int]  # number -> number of the one that is kept
    split_keys: dict[int, str]
    similarity: dict[int, float]  # of a dropped document to the one kept
    ids: dict[int, str]


def decide(index: Index, *, max_rows: int = MAX_BAND_ROWS) -> Result:
    """Finds near-duplicates and chooses what is kept."""
    same, similar = Clusters(), Clusters()
    seen: set[tuple[int, int]] = set()
    for left, right in candidates(index, max_rows=max_rows):
        # A pair of a joined cluster adds nothing; which pairs are skipped changes no cluster.
        if (left, right) in seen or same.find(left) == same.find(right):
            continue
        if len(seen) >= MAX_SEEN:
            seen.clear()
        seen.add((left, right))
        value = similarity(index, left, right)
        if value >= SPLIT_JACCARD:
            similar.join(left, right)
        if value >= index.threshold(left, right):
            same.join(left, right)
    # Documents that are the same are similar as well: pairs skipped above count here.
    for members in same.members():
        for number in members[1:]:
            similar.join(members[0], number)
    ids = index.ids([n for members in similar.members() for n in members])
    result = Result({}, {}, {}, ids)
    for members in similar.members():
        name = min(ids[number] for number in members)
        result.split_keys.update(dict.fromkeys(members, name))
    for members in same.members():
        kept = min(members, key=lambda number: index.rank(number, ids))
        for number in members:
            group, row = index.locate(number)
            if number != kept and not index.held(group)[row]:
                result.dropped[number] = kept
                result.similarity[number] = similarity(index, number, kept)
    return result


def similarity(index: Index, left: int, right: int) -> float:
    """1 for equal texts, else the true Jaccard similarity of the two shingle sets."""
    exact = [index.array(group, "exact")[row] for group, row in map(index.locate, (left, right))]
    if np.array_equal(*exact):
        return 1.0
    return minhash.jaccard(index.shingles(left), index.shingles(right))


def write(index: Index, result: Result, directory: Path) -> dict[str, dict]:
    """Writes each part's decisions and the clusters; returns counts per part."""
    counts = {}
    for number, group in enumerate(index.groups):
        first, last = int(index.starts[number]), int(index.starts[number + 1])
        held = index.held(number)
        keep = ~held
        dropped = [n - first for n in result.dropped if first <= n < last]
        keep[dropped] = False
        if group.protected:
            keep[:] = False
        named = {str(n - first): k for n, k in result.split_keys.items() if first <= n < last}
        files.write_array(directory / f"{group.key}.keep.npy", keep)
        files.write_json(directory / f"{group.key}.split.json", named)
        exact = sum(result.similarity[d + first] == 1.0 for d in dropped)
        counts[group.key] = {
            "exact_duplicates": 0 if group.protected else exact,
            "near_duplicates": 0 if group.protected else len(dropped) - exact,
            "evaluation_text": int(held.sum()),
        }
    with files.replacing(directory / "near_duplicates.jsonl") as stream:
        for row in clusters(result):
            stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return counts


def clusters(result: Result) -> list[dict]:
    """One row per kept document that others were dropped for, sorted by its id."""
    rows: dict[int, list[dict]] = {}
    for number, kept in result.dropped.items():
        found = {"id": result.ids[number], "jaccard": round(result.similarity[number], 4)}
        rows.setdefault(kept, []).append(found)
    return sorted(
        (
            {"kept": result.ids[kept], "dropped": sorted(found, key=lambda each: each["id"])}
            for kept, found in rows.items()
        ),
        key=lambda row: row["kept"],
    )
