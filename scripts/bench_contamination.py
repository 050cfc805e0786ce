"""Measures how surely evaluation text is found in training text, how often wrongly, how fast.

    python scripts/bench_contamination.py TEXTS [TEXTS...]       # files, or folders of text files

Half of the documents are evaluation text: paragraphs of 60 words and excerpts of 30, drawn by seed.
Each is altered and put between two lines of a document of the other half, the training text.
Prints the share that is found by alteration (the last two show what n-grams cannot find), then all
paragraphs of the evaluation half in the unaltered training text: those that stand there indeed (a
plain search for every n-gram says so), formulae, false alarms; and at last speed and memory.
"""

import html
import json
import random
import re
import resource
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import _checkout  # noqa: F401
import numpy as np

from data_pipeline import arguments, errors
from data_pipeline.similarity import containment, grams, letters

LENGTHS = (60, 30)
COLUMNS = 60
_MANY_DOCUMENTS = 40  # fewer are cut into pieces of so many characters
_PIECE_CHARS = 20_000
_STANDS = 0.4  # of a paragraph's letters
_OTHER = str.maketrans(
    {".": ";", ",": " -", ":": ".", ";": ",", "'": "\u2019", '"': "\u00bb", "-": "\u2013",
     "(": "[", ")": "]", "!": ".", "?": "..", "/": " / ", "*": "", "_": " ", "`": "'", "#": ""}
)  # fmt: skip


def main(argv=None) -> int:
    """Prints Markdown tables."""
    parser = arguments.Parser(__doc__)
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--samples", type=int, default=500, help="paragraphs for each alteration")
    parser.add_argument("--words", type=int, default=13, help="length of an n-gram")
    parser.add_argument("--formula_documents", type=int, default=10)
    parser.add_argument("--text_bytes", type=int, default=50_000_000, help="read for the speed")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    rng = random.Random(args.seed)
    documents = _documents(args.texts)
    rng.shuffle(documents)
    evaluation, training = documents[::2], documents[1::2]
    size = args.words * grams.WORD_LETTERS
    print(f"{len(documents)} documents, {sum(map(len, documents)) / 1e6:.1f} M characters")
    _recall(evaluation, training, rng, size, args)
    _false_alarms(evaluation, training, size, args)
    _speed(evaluation, training, size, args)
    return 0


def _documents(paths: list[Path]) -> list[str]:
    files = [
        file
        for path in paths
        for file in ([path] if path.is_file() else sorted(path.rglob("*")))
        if file.is_file()
    ]
    texts = [file.read_bytes().decode("utf-8", "replace") for file in files]
    if len(texts) < _MANY_DOCUMENTS:
        texts = [t[i : i + _PIECE_CHARS] for t in texts for i in range(0, len(t), _PIECE_CHARS)]
    if len(texts) < 4:
        raise errors.UserError(
            f"{', '.join(map(str, paths))}: {len(texts)} texts, 4 or more are wanted"
        )
    return texts


def _paragraphs(text: str, length: int) -> list[str]:
    """Runs of `length` words, and what stands between them; a word has a letter or a digit."""
    words = [one.span() for one in re.finditer(r"[^\w\s]*\w\S*", text)]
    return [
        text[words[i][0] : words[i + length - 1][1]]
        for i in range(0, len(words) - length + 1, length)
    ]


def _draw(documents: list[str], length: int, count: int, rng: random.Random) -> list[str]:
    every = [one for text in documents for one in _paragraphs(text, length)]
    return rng.sample(every, min(count, len(every)))


def _hyphenated(text: str, rng: random.Random) -> str:
    lines, line = [], ""
    for word in text.split():
        room = COLUMNS - len(line) - 2
        if len(line) + 1 + len(word) > COLUMNS:
            cut = min(room, len(word) - 2)
            if cut >= 2 and word.isalpha():
                line, word = f"{line} {word[:cut]}-", word[cut:]
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return "\n".join([*lines, line])


def _marked_up(text: str, rng: random.Random) -> str:
    marks = ("**", "*", "_", "`", "~~", "__")
    lines = []
    for line in textwrap.wrap(" ".join(text.split()), COLUMNS):
        words = line.split()
        at = rng.randrange(len(words))
        mark = rng.choice(marks)
        words[at] = f"{mark}{words[at]}{mark}"
        lines.append(rng.choice(("", "# ", "* ", "    ", "| ")) + " ".join(words))
    return "\n".join(lines)


def _wrapped(text: str, rng: random.Random) -> str:
    return textwrap.fill(" ".join(text.split()), COLUMNS)


def _quoted(text: str, rng: random.Random) -> str:
    return "\n".join(f"> {line}" for line in _wrapped(text, rng).splitlines())


def _everything(text: str, rng: random.Random) -> str:
    altered = _hyphenated(_marked_up(text.lower().translate(_OTHER), rng), rng)
    return "\n".join(f"> {line}" for line in altered.splitlines())


def _html(text: str, rng: random.Random) -> str:
    words = html.escape(text).replace('"', "&quot;").split(" ")
    for at in range(rng.randrange(8), len(words), 8):
        tag = rng.choice(("b", "i", "code", 'a href="https://x.org/y"', "span class=term"))
        words[at] = f"<{tag}>{words[at]}</{tag.split()[0]}>"
    return "&nbsp;".join(words)


def _linked(text: str, rng: random.Random) -> str:
    words = text.split(" ")
    for at in range(rng.randrange(10), len(words), 10):
        mark = rng.choice(("[{}](https://x.org/a-b_c)", "{}[12]"))
        words[at] = mark.format(words[at])
    return " ".join(words)


