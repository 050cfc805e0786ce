"""Where the words of files went: into documents, or for which reason they did not.

Words are compared as multisets, so that a reader's own list of what it left out cannot hide what
it lost: the words of a file that are in no document are looked for in what the reader left out,
then in what is markup in its format; those found in neither are unaccounted.
"""

import collections
import re
from collections.abc import Callable, Iterable, Iterator

# Letters and digits are parts of words, and all that is not ASCII but signs and punctuation.
_LETTERS = bytes(byte if byte >= 0x80 or chr(byte).isalnum() else 0x20 for byte in range(256))
_SIGNS = re.compile(rb"\xc2[\x80-\xbf]|\xe2[\x80\x81][\x80-\xbf]|\xe3\x80[\x80-\xbf]")
_NONCHARACTERS = re.compile(rb"\xef\xb7[\x90-\xaf]")  # marks of code and of raised words
_SAMPLE = 12  # unaccounted words that an example shows

# A reason and the text that it is given for.
Pieces = Iterable[tuple[str, str]]


class Account:
    """Told by a reader what it read and what it left out. This one forgets it."""

    def left_out(self, kind: str, text: str) -> None:
        """Some text of a file is in no document; kinds that begin with "markup/" are no loss."""

    def note(self, kind: str, example: str) -> None:
        """Something was left out of which there are no words to count."""

    def read(
        self, raw: str, shown: str, *, where: str, pieces: Callable[[str], Pieces] | None = None
    ) -> None:
        """A file, or an entry of one, was read: all of its text, and what of it is shown.

        `pieces` gives more text, in order, by which missing words are explained.
        """

    def skip(self, reason: str, text: str) -> None:
        """Text of a file of which no document is made at all."""


NONE = Account()


class Words(Account):
    """Counts words: `total["in"]`, "added" (by the reader), "out", "unaccounted", and by reason.

    `told` hears of each kind that is no markup, with its text, and of unaccounted words.
    """

    def __init__(self, told: Callable[[str, str], None] = lambda kind, text: None):
        self.notes: collections.Counter[str] = collections.Counter()
        self.total: collections.Counter[str] = collections.Counter()
        self.reasons: collections.Counter[str] = collections.Counter()
        self._told = told
        self._left_out: list[tuple[str, str]] = []

    def left_out(self, kind: str, text: str) -> None:
        self._left_out.append((kind, text))
        if not kind.startswith("markup/"):
            self._told(f"left_out/{kind}", text)

    def note(self, kind: str, example: str) -> None:
        self.notes[kind] += 1
        self._told(f"left_out/{kind}", example)

    def read(
        self, raw: str, shown: str, *, where: str, pieces: Callable[[str], Pieces] | None = None
    ) -> None:
        left_out, self._left_out = self._left_out, []
        if raw is shown:  # a plain text: nothing to compare
            self.total["in"] += (number := count(raw))
            self.total["out"] += number
            return
        common, missing, added = _compared(raw, shown)
        self.total["in"] += common + missing.total()
        self.total["out"] += common + added.total()
        self.total["added"] += added.total()
        before = missing.total()
        # First, since what a tag inside of a word parted is no loss that a reason should claim.
        for word in added.elements():
            _join(word, missing)
        missing = +missing
        if before > missing.total():
            self.reasons["markup/inside_words"] += before - missing.total()
        for reason, text in _chained(left_out, pieces, raw):
            if not missing:
                return
            # As many as are missing and no more: a reason given twice explains a word once.
            found = collections.Counter(words(text)) & missing
            if found:
                self.reasons[reason] += found.total()
                missing -= found
        if missing:
            self.total["unaccounted"] += missing.total()
            sample = b" ".join(list(missing)[:_SAMPLE]).decode("utf-8", "replace")
            self._told("unaccounted", f"{where}: {sample}")

    def skip(self, reason: str, text: str) -> None:
        if number := count(text):
            self.total["in"] += number
            self.reasons[reason] += number


class Markup:
    """Patterns of what is no text in a format, by name; called with a text, it gives the pieces."""

    def __init__(self, **patterns: str):
        self._patterns = {
            f"markup/{name}": re.compile(pattern, re.MULTILINE)
            for name, pattern in patterns.items()
        }

    def __call__(self, raw: str) -> Iterator[tuple[str, str]]:
        for reason, pattern in self._patterns.items():
            if pattern.groups:  # findall would give those
                yield reason, "\n".join(match.group() for match in pattern.finditer(raw))
            else:
                yield reason, "\n".join(pattern.findall(raw))


def words(text: str) -> list[bytes]:
    """Returns the words of a text: runs of letters and digits."""
    return _data(text).translate(_LETTERS).split()


def count(text: str) -> int:
    """Number of words."""
    return len(words(text))


def _data(text: str) -> bytes:
    data = text.encode("utf-8", "ignore")
    # Bytes, not characters: a table of 256 takes half the time of a pattern.
    if text.isascii():
        return data
    return _SIGNS.sub(b" ", _NONCHARACTERS.sub(b"", data))


def _join(word: bytes, missing: collections.Counter) -> bool:
    """Takes away the missing words of which a word is put together; False where it is not.

    Markup inside of a word parts it: 54*a* is 54a.
    """
    # Ends that led nowhere are not tried again, though by other words before them they might have
    # led somewhere: there are exponentially many ways through a word of few letters.
    parts: list[bytes] = []
    dead: set[int] = set()
    begin, end = 0, len(word)
    while begin < len(word):
        while end > begin and (end in dead or missing[word[begin:end]] <= 0):
            end -= 1
        if end > begin:
            parts.append(word[begin:end])
            missing[parts[-1]] -= 1
            begin, end = end, len(word)
        elif parts:
            dead.add(begin)
            missing[parts[-1]] += 1
            begin, end = begin - len(parts.pop()), begin - 1
        else:
            return False
    return True


def _compared(raw: str, shown: str) -> tuple[int, collections.Counter, collections.Counter]:
    """Returns (number of words in both, words of `raw` alone, words of `shown` alone)."""
    # Most lines of most formats are the same on both sides: only the others are worth counting.
    before = collections.Counter(map(bytes.strip, _data(raw).split(b"\n")))
    behind = collections.Counter(map(bytes.strip, _data(shown).split(b"\n")))
    same = before & behind
    before -= same
    behind -= same
    count_same = len(b"\n".join(same.elements()).translate(_LETTERS).split())
    left, right = (
        collections.Counter(b"\n".join(each.elements()).translate(_LETTERS).split())
        for each in (before, behind)
    )
    missing = left - right
    return count_same + left.total() - missing.total(), missing, right - left


def _chained(left_out: Pieces, pieces: Callable[[str], Pieces] | None, raw: str) -> Pieces:
    yield from left_out
    if pieces is not None:
        yield from pieces(raw)
