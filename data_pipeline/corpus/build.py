"""Builds a corpus: read -> deduplicate -> write, each stage from files to files, resumable."""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_pipeline import atomic
from data_pipeline.corpus import against, build_report, dedup, files, registry, runner, write
from data_pipeline.corpus import read as parts


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a build depends on beside its sources."""

    out_dir: Path
    seed: int
    workers: int
    runner: str
    mask: bool
    tokenizer: str
    against: tuple[Path, ...]
    max_band_rows: int = dedup.MAX_BAND_ROWS


def build(
    sources: list[registry.Source],
    roots: dict[str, Path],
    settings: Settings,
    *,
    say: Callable[[str], None],
) -> dict:
    """Builds OUT/corpus_shards with its reports; returns the report.

    A build that was interrupted goes on where it was: finished parts are not read again.
    """
    out_dir = settings.out_dir
    work_dir = out_dir / "work"
    given = [against.source_of(path, number) for number, path in enumerate(settings.against)]
    protected = [source for source, _ in given]
    # Evaluation documents are read like a source, by the same readers: only so do texts meet.
    roots = roots | {source.name: root for source, root in given}
    planned = parts.plan([*sources, *protected], roots=roots, work_dir=work_dir, mask=settings.mask)
    work_dir.mkdir(parents=True, exist_ok=True)
    with atomic.locked(work_dir / "lock"):
        # Under the lock, where nobody else can be writing them.
        files.remove_partials(out_dir)
        run = _Run(settings, say)
        markers = dict(
            zip((p.key for p in planned), run.stage("read", parts.read, planned), strict=True)
        )
        against.check_read(settings.against, protected, planned, markers)
        names = {source.name for source in protected}
        # Evaluation text takes part in finding duplicates, and goes into no shard.
        own = [part for part in planned if part.source["name"] not in names]
        held = {}
        if protected:
            evaluated = [part for part in planned if part.source["name"] in names]
            looked = against.plan(own, evaluated, work_dir)
            run.stage("against", against.look_through, looked)
            held = against.holding(own, looked, work_dir)
        counts = _deduplicate(planned, markers, names, held, settings, say)
        # Shards appear under their final name together: the directory is what gets renamed.
        fresh = out_dir / "corpus_shards.new"
        shutil.rmtree(fresh, ignore_errors=True)
        shards = write.plan(
            own,
            seed=settings.seed,
            work_dir=work_dir,
            out_dir=fresh,
            tokenizer=settings.tokenizer,
        )
        written = run.stage("write", write.write, shards)
        report = build_report.collect(sources, own, markers, counts, written)
        _publish(out_dir, fresh, work_dir, report, sources)
        return report


class _Run:
    """Runs one stage after the other with one line of progress per tenth."""

    def __init__(self, settings: Settings, say: Callable[[str], None]):
        self.settings, self.say = settings, say

    def stage(self, name: str, function: Callable, tasks: list) -> list:
        total = len(tasks)

        def progress(done):
            if done == total or done * 10 // total > (done - 1) * 10 // total:
                self.say(f"{name}: {done} of {total}")

        return runner.run(
            function,
            tasks,
            runner=self.settings.runner,
            workers=self.settings.workers,
            progress=progress,
        )


def is_corpus(directory: Path) -> bool:
    """Whether a build has written this directory: its work/ may be gone."""
    try:
        manifest = files.read_json(directory / "manifest.json")
    except ValueError:
        return False
    return isinstance(manifest, dict) and {"schema", "shards"} == set(manifest)


def _deduplicate(
    planned, markers: dict, protected: set[str], held: dict, settings: Settings, say
) -> dict:
    work_dir = settings.out_dir / "work"
    groups = [
        dedup.Group(
            part.key,
            part.source["priority"],
            part.source["jaccard"],
            protected=part.source["name"] in protected,
        )
        for part in sorted(planned, key=lambda part: part.order)
    ]
    # A part may have been read again under its key: its digest tells.
    groups_read = [[*dataclasses.astuple(each), markers[each.key]["digest"]] for each in groups]
    named = [parts.VERSION, groups_read]
    if held:
        named.append({key: np.flatnonzero(rows).tolist() for key, rows in held.items()})
    key = hashlib.sha256(json.dumps(named).encode()).hexdigest()
    directory = work_dir / "dedup"
    done = files.read_json(directory / "done.json")
    if done is not None and done["key"] == key:
        return done["counts"]
    # Gone before the work begins: killed in the middle, the old mark would vouch for new files.
    (directory / "done.json").unlink(missing_ok=True)
    index = dedup.Index(groups, work_dir / "read", held=held)
    say(f"deduplicate: {len(index)} documents")
    result = dedup.decide(index, max_rows=settings.max_band_rows)
    counts = dedup.write(index, result, directory)
    files.write_json(directory / "done.json", {"key": key, "counts": counts})
    return counts


def _publish(out_dir: Path, fresh: Path, work_dir: Path, report: dict, sources) -> None:
    """Puts the new shards in the place of the old ones; the manifest comes last."""
    manifest = out_dir / "manifest.json"
    # Without a manifest there is no corpus: no moment has new shards under the old one.
    manifest.unlink(missing_ok=True)
    shards = out_dir / "corpus_shards"
    shutil.rmtree(shards, ignore_errors=True)
    os.replace(fresh, shards)
    clusters = (work_dir / "dedup" / "near_duplicates.jsonl").read_bytes()
    files.write_bytes(out_dir / "near_duplicates.jsonl", clusters)
    files.write_json(out_dir / "report.json", report)
    files.write_bytes(out_dir / "report.md", build_report.table(report).encode())
    files.write_bytes(
        out_dir / "ATTRIBUTION.md", build_report.attribution(sources, report).encode()
    )
    files.write_json(
        manifest,
        {"schema": 1, "shards": {each["name"]: each["sha256"] for each in report["shards"]}},
    )
