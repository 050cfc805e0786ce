"""The guide's tables, and a page with charts, from what was trained.

    python -m mypt_jax.report runs/tiny
    python -m mypt_jax.report runs/tiny --html            # report.html, one file, works offline
    python -m mypt_jax.report runs/tiny --html --watch    # written again while training runs

Reads every run at and under the directory, links it to its parent by its lineage (any number of
stages, any names), prints the tables as Markdown and writes report.md and report.json there.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from data_pipeline import errors
from mypt_jax import report_data, report_json, report_page, report_tables

WATCH_SECS = 10


def write(path: Path, text: str) -> None:
    """Replaces a file in one go: a reader sees the old report or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise errors.UserError(f"cannot write {path}: {error.strerror}") from error


def build(root: Path, out: Path, *, page: bool = False, live_secs: int = 0) -> str:
    """Reads everything first, then writes: bad input leaves the old report as it was."""
    groups = report_data.lineages(report_data.read_runs(root))
    title = f"Report of {root}"
    text = report_tables.markdown(groups, title=title)
    numbers = json.dumps(report_json.as_json(groups), indent=1, allow_nan=False)
    files = {"report.md": text, "report.json": numbers + "\n"}
    if page:
        files["report.html"] = report_page.page(
            groups, title=title, directory=root, live_secs=live_secs
        )
    for name, content in files.items():
        write(out / name, content)
    return text


def _newest(root: Path) -> float:
    """When anything that the report reads was last written."""
    files = (p for name in ("*.json", "*.jsonl") for p in root.rglob(name))
    return max((p.stat().st_mtime for p in files if not p.name.startswith("report")), default=0.0)


def watch(root: Path, out: Path, *, page: bool, say) -> None:
    """Builds again whenever a run has written something, until interrupted."""
    seen = -1.0
    try:
        while True:
            newest = _newest(root)
            if newest != seen:
                try:
                    build(root, out, page=page, live_secs=WATCH_SECS)
                    say(f"{time.strftime('%H:%M:%S')} written to {out}")
                except errors.UserError as error:
                    # A row may be half written just now, or the first run not there yet.
                    say(f"{time.strftime('%H:%M:%S')} waiting: {error}")
                seen = newest
            time.sleep(WATCH_SECS)
    except KeyboardInterrupt:
        build(root, out, page=page)  # the last page no longer reloads itself


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="The guide's tables from what was trained.")
    parser.add_argument("runs", type=Path, help="a directory with runs, such as runs/tiny")
    parser.add_argument("--out", type=Path, help="where to write; default: that directory")
    parser.add_argument("--html", action="store_true", help="write report.html, too")
    parser.add_argument("--watch", action="store_true", help="write again while training runs")
    args = parser.parse_args(argv)
    out = args.out or args.runs
    if args.watch:
        watch(args.runs, out, page=args.html, say=lambda line: print(line, flush=True))
        return 0
    print(build(args.runs, out, page=args.html))
    return 0


if __name__ == "__main__":
    sys.exit(errors.run(main))
