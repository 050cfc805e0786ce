"""What a build says about itself: counts per source, examples of what was dropped, attribution."""

import collections

from data_pipeline.corpus import read, registry, write

# Groups of reasons, in the order in which a text meets them.
_GROUPS = ("markup", "left out", "boilerplate", "cleaning", "quality", "duplicates", "unaccounted")


def collect(
    sources: list[registry.Source],
    planned: list[read.Part],
    markers: dict[str, dict],
    duplicates: dict[str, dict],
    shards: list[dict],
) -> dict:
    """Adds up the parts' counts per source; holds no time and no path of this machine."""
    rows: dict[str, dict] = {
        source.name: {
            "role": source.role,
            "lang": source.lang,
            "licence": source.licence,
            "origin": source.origin,
            "expected_tokens": source.expected_tokens,
            "reader": source.reader,
            "kept": dict.fromkeys(write.SUMS, 0),
            "words": collections.Counter(),
            "gone": collections.Counter(),
            "counts": {},
            "examples": {},
        }
        for source in sources
    }
    for part in sorted(planned, key=lambda part: part.order):
        row = rows[part.source["name"]]
        marker = markers[part.key]
        counted = marker["counts"] | {
            f"dropped/{kind}": count for kind, count in duplicates[part.key].items() if count
        }
        row["words"].update(marker["words"])
        row["gone"].update(marker["gone"])
        for kind, count in counted.items():
            row["counts"][kind] = row["counts"].get(kind, 0) + count
        for kind, examples in marker["examples"].items():
            kept = row["examples"].setdefault(kind, [])
            kept += examples[: read.EXAMPLES - len(kept)]
    for shard in shards:
        for name, counts in shard["sources"].items():
            for key in write.SUMS:
                rows[name]["kept"][key] += counts[key]
    for row in rows.values():
        row["coverage"] = _coverage(row.pop("words"), row.pop("gone"), row)
    total = {key: sum(row["kept"][key] for row in rows.values()) for key in write.SUMS}
    listed = [{"name": each["name"], "sha256": each["sha256"]} for each in shards]
    return {"schema": 1, "sources": rows, "total": total, "shards": listed}


def _coverage(words: collections.Counter, gone: collections.Counter, row: dict) -> dict | None:
    """Where the words of a source are: in + added = kept + all of `gone` + unaccounted.

    None for a reader that cannot account for its words.
    """
    if not words["out"] and row["counts"].get("documents_read"):
        return None
    of_documents = sum(n for reason, n in gone.items() if reason.startswith(_OF_DOCUMENTS))
    cleaned = words["out"] - of_documents - words["left"]
    added = words["added"] + max(0, -cleaned)  # a line separator of Unicode parts words as well
    gone["cleaning"] = max(0, cleaned)
    gone["duplicates"] = words["left"] - row["kept"]["words"]
    return {
        "in": words["in"],
        "added": added,
        "kept": row["kept"]["words"],
        "unaccounted": words["unaccounted"],
        "gone": {reason: n for reason, n in sorted(gone.items()) if n},
    }


_OF_DOCUMENTS = ("boilerplate/", "dropped/")


def _group(reason: str) -> str:
    head, slash, _ = reason.partition("/")
    if reason in ("cleaning", "duplicates"):
        return reason
    return {"dropped": "quality"}.get(head, head) if slash else "left out"


def _coverage_table(report: dict) -> list[str]:
    """Where the words of each source are, in per cent of those in its files."""
    lines = [
        "",
        "## Words",
        "",
        "Per cent of the words in the files and of those that a reader adds (numbers, labels).",
        "",
        f"| source | reader | words in | added | kept | {' | '.join(_GROUPS)} |",
        f"|---|---|{'---:|' * (3 + len(_GROUPS))}",
    ]
    for name, row in report["sources"].items():
        coverage = row["coverage"]
        if coverage is None:
            lines.append(f"| {name} | {row['reader']} | cannot account |")
            continue
        groups = collections.Counter({"unaccounted": coverage["unaccounted"]})
        for reason, number in coverage["gone"].items():
            groups[_group(reason)] += number
        whole = (coverage["in"] + coverage["added"]) or 1
        shares = [coverage["kept"], *(groups[group] for group in _GROUPS)]
        cells = [f"{coverage['in']:,}", f"{coverage['added']:,}"]
        cells += [f"{100 * number / whole:.2f}" for number in shares]
        lines.append(f"| {name} | {row['reader']} | {' | '.join(cells)} |")
    return lines


def unaccounted(report: dict, *, min_accounted: float) -> list[str]:
    """One line for each source of whose words a larger share is lost without a reason."""
    lines = []
    for name, row in report["sources"].items():
        coverage = row["coverage"]
        if coverage is None:
            lines.append(f"{name}: reader {row['reader']} cannot account for its words")
            continue
        share = coverage["unaccounted"] / (coverage["in"] or 1)
        if share > 1 - min_accounted:
            lines.append(
                f"{name}: {share:.2%} of its words are lost without a reason, more than "
                f"{1 - min_accounted:.2%}: see unaccounted in report.md"
            )
    return lines


def table(report: dict) -> str:
    """The report as Markdown: a table of sources, then what was dropped and why."""
    lines = [
        "| source | role | lang | documents | characters | tokens | dropped | failed files |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for name, row in report["sources"].items():
        kept, counts = row["kept"], row["counts"]
        dropped = sum(n for kind, n in counts.items() if kind.startswith("dropped/"))
        failed = sum(n for kind, n in counts.items() if kind.startswith("files_failed/"))
        lines.append(
            f"| {name} | {row['role']} | {row['lang']} | {kept['documents']:,} | "
            f"{kept['chars']:,} | {kept['tokens']:,} | {dropped:,} | {failed:,} |"
        )
    total = report["total"]
    lines.append(
        f"| **total** | | | {total['documents']:,} | {total['chars']:,} | {total['tokens']:,} | | |"
    )
    lines += _coverage_table(report)
    for name, row in report["sources"].items():
        reasons = {k: n for k, n in row["counts"].items() if "/" in k or k == "unaccounted"}
        words = row["coverage"]["gone"] if row["coverage"] else {}
        if not reasons and not words:
            continue
        lines += ["", f"## {name}", ""]
        for kind in sorted(reasons):
            lines.append(f"- {kind}: {reasons[kind]:,}")
            lines += [f"    - `{text.replace('`', ' ')}`" for text in row["examples"].get(kind, [])]
        lines += [f"- words, {reason}: {number:,}" for reason, number in words.items()]
    return "\n".join(lines) + "\n"


def attribution(sources: list[registry.Source], report: dict) -> str:
    """ATTRIBUTION.md: every source that is in the corpus, with licence, authors and origin."""
    lines = [
        "# Attribution",
        "",
        "The documents of this corpus were converted to plain text, cleaned and deduplicated.",
        "",
    ]
    for source in sources:
        kept = report["sources"][source.name]["kept"]
        if not kept["documents"]:
            continue
        lines += [
            f"## {source.name}",
            "",
            f"- Licence: {source.licence}",
            f"- Attribution: {source.attribution or 'none required'}",
            f"- Home page: {source.homepage}",
            f"- Origin: {source.origin}",
            f"- Documents: {kept['documents']:,}",
            "",
        ]
    return "\n".join(lines)
