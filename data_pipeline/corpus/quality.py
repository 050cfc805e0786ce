"""Rules that drop a whole document, each with a name, a limit and a reason that is counted."""

import functools
import re
from collections import Counter

# name -> limit; a source may set its own. 0 (or 1 for a share) switches a rule off.
DEFAULTS = {
    "min_chars": 400,
    "max_repeated_lines": 0.5,
    "max_repeated_ngrams": 0.6,
    "max_symbol_share": 0.5,
    "min_stop_words": 2,
    "check_language": 1,
}
_NGRAM = 10
_LONG_LINE = 20
_WORD = re.compile(r"[^\W\d_]+")
# Not indented, five words and more, none of the signs that code is full of.
_PROSE = re.compile(r"(?:- )?[^\W\d_](?=(?:[^ ]* ){4})[^{};=<>$\\|]*\Z")
_ENOUGH_PROSE = 100
_SAMPLE_CHARS = 20_000
# The smallest words of a language: prose has several of them, whatever it is about.
_STOP_WORDS = {
    "en": frozenset("the be to of and that have with is in for a or are".split()),
    "de": frozenset("der die das und ist zu in von mit nicht den des im für auf oder dem".split()),
}
# A text in another language is dropped only if the identifier is this sure.
_SURE = 0.95
_OWN_STOP_WORDS = 6


def reason(text: str, *, lang: str, limits: dict) -> str:
    """Returns the name of the first rule that a cleaned text breaks, or ""."""
    limits = DEFAULTS | limits
    if len(text) < limits["min_chars"]:
        return "min_chars"
    if symbol_share(text) > limits["max_symbol_share"]:
        return "max_symbol_share"
    if repeated_line_share(text) > limits["max_repeated_lines"]:
        return "max_repeated_lines"
    if repeated_ngram_share(text) > limits["max_repeated_ngrams"]:
        return "max_repeated_ngrams"
    words = _STOP_WORDS.get(lang)
    if not words:
        return ""
    count = stop_words(text, words)
    if count < limits["min_stop_words"]:
        return "min_stop_words"
    # A text with many stop words of its language is in it; only the rest is worth a model.
    if limits["check_language"] and count < _OWN_STOP_WORDS:
        found, probability = language(text)
        if found != lang and probability >= _SURE:
            return "language"
    return ""


def symbol_share(text: str) -> float:
    """Share of characters that are neither letters, digits nor white space."""
    sample = text[:_SAMPLE_CHARS]
    return 1 - sum(map(_is_plain, sample)) / len(sample) if sample else 0.0


@functools.cache
def _is_plain(character: str) -> bool:
    return character.isalnum() or character.isspace()


def repeated_line_share(text: str) -> float:
    """Share of characters in lines (of 20 and more) that occurred before."""
    seen: set[str] = set()
    repeated = total = 0
    for line in text.split("\n"):
        line = line.strip()
        if len(line) < _LONG_LINE:
            continue
        total += len(line)
        if line in seen:
            repeated += len(line)
        seen.add(line)
    return repeated / total if total else 0.0


def repeated_ngram_share(text: str) -> float:
    """Share of 10-word sequences that occurred before, in the first 20,000 characters."""
    words = text[:_SAMPLE_CHARS].split()
    count = len(words) - _NGRAM + 1
    if count < 2:
        return 0.0
    grams = Counter(tuple(words[i : i + _NGRAM]) for i in range(count))
    return 1 - len(grams) / count


def stop_words(text: str, words: frozenset[str]) -> int:
    """Number of different stop words in the text's first 20,000 characters."""
    return len(words.intersection(text[:_SAMPLE_CHARS].lower().split()))


def language(text: str) -> tuple[str, float]:
    """The most likely language (ISO 639-1) and its probability; only letters are looked at."""
    # Code looks like English: lines of prose decide where there are enough of them.
    prose = "\n".join(line for line in text.split("\n") if _PROSE.match(line))
    text = prose if len(prose) >= _ENOUGH_PROSE else text
    # The middle of a text is prose more often than its head of names and titles.
    start = max(0, len(text) // 2 - 1500)
    sample = " ".join(_WORD.findall(text[start : start + 3000]))
    found, probability = _identifier().classify(sample)
    return found, float(probability)


@functools.cache
def _identifier():
    import py3langid.langid  # the model takes a second to load: only builds pay for it

    return py3langid.langid.LanguageIdentifier.from_model_file(
        py3langid.langid.MODEL_FILE, norm_probs=True
    )
