"""Secrets and personal data in texts on their way into a dataset: counted, or masked.

Secrets are what the patterns of detect-secrets say they are (AWS, GitHub, private keys and twenty
others; not its guesses by entropy or by words such as "password"); telephone numbers in
international notation what phonenumbers calls valid; numbers of bank accounts (IBAN), payment
cards and Swiss social security (AHV) those whose check digits python-stdnum confirms. E-mail and
public IP addresses are those of the corpus commands. None of them sees names of people, addresses
or what only a reader understands.
"""

import bisect
import collections
import dataclasses
import re
from collections.abc import Iterable, Iterator

from data_pipeline import document, errors
from data_pipeline.corpus import clean

HOWS = ("off", "count", "mask")
MASKED_SECRET = "[secret]"
MASKED_NUMBER = "+1 202-555-0100"  # of the range that is kept for fiction
MASKED_ACCOUNT = "[number]"
_OWN = "Public IP (ipv4)"  # which clean.mask finds, IPv6 as well
_KEY = "Private Key"
_DASHES = "-----"
# Some patterns take the square of a line's length. A text with a longer line is looked through in
# stretches, each of which begins so far before the last one's end: secrets are shorter than that.
_LONG_LINE = re.compile(r"[^\n]{16384}")
_STRETCH, _COMMON = 8192, 2048
# What may be one; its check digits decide. Cards: ISO/IEC 7812, the ranges of the large issuers.
_IBAN = re.compile(r"\b[A-Z]{2}\d\d(?: ?[A-Z\d]{4}){2,7}(?: ?[A-Z\d]{1,3})?\b")
_AHV = re.compile(r"\b756\.? ?\d{4}\.? ?\d{4}\.? ?\d\d\b")
_CARD = re.compile(
    r"(?<![\w.,+-])"
    r"(?:(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|6011|65\d\d)([ -]?)\d{4}\1\d{4}\1\d{4}"
    r"|3[47]\d\d([ -]?)\d{6}\2\d{5})"
    r"(?![.,-]?\w)"
)
# A number may go on in the next line, also of a quoted mail.
_WRAP = re.compile(r"(?<=[\dA-Z.-])[ \t]*\r?\n[ \t>]*(?=[\dA-Z(])")
_WRAPPED_TELEPHONE = re.compile(r"\+\d[\d ()./-]{0,20}\r?\n[ \t>]*[\d(]")
_KEY_END = re.compile(r"-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----")


class Watch:
    """Counts by source what is found in documents, and takes it out where that is asked for."""

    def __init__(self, how: str):
        """`how`: one of HOWS. Raises MissingExtra without the packages that look."""
        self._how = how
        self.counts: dict[str, collections.Counter[str]] = {}
        self._detectors = _detectors() if how != "off" else []

    def documents(self, documents: Iterable[document.Document]) -> Iterator[document.Document]:
        for item in documents:
            if self._how != "off":
                text, found = self._masked(item.text)
                self.counts.setdefault(item.source, collections.Counter()).update(found)
                if self._how == "mask" and text != item.text:
                    item = dataclasses.replace(item, text=text)
            yield item

    def recorded(self) -> dict[str, str]:
        """What a manifest keeps: that texts were changed."""
        return {"sensitive": self._how} if self._how == "mask" else {}

    def lines(self) -> list[str]:
        """What was found, a line for each source; [] where nobody looked."""
        what = "masked" if self._how == "mask" else "kept: --sensitive=mask takes them out"
        lines = []
        for source, counts in self.counts.items():
            found = ", ".join(f"{n:,} {kind}" for kind, n in sorted(counts.items()) if n)
            lines.append(
                f"{source}: sensitive: {f'{found} ({what})' if found else 'nothing found'}"
            )
        return lines

    def _masked(self, text: str) -> tuple[str, dict[str, int]]:
        counts: collections.Counter[str] = collections.Counter()
        # Secrets first: a part of one may look like something else.
        text = _replaced(text, self._secrets(text), MASKED_SECRET, counts)
        whole = _Unwrapped(text)
        text = _replaced(text, whole.spans(_accounts(whole.text)), MASKED_ACCOUNT, counts)
        numbers = _telephones(text)
        if _WRAPPED_TELEPHONE.search(text):
            whole = _Unwrapped(text)
            numbers += whole.spans(_telephones(whole.text))
        text = _replaced(text, numbers, MASKED_NUMBER, counts)
        text, addresses = clean.mask(text)
        return text, counts + collections.Counter(addresses)

    def _secrets(self, text: str) -> list[tuple[int, int, str]]:
        """(first, last character, kind) of secrets."""
        found = []
        for at, part in _stretches(text):
            for detector in self._detectors:
                values = {*detector.analyze_string(part)}  # with the checks of its own
                for pattern in detector.denylist if values else ():
                    # All that a pattern takes: its groups may be a part of the secret alone.
                    for match in pattern.finditer(part):
                        if values & {match[0], *match.groups()}:
                            first, last = match.span()
                            found.append((at + first, at + last, detector.secret_type))
        return [_whole_key(text, *one) if one[2] == _KEY else one for one in found]


