"""What stood in the paths of a --source and was not read: counted by kind, with a remedy."""

import collections
from pathlib import PurePath

from data_pipeline import document, errors
from data_pipeline.readers import compression

# Names that begin with a dot: no pattern matches them either, and nobody means them as text.
HIDDEN = "hidden"
# What Hugging Face's datasets writes beside a data set.
METADATA = "metadata"
# Nearly equal to a newer file beside it.
OLDER = "older versions"
_MANY_RECORDS = 1000
_SHOWN = 12  # kinds, in a line


class NotRead:
    """Counts by source and kind, with one example each; if `strict`, the first ends the command.

    Bad records end it where they are more than the share `max_bad` of a source's records.
    """

    def __init__(self, *, strict: bool = False, max_bad: float = 0.0):
        self._strict = strict
        self._max_bad = max_bad
        self._records: collections.Counter[str] = collections.Counter()
        self._bad: dict[str, collections.Counter[str]] = {}
        self._counts: dict[str, collections.Counter[str]] = {}
        self._said: dict[tuple[str, str], str] = {}

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add(self, source: str, kind: str, said: str, *, remedy: str = "") -> None:
        """Counts a file; `remedy` is shown with its kind, else `said`, which names the file."""
        if self._strict and kind not in (HIDDEN, METADATA, OLDER):
            raise errors.UserError(f"--source {source}: {said} (--strict)")
        self._counts.setdefault(source, collections.Counter())[kind] += 1
        self._said.setdefault((source, kind), remedy or said)

    def add_error(self, source: str, name: str, error: errors.UserError) -> None:
        """Counts a file whose reader refused it, or needs a package that is not installed."""
        if isinstance(error, errors.MissingExtra):
            remedy = f"pip install -r requirements-{error.extra}.txt reads them"
            self.add(source, suffix_of(name), f"{name}: {error}", remedy=remedy)
        elif isinstance(error, document.ReadError):
            self.add(source, error.kind, str(error))
        else:
            raise error

    def taken(self, source: str) -> None:
        """Counts a record that is good."""
        self._records[source] += 1

    def add_record(self, source: str, error: document.ReadError) -> None:
        """Counts a bad record; stops where half of them are, as with a wrong --text_field."""
        if self._strict:
            raise errors.UserError(f"--source {source}: {error} (--strict)")
        bad = self._bad.setdefault(source, collections.Counter())
        bad[error.kind] += 1
        self._said.setdefault((source, f"records, {error.kind}"), str(error))
        if bad.total() >= _MANY_RECORDS and bad.total() > self._records[source]:
            self.check_records(source)

    def check_records(self, source: str) -> None:
        """Raises UserError where too many records of a source are bad."""
        bad = self._bad.get(source, collections.Counter())
        total = bad.total() + self._records[source]
        if bad.total() > self._max_bad * total:
            ((kind, _),) = bad.most_common(1)
            raise errors.UserError(
                f"--source {source}: {bad.total()} of {total} records are bad, --max_bad="
                f"{self._max_bad * 100:g}% is allowed; {self._said[source, f'records, {kind}']}"
            )
        for kind, number in bad.items():
            self._counts.setdefault(source, collections.Counter())[f"records, {kind}"] = number

    def by_kind(self) -> dict[str, dict[str, int]]:
        """Returns the counts: source -> kind -> number."""
        return {source: dict(sorted(found.items())) for source, found in self._counts.items()}

    def lines(self) -> list[str]:
        """Returns a line for each source of which something was not read."""
        return [f"{source}: not read: {self.of(source)}" for source in self._counts]

    def of(self, source: str) -> str:
        """Returns the most frequent kinds of a source, with what would read them."""
        found = self._counts.get(source, collections.Counter())
        shown = found.most_common(_SHOWN)
        said = [f"{number} {kind} ({self._said[source, kind]})" for kind, number in shown]
        if others := len(found) - len(shown):
            number = found.total() - sum(number for _, number in shown)
            said.append(f"{number} of {others} other kinds")
        return ", ".join(said)


def suffix_of(name: str) -> str:
    """Returns under which kind a file that nothing reads is counted: its suffix, as `.xyz`."""
    return PurePath(compression.stripped(name)).suffix.lower() or "without suffix"
