"""Whether text was written in Windows-1252, which no byte contradicts: by the letters that it has.

Other code pages read as that one give words of letters that no language has together, or with signs
inside.
"""

import collections
import re

_LETTERS = "À-ÖØ-öø-ÿŠŒŽšœžŸ"
_LETTER = re.compile(f"[{_LETTERS}]")
# Inside of words: all but what typography and abbreviations put there. Controls: the bytes that
# Windows-1252 leaves open.
_SIGN = re.compile(
    rf"(?<=[A-Za-z{_LETTERS}])[^\x00-\x7f{_LETTERS}’‘–—…·«»ªºµ\xa0\xad](?=[A-Za-z{_LETTERS}])"
    r"|[\x80-\x9f]"
)
_ALPHABETS = (
    "àâæçèéêëîïñôœùûüÿ",  # French, Breton
    "åâçèéêëîôû",  # Walloon
    "äöüßéèàâ",  # German, with its loan words
    "áéíñóúü",  # Spanish, Irish, Galician
    "àèéìíîòóùú",  # Italian
    "àáâãçéêíóôõú",  # Portuguese
    "àçèéíïòóúüñ",  # Catalan, Occitan
    "ëïéóèöüáêçîû",  # Dutch, Albanian
    "åäöéüõšž",  # Swedish, Finnish, Estonian
    "æøåéóôòöä",  # Danish, Norwegian
    "áðéíóúýþæöø",  # Icelandic, Faroese
)
_FEW = 12  # wrong letters: a name, or a list of letters
_SHARE = 0.1


def is_likely(text: str) -> bool:
    """False where text, read as Windows-1252, is that of another code page.

    It is taken for Windows-1252 where there is too little to tell.
    """
    letters = collections.Counter(_LETTER.findall(text.lower()))
    signs = sum(1 for _ in _SIGN.finditer(text))
    known = max(sum(letters[one] for one in alphabet) for alphabet in _ALPHABETS)
    wrong = letters.total() - known + signs
    return wrong < _FEW or wrong <= _SHARE * (letters.total() + signs)
