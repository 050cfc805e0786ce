"""Compares converters of office formats on files whose text is known.

    python scripts/bench_office.py DIR      # book.pdf beside book.txt, its text from elsewhere

For each file: the share of the known text's words that a converter finds (recall), the share of
its words that are in the known text (precision), and its time, the import of its libraries
included. Peers that are not installed are left out: markitdown, pdfminer.six, pypdf.
"""

import collections
import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import _checkout  # noqa: F401

from data_pipeline import arguments, errors
from data_pipeline.readers import account, table

_KINDS = (".pdf", ".docx", ".pptx", ".epub")
_PEERS = {
    "markitdown": (_KINDS, "print(m.MarkItDown(enable_plugins=False).convert(p).text_content)"),
    "pdfminer": ((".pdf",), "import pdfminer.high_level as h; print(h.extract_text(p))"),
    "pypdf": ((".pdf",), "print('\\n'.join(page.extract_text() for page in m.PdfReader(p).pages))"),
}


def main(argv=None) -> int:
    """Prints a Markdown table."""
    parser = arguments.Parser(__doc__)
    parser.add_argument("directory", type=Path)
    args = parser.parse_args(argv)
    files = [path for path in sorted(args.directory.glob("*")) if path.suffix in _KINDS]
    files = [path for path in files if path.with_suffix(".txt").is_file()]
    if not files:
        raise errors.UserError(f"no file of {' '.join(_KINDS)} beside a .txt in {args.directory}")
    print("| file | converter | recall | precision | seconds |\n|---|---|---:|---:|---:|")
    for path in files:
        known = _words(path.with_suffix(".txt").read_text(encoding="utf-8"))
        _row(path, "this project", known, _ours)
        for peer, (kinds, code) in _PEERS.items():
            if path.suffix in kinds and importlib.util.find_spec(peer):
                _row(path, peer, known, lambda path, p=peer, c=code: _peers(path, p, c))
    return 0


def _row(path: Path, name: str, known: collections.Counter, convert) -> None:
    started = time.perf_counter()
    found = _words(convert(path))
    seconds = time.perf_counter() - started
    common = (found & known).total()
    recall, precision = common / max(known.total(), 1), common / max(found.total(), 1)
    print(f"| {path.name} | {name} | {recall:.3f} | {precision:.3f} | {seconds:.2f} |")


def _ours(path: Path) -> str:
    reader = table.reader_of(path) or ""
    found = table.documents(reader, path, name=path.name, max_bytes=1 << 30, options={})
    return "\n".join(each.text for each in found)


def _peers(path: Path, peer: str, code: str) -> str:
    """In a process, as ours."""
    program = f"import sys, {peer} as m; p = sys.argv[1]; {code}"
    command = [sys.executable, "-W", "ignore", "-c", program, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _words(text: str) -> collections.Counter:
    return collections.Counter(account.words(text.lower()))


if __name__ == "__main__":
    sys.exit(errors.run(main))
