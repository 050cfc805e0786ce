"""What of a text counts where texts are compared: its letters and digits, in their order.

Case, accents, white space, punctuation, quote marks, hyphens and markup characters are left out, so
that wrapping, quoting, hyphenation and other typography change nothing. A ligature counts as its
letters, a Hangul syllable as its jamo. An ideograph counts as three letters and a kana as two,
about what their words have in letters: one length fits texts with and without spaces.
"""

import functools
import unicodedata

import numpy as np

_BLOCK = 1 << 15  # characters per step: its arrays stay in the processor's cache
_MOST = 3  # letters of one character
_LETTER = 0x00FFFFFF  # the byte above holds how many letters follow the first
_KANA = range(0x3041, 0x3100)
_IDEOGRAPHS = (range(0x3400, 0x4DC0), range(0x4E00, 0xA000), range(0x20000, 0x323B0))


def of(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the letters (uint32[N]) and the character of `text` that each is of (int64[N])."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    pieces = [_fold(codes[a : a + _BLOCK], a) for a in range(0, len(codes), _BLOCK)]
    if len(pieces) == 1:
        return pieces[0]
    letters = [np.zeros(0, np.uint32), *(one for one, _ in pieces)]
    places = [np.zeros(0, np.int64), *(one for _, one in pieces)]
    return np.concatenate(letters), np.concatenate(places)


def _fold(codes: np.ndarray, offset: int) -> tuple[np.ndarray, np.ndarray]:
    first, *more = _tables()
    letters = first.take(codes)
    places = np.flatnonzero(letters != 0)  # of numbers it is three times as slow
    letters = letters.take(places)
    if len(letters) and letters.max() > _LETTER:
        counts = (letters >> np.uint32(24)).astype(np.int64) + 1
        starts = np.cumsum(counts) - counts
        codes = codes[places]
        letters = np.repeat(letters & np.uint32(_LETTER), counts)
        for number, table in enumerate(more, 1):
            has = counts > number
            letters[starts[has] + number] = table[codes[has]]
        places = np.repeat(places, counts)
    return letters, places + offset


@functools.cache
def _tables() -> tuple[np.ndarray, ...]:
    """uint32[code point] for the first, second and third letter of a character; 0: it has none."""
    tables = tuple(np.zeros(0x110000, np.uint32) for _ in range(_MOST))
    for codes in _IDEOGRAPHS:
        for table in tables:
            table[codes.start : codes.stop] = np.arange(codes.start, codes.stop)
    for code in range(0x20000):
        # Controls, surrogates and what is not assigned have no letters; ideographs are themselves.
        if not tables[0][code] and unicodedata.category(chr(code))[0] != "C":
            for table, letter in zip(tables, _letters(chr(code)), strict=False):
                table[code] = letter
    tables[0][:] |= sum((table > 0).astype(np.uint32) << np.uint32(24) for table in tables[1:])
    return tables


def _letters(character: str) -> list[int]:
    # Twice, since folding gives characters that decompose.
    folded = unicodedata.normalize("NFKD", character).casefold()
    folded = unicodedata.normalize("NFKD", folded)
    found = []
    for one in folded:
        digit = unicodedata.decimal(one, None)
        if digit is not None:
            found.append(ord("0") + digit)
        # Marks with a combining class are accents, points and tones, which writers leave out.
        elif unicodedata.category(one)[0] in "LNM" and not unicodedata.combining(one):
            found += [ord(one)] * _weight(ord(one))
    return found[:_MOST]


def _weight(code: int) -> int:
    if any(code in codes for codes in _IDEOGRAPHS):
        return 3
    return 2 if code in _KANA else 1
