"""The guide's tables, and a page with charts, from what was trained.

    python -m mypt_jax.report runs/tiny
    python -m mypt_jax.report runs/tiny --html            # report.html, one file, works offline
    python -m mypt_jax.report runs/tiny --html --watch    # written again while training runs
    python -m mypt_jax.report gs://bucket/runs/tiny       # written to its mirror, remote/gs/...

Reads every run at and under the directory, links it to its parent by its lineage (any number of
stages, any names), prints the tables as Markdown and writes report.md and report.json there.
"""

import contextlib
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path

from data_pipeline import arguments, atomic, errors
from mypt_jax import exits
from mypt_jax.report import as_json, runs, tables
from mypt_jax.report import page as report_page

WATCH_SECS = 10


def write(path: Path, text: str) -> None:
    """Replaces a file in one go: a reader sees the old report or the new one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.replacing(path) as file:
            file.write(text.encode(errors="backslashreplace"))
    except OSError as error:
        raise errors.UserError(f"cannot write {path}: {error.strerror}") from error


def build(root: Path, out: Path, *, title: str = "", page: bool = False, live_secs: int = 0) -> str:
    """Reads everything first, then writes: a damaged run is left out and told, and where none can
    be read the old report stays as it was."""
    left_out: list[str] = []
    groups = runs.lineages(runs.read_runs(root, tell=left_out.append))
    title = f"Report of {title or root}"
    text = tables.markdown(groups, title=title, left_out=left_out)
    numbers = json.dumps(as_json.as_json(groups, left_out=left_out), indent=1, allow_nan=False)
    files = {"report.md": text, "report.json": numbers + "\n"}
    if page:
        files["report.html"] = report_page.page(
            groups, title=title, directory=root, left_out=left_out, live_secs=live_secs
        )
    for name, content in files.items():
        write(out / name, content)
    return text


def _newest(root: Path) -> float:
    """When anything that the report reads was last written."""
    newest = 0.0
    for name in ("*.json", "*.jsonl"):
        for path in root.rglob(name):
            if not path.name.startswith("report"):
                with contextlib.suppress(FileNotFoundError):  # a step that was removed just now
                    newest = max(newest, path.stat().st_mtime)
    return newest


def watch(root: Path, out: Path, *, page: bool, say, title: str = "", fetch=lambda: None) -> None:
    """Builds again whenever a run has written something, until interrupted."""
    seen = -1.0
    try:
        while True:
            try:
                fetch()
                newest = _newest(root)
                if newest != seen:
                    seen = newest
                    build(root, out, title=title, page=page, live_secs=WATCH_SECS)
                    say(f"{time.strftime('%H:%M:%S')} written to {out}")
            except (errors.UserError, exits.StorageFailure) as error:
                # A row may be half written just now, the first run or the network not there yet.
                say(f"{time.strftime('%H:%M:%S')} waiting: {error}")
            time.sleep(WATCH_SECS)
    except KeyboardInterrupt:
        build(root, out, title=title, page=page)  # the last page no longer reloads itself


def _fetcher(url: str) -> Callable[[], str]:
    """Runs in a bucket are read, and reported on, in their local mirror: fetches what is new."""
    from mypt_jax.storage import (
        fetch as storage,  # imports jax: seconds that a report of a directory is spared
    )

    return functools.partial(storage.fetch_records, url)


def main(argv: list[str] | None = None) -> int:
    parser = arguments.Parser(__doc__, prog="python -m mypt_jax.report")
    parser.add_argument("runs", help="a directory with runs, such as runs/tiny or gs://...")
    parser.add_argument("--out", type=Path, help="where to write; default: that directory")
    parser.add_argument("--html", action="store_true", help="write report.html, too")
    parser.add_argument("--watch", action="store_true", help="write again while training runs")
    args = parser.parse_args(argv)
    if not args.runs:
        raise errors.UserError("the directory with runs is empty, wanted one such as runs/tiny")
    fetch = _fetcher(args.runs) if "://" in args.runs else None
    root = Path(fetch() if fetch else args.runs)
    out, page, title = args.out or root, args.html, args.runs
    if args.watch:
        fetch = fetch or (lambda: None)
        say = functools.partial(print, flush=True)
        watch(root, out, page=page, title=title, say=say, fetch=fetch)
        return 0
    print(build(root, out, page=page, title=title))
    if fetch:
        print(f"written to {out}")
    return 0