def _stretches(text: str) -> Iterator[tuple[int, str]]:
    """Yields (where it begins, a part of the text): all of it, but for a text with a long line."""
    if not _LONG_LINE.search(text):
        yield 0, text
        return
    for start in range(0, len(text), _STRETCH - _COMMON):
        yield start, text[start : start + _STRETCH]


def _whole_key(text: str, first: int, last: int, kind: str) -> tuple[int, int, str]:
    """Of a private key the pattern knows the first line, between its dashes."""
    following = text.find(f"{_DASHES}BEGIN", last)
    end = _KEY_END.search(text, last, len(text) if following < 0 else following)
    first -= len(_DASHES) if text.endswith(_DASHES, 0, first) else 0
    return first, end.end() if end else last, kind


def _detectors() -> list:
    with errors.needs("sensitive"):
        import phonenumbers  # noqa: F401 (said here, and not in the middle of a build)
        import stdnum  # noqa: F401
        from detect_secrets.core.plugins import util
        from detect_secrets.plugins import base
    kinds = util.get_mapping_from_secret_type_to_class()
    return [
        kind()
        for name, kind in sorted(kinds.items())
        if issubclass(kind, base.RegexBasedDetector) and name != _OWN
    ]


class _Unwrapped:
    """A text in which what may be one number stands in one line, and where that was in it."""

    def __init__(self, text: str):
        parts, end, length = [], 0, 0
        self._begin_N, self._more_N = [0], [0]  # from here on the text was so much further
        for match in _WRAP.finditer(text):
            # What a hyphen ends goes on at once; words, and what a full stop ends, stay apart.
            parts += [text[end : match.start()], "" if text[match.start() - 1] == "-" else " "]
            length += len(parts[-2]) + len(parts[-1])
            end = match.end()
            self._begin_N.append(length)
            self._more_N.append(end - length)
        self.text = "".join([*parts, text[end:]])

    def spans(self, found: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
        """Of the text as it is what was found in it as it stands here."""
        return [
            (self._place(first), self._place(last - 1) + 1, kind) for first, last, kind in found
        ]

    def _place(self, at: int) -> int:
        return at + self._more_N[bisect.bisect_right(self._begin_N, at) - 1]


def _accounts(text: str) -> list[tuple[int, int, str]]:
    from stdnum import iban, luhn
    from stdnum.ch import ssn

    found, place = [], 0
    while match := _IBAN.search(text, place):
        # The words behind it may look like more of it, and be another one.
        value = match[0]
        while value and not iban.is_valid(value):
            value = value.rpartition(" ")[0]
        if value:
            found.append((match.start(), match.start() + len(value), "IBANs"))
        place = match.start() + max(1, len(value))
    for kind, pattern, checks in (("card numbers", _CARD, luhn), ("AHV numbers", _AHV, ssn)):
        for match in pattern.finditer(text):
            if checks.is_valid(re.sub("[ .-]", "", match[0])):
                found.append((*match.span(), kind))
    return found


def _telephones(text: str) -> list[tuple[int, int, str]]:
    import phonenumbers

    if "+" not in text:
        return []
    found = phonenumbers.PhoneNumberMatcher(text, None, max_tries=len(text))
    return [(one.start, one.end, "telephone numbers") for one in found]


def _replaced(
    text: str, spans: list[tuple[int, int, str]], mask: str, counts: collections.Counter[str]
) -> str:
    """The text with `mask` in place of what was found, which is counted; of two that overlap the
    first and longer one."""
    parts, end = [], 0
    for first, last, kind in sorted(spans, key=lambda one: (one[0], -one[1])):
        if first < end:
            continue
        counts[kind] += 1
        parts += [text[end:first], mask]
        end = last
    return "".join([*parts, text[end:]])
