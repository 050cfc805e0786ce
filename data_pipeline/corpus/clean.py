"""A document's text after its reader: Unicode, white space, the source's boilerplate, masking.

Nothing is folded: case, quotes, dashes and indentation carry meaning in code and in German.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Callable

from data_pipeline.corpus import boilerplate
from data_pipeline.readers import marks

# Control characters but tab and newline; C1; invisible joiners that only break words apart;
# noncharacters but the marks of code.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\u200b\u200e\u200f\u2060\ufeff\ufffe\uffff\ud800-\udfff"
    "\ufdd2-\ufdef]"
)
_LINE_BREAKS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_TRAILING = re.compile(r"[ \t\u00a0]+$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{4,}")


def normalise(text: str) -> str:
    """NFC, LF, no control characters, no trailing spaces, at most two blank lines in a row."""
    text = _CONTROL.sub("", _LINE_BREAKS.sub("\n", text))
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    if " \n" in text or "\t\n" in text or "\u00a0\n" in text:
        text = _TRAILING.sub("", text)
    if "\n\n\n\n" in text:
        text = _BLANK_LINES.sub("\n\n\n", text)
    return text.rstrip().lstrip("\n")


def clean(
    text: str,
    *,
    rules: tuple[str, ...],
    count: Callable[[str, str, str], None] = lambda rule, before, left: None,
) -> str:
    """normalise, then the named rules of boilerplate.py, then what they leave at the edges.

    Rules see a place where a reader marked code, so that none takes a line of it for prose; the
    marks end here. `count` is told of each rule that cut something: the text before and behind it.
    """
    text, pieces = marks.set_aside(normalise(text))
    for rule in rules:
        left = boilerplate.RULES[rule](text)
        if left != text:
            count(rule, marks.restored(text, pieces), marks.restored(left, pieces))
        text = left
    return normalise(marks.restored(text, pieces))


_EMAIL = re.compile(
    r"(?<![\w.+%-])[A-Za-z0-9](?:[\w.+%-]{0,62}[\w+%-])?@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b"
)
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4}){1,7}(?![\w:.])")
_VERSION = re.compile(r"(?:version|release|v|ver\.|section|§|rev\.?)\s*\Z", re.IGNORECASE)
# Names reserved for documentation (RFC 2606, RFC 6761).
_RESERVED = re.compile(
    r"(?:@|\.)(?:example\.(?:com|org|net|edu)|example|test|invalid|localhost|local)\Z",
    re.IGNORECASE,
)
MASKED_EMAIL = "name@example.com"
MASKED_IPV4 = "192.0.2.1"
MASKED_IPV6 = "2001:db8::1"


def mask(text: str) -> tuple[str, dict[str, int]]:
    """Replaces e-mail addresses and public IP addresses; returns the text and what was counted.

    Reserved names and every address that is not public stay: they are the subject of such texts.
    """
    counts = {"emails": 0, "ip_addresses": 0}

    def email(match):
        if _RESERVED.search(match.group()):
            return match.group()
        counts["emails"] += 1
        return MASKED_EMAIL

    def address(match):
        try:
            parsed = ipaddress.ip_address(match.group())
        except ValueError:
            return match.group()
        before = text[max(0, match.start() - 12) : match.start()]
        if not parsed.is_global or parsed.is_multicast or _VERSION.search(before):
            return match.group()
        counts["ip_addresses"] += 1
        return MASKED_IPV4 if parsed.version == 4 else MASKED_IPV6

    if "@" in text:
        text = _EMAIL.sub(email, text)
    text = _IPV4.sub(address, text)
    return (_IPV6.sub(address, text) if "::" in text or text.count(":") > 6 else text), counts