def _numbered(text: str, rng: random.Random) -> str:
    first = rng.randrange(1, 900)
    lines = enumerate(_wrapped(text, rng).splitlines(), first)
    return "\n".join(f"{number:4} {line}" for number, line in lines)


ALTERATIONS = {
    "unchanged": lambda text, rng: text,
    "lower case": lambda text, rng: text.lower(),
    "upper case": lambda text, rng: text.upper(),
    "other punctuation": lambda text, rng: text.translate(_OTHER),
    "wrapped at 60 columns": _wrapped,
    "quoted with `> `": _quoted,
    "hyphenated at line ends": _hyphenated,
    "markup characters": _marked_up,
    "all together": _everything,
    "HTML: a tag at every eighth word": _html,
    "a JSON string": lambda text, rng: json.dumps(text),
    "links and notes of Markdown": _linked,
    "lines of 60 columns with numbers": _numbered,
}

_NEARLY_EVERY = 20  # words, of which one is another


def _nearly(text: str, rng: random.Random) -> str:
    words = text.split(" ")
    for at in range(rng.randrange(_NEARLY_EVERY), len(words), _NEARLY_EVERY):
        words[at] = "".join(rng.choices("abcdefghij", k=max(1, len(words[at]))))
    return " ".join(words)


def _columns(text: str, rng: random.Random) -> str:
    """Beside itself backwards, as a page of two columns read line by line."""
    lines = textwrap.wrap(" ".join(text.split()), COLUMNS)
    return "\n".join(f"{line:{COLUMNS}}  {line[::-1]}" for line in lines)


LIMITS = {f"each {_NEARLY_EVERY}th word another": _nearly, "two columns, line by line": _columns}


def _embedded(altered: list[str], training: list[str], rng: random.Random) -> list[str]:
    """The training texts, each altered paragraph between two lines of one of them."""
    texts = [text.splitlines() for text in training]
    for one in altered:
        lines = rng.choice(texts)
        lines.insert(rng.randrange(len(lines) + 1), one)
    return ["\n".join(lines) for lines in texts]


def _found(evaluation: list[str], training: list[str], size: int, args) -> containment.Found:
    with tempfile.TemporaryDirectory() as directory:
        index = containment.build(evaluation, Path(directory), size=size)
        search = containment.Search(index, Path(directory))
        search.add(training)
        return search.found(formula_texts=args.formula_documents, passage_letters=200)


def _recall(evaluation, training, rng: random.Random, size: int, args) -> None:
    print("\n| alteration | " + " | ".join(f"{n} words" for n in LENGTHS) + " |")
    print("|---|" + "---:|" * len(LENGTHS))
    drawn = {n: _draw(evaluation, n, args.samples, rng) for n in LENGTHS}
    # What is in the training text without our doing would be found anyway.
    for n, every in drawn.items():
        found = _found(every, training, size, args)
        drawn[n] = [
            one for one, k in zip(every, found.found + found.formulae, strict=True) if not k
        ]
    for name, alter in (ALTERATIONS | LIMITS).items():
        shares = []
        for every in drawn.values():
            texts = _embedded([alter(one, rng) for one in every], training, rng)
            found = _found(every, texts, size, args)
            shares.append(found.contained.mean())
        print(f"| {name} | " + " | ".join(f"{share:.3f}" for share in shares) + " |", flush=True)
    print("drawn: " + ", ".join(f"{len(every)} of {n} words" for n, every in drawn.items()))


def _letters(text: str) -> str:
    return letters.of(text)[0].astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


def _false_alarms(evaluation, training, size: int, args) -> None:
    print("\n| all paragraphs of | paragraphs | stand in the training text | formulae | false |")
    print("|---:|---:|---:|---:|---:|")
    for length in LENGTHS:
        every = [one for text in evaluation for one in _paragraphs(text, length)]
        found = _found(every, training, size, args)
        alarms = [_letters(every[number]) for number in np.flatnonzero(found.contained)]
        sought = {own[i : i + size] for own in alarms for i in range(len(own) - size + 1)}
        there = set()
        for text in map(_letters, training):
            there |= sought.intersection(text[i : i + size] for i in range(len(text) - size + 1))
        false = sum(_covered(own, there, size) < _STANDS for own in alarms)
        print(
            f"| {length} words | {len(every)} | {len(alarms) - false} | "
            f"{found.mostly_formulae.sum()} | {false} |"
        )


def _covered(text: str, there: set[str], size: int) -> float:
    """The share of a text's letters that are in n-grams of the training text."""
    covered = np.zeros(len(text), bool)
    for i in range(len(text) - size + 1):
        if text[i : i + size] in there:
            covered[i : i + size] = True
    return covered.mean()


def _speed(evaluation, training, size: int, args) -> None:
    with tempfile.TemporaryDirectory() as directory:
        started = time.process_time()
        index = containment.build(evaluation, Path(directory), size=size)
        indexed = time.process_time() - started
        search = containment.Search(index, Path(directory))
        done, seconds = 0, 0.0
        while done < args.text_bytes:
            started = time.process_time()
            search.add(training)
            seconds += time.process_time() - started
            done += sum(len(text.encode()) for text in training)
    own = sum(len(text.encode()) for text in evaluation)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"\nindexing {own / indexed / 1e6:.1f} MB/s, searching {done / seconds / 1e6:.1f} MB/s "
        f"({done / 1e6:.0f} MB), peak memory {peak / 1e9:.2f} GB"
    )


if __name__ == "__main__":
    sys.exit(errors.run(main))
