"""What a build says about itself: counts per source, examples of what was dropped, attribution."""

from data_pipeline.corpus import read, registry

_SUMS = ("documents", "chars", "bytes", "tokens")


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
            "kept": dict.fromkeys(_SUMS, 0),
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
        for kind, count in counted.items():
            row["counts"][kind] = row["counts"].get(kind, 0) + count
        for kind, examples in marker["examples"].items():
            kept = row["examples"].setdefault(kind, [])
            kept += examples[: read.EXAMPLES - len(kept)]
    for shard in shards:
        for name, counts in shard["sources"].items():
            for key in _SUMS:
                rows[name]["kept"][key] += counts[key]
    total = {key: sum(row["kept"][key] for row in rows.values()) for key in _SUMS}
    listed = [{"name": each["name"], "sha256": each["sha256"]} for each in shards]
    return {"schema": 1, "sources": rows, "total": total, "shards": listed}


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
    for name, row in report["sources"].items():
        reasons = {k: n for k, n in row["counts"].items() if "/" in k}
        if not reasons:
            continue
        lines += ["", f"## {name}", ""]
        for kind in sorted(reasons):
            lines.append(f"- {kind}: {reasons[kind]:,}")
            lines += [f"    - `{text.replace('`', ' ')}`" for text in row["examples"].get(kind, [])]
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
