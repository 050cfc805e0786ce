"""The guide's tables, filled with what was measured: as rows of text, as Markdown, as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import median

from data_pipeline.batches import mixture
from mypt_jax.report import rules
from mypt_jax.report.runs import Difference, Run, perplexity

NONE = "-"


@dataclass(frozen=True)
class Table:
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        lines = [f"### {self.title}", ""]
        if self.rows:
            lines += [_line(self.header), _line(["---"] * len(self.header))]
            lines += [_line(row) for row in self.rows]
        return "\n".join([*lines, *(["", self.note] if self.note else []), ""])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def loss_text(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"


def rate_text(value: float) -> str:
    """3e-5, 1.5e-4: as the guide writes learning rates."""
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def percent_text(change: Difference | None) -> str:
    return NONE if change is None else f"{change.percent:+.1f} %"


def nats_text(change: Difference | None) -> str:
    if change is None:
        return NONE
    bar = "" if change.stderr is None else f" +/- {change.stderr:.3f}"
    return f"{change.nats:+.3f}{bar}"


def change_text(change: Difference | None) -> str:
    return NONE if change is None else f"{percent_text(change)} ({nats_text(change)} nats)"


def steps_text(run: Run) -> str:
    return f"{run.step:,}" if run.finished else f"{run.step:,} of {run.num_steps:,}, unfinished"


def init_text(run: Run) -> str:
    if not run.is_domain_stage:
        return "scratch" if run.config["init_from"] == "scratch" else run.config["init_from"]
    return run.parent.name if run.parent else run.record["parent"]["path"]


def baseline_of(runs: Sequence[Run]) -> Mapping[str, float]:
    """The lineage's baseline; an imported base evaluated nothing, but its stages know it."""
    return next((run.baseline for run in runs if run.baseline), {})


def summary(runs: Sequence[Run]) -> Table:
    header = ("Run", "Init from", "LR", "Replay", "Steps", "Domain", "General")
    rows = tuple(
        (
            run.name,
            init_text(run),
            rate_text(run.peak_lr),
            f"{run.replay_ratio:.0%}",
            steps_text(run),
            loss_text(run.final.get("domain")),
            loss_text(run.final.get("general")),
            change_text(run.against_baseline("general")) if run.is_domain_stage else NONE,
            rules.verdict(run),
        )
        for run in runs
    )
    start = baseline_of(runs)
    note = "Baseline: " + ", ".join(
        f"{role} {loss_text(start.get(role))}" for role in mixture.ROLES
    )
    note += " nats/token; general change is forgetting, against that baseline"
    return Table("Experiment summary", (*header, "General change", "Verdict"), rows, note + ".")


def run_table(run: Run) -> Table:
    """Metric, start, final, change; then the same against the baseline."""
    rows = []
    for name in ("val", *mixture.ROLES):
        change = run.against_start(name)
        start, final = loss_text(run.start.get(name)), loss_text(run.final.get(name))
        rows.append((name, start, final, nats_text(change), percent_text(change)))
    for role in mixture.ROLES if run.is_domain_stage else ():
        change = run.against_baseline(role)
        start, final = loss_text(run.baseline.get(role)), loss_text(run.final.get(role))
        rows.append(
            (f"{role}, from baseline", start, final, nats_text(change), percent_text(change))
        )
    header = ("Metric", f"Start ({init_text(run)})", "Final", "Change, nats", "Change")
    return Table(f"{run.name}: {steps_text(run)} steps", header, tuple(rows))


def advices(runs: Sequence[Run]) -> Table:
    rows = tuple((run.name, rules.advice(run)) for run in runs)
    return Table("Advice", ("Run", "By the guide's challenge table"), rows)


def decision_matrix(runs: Sequence[Run]) -> Table:
    rows = []
    for priority, limit, run in rules.decide(runs):
        rule = f"lowest domain loss with forgetting up to {limit:+g} %"
        if run is None:
            rows.append((priority, "none qualifies", NONE, NONE, NONE, rule))
            continue
        general, domain = run.against_baseline("general"), run.against_baseline("domain")
        loss = loss_text(run.final["domain"])
        rows.append((priority, run.name, loss, percent_text(general), percent_text(domain), rule))
    header = ("Priority", "Run", "Domain loss", "General change", "Domain change", "Rule")
    return Table("Decision matrix", header, tuple(rows), "Changes are against the baseline.")


def target_metrics(runs: Sequence[Run]) -> Table:
    stages = [run for run in runs if run.is_domain_stage]
    baseline = baseline_of(runs)

    def row(name: str, first: str, cells: list[tuple[float | None, str]]) -> tuple[str, ...]:
        known = [(value, run.name) for (value, _), run in zip(cells, stages, strict=True)]
        best = min((k for k in known if k[0] is not None), default=(None, NONE))[1]
        return (name, first, *(text for _, text in cells), best)

    def losses(role: str) -> tuple[str, ...]:
        cells = [(run.final.get(role), loss_text(run.final.get(role))) for run in stages]
        return row(f"eval_{role}", loss_text(baseline.get(role)), cells)

    def changes(title: str, role: str) -> tuple[str, ...]:
        found = [run.against_baseline(role) for run in stages]
        return row(title, NONE, [(c and c.percent, percent_text(c)) for c in found])

    def powers() -> tuple[str, ...]:
        values = [run.final.get("domain") for run in stages]
        texts = [NONE if v is None else f"{perplexity(v):.1f}" for v in values]
        start = baseline.get("domain")
        first = NONE if start is None else f"{perplexity(start):.1f}"
        return row("Perplexity (domain)", first, list(zip(values, texts, strict=True)))

    rows = (
        losses("domain"),
        losses("general"),
        changes("Domain change", "domain"),
        changes("General change", "general"),
        powers(),
    )
    names = tuple(run.name for run in stages)
    return Table("Target metrics", ("Metric", "Baseline", *names, "Best"), rows if stages else ())


def perplexities(runs: Sequence[Run]) -> Table:
    rows = []
    for run in runs:
        loss, start = run.final.get("domain"), run.start.get("domain")
        if loss is None:
            continue
        own, bits = perplexity(loss), run.value("eval/domain/bits_per_byte")
        less = NONE
        if start is not None and run.is_domain_stage:
            less = f"{100 * (own / perplexity(start) - 1):+.0f} % against {init_text(run)}"
        rows.append((run.name, f"{own:.1f}", less, NONE if bits is None else f"{bits:.3f}"))
    header = ("Run", "Domain perplexity", "Change", "Bits per byte")
    return Table("Domain perplexity", header, tuple(rows))


def by_source(runs: Sequence[Run]) -> Table:
    keys = dict.fromkeys(key for run in runs for key in run.sources)
    rows = [(key, *(loss_text(run.final.get(key)) for run in runs)) for key in keys]
    return Table("Loss by source", ("Source", *(run.name for run in runs)), tuple(rows))


def share_value(share: object) -> float:
    """A share as the lineage writes it: a number, or a fraction such as "1/5"."""
    return float(Fraction(share)) if isinstance(share, str) else float(share)


def data_seen(runs: Sequence[Run]) -> Table:
    rows = []
    for run in runs:
        for key, source in run.trained_on.items():
            tokens = run.record["tokens_by_source"].get(key, 0)
            realised, epochs = run.value(f"share/{key}"), run.value(f"epochs/{key}")
            rows.append(
                (
                    run.name,
                    key,
                    f"{share_value(source['share']):.1%}",
                    NONE if realised is None else f"{realised:.1%}",
                    f"{tokens:,}",
                    NONE if epochs is None else f"{epochs:.2f}",
                    source.get("licence") or NONE,
                )
            )
    header = ("Run", "Source", "Share asked", "Share realised", "Tokens", "Epochs", "Licence")
    return Table("Data seen", header, tuple(rows))


def throughput(runs: Sequence[Run]) -> Table:
    rows = []
    for run in runs:
        rates, spent = run.series("tokens_per_sec")[1], run.time_spent
        wall = (run.finished or {}).get("wall_secs", run.value("wall_secs"))
        tokens = run.value("tokens")
        rows.append(
            (
                run.name,
                NONE if tokens is None else f"{tokens:,}",
                f"{median(rates):,.0f}" if rates else NONE,
                NONE if wall is None else f"{wall:,.0f}",
                NONE if spent is None else f"{spent['goodput']:.0%}",
                NONE if spent is None else f"{spent['starts']}",
                NONE if spent is None else _spent_text(spent["secs"]),
            )
        )
    header = ("Run", "Tokens", "Tokens/s, median", "Wall time, s", "Goodput", "Starts")
    note = "Goodput: share of the wall time in steps that were kept."
    return Table("Speed", (*header, "Where the time went, s"), tuple(rows), note)


def _spent_text(secs: Mapping[str, float]) -> str:
    """steps 100, evaluation 50, compilation 10: from the longest, seconds below a half left out."""
    parts = sorted(secs.items(), key=lambda item: -item[1])
    return ", ".join(
        f"{name.replace('_', ' ')} {value:.0f}" for name, value in parts if value >= 0.5
    )


def tables(runs: Sequence[Run]) -> list[Table]:
    """All tables of one lineage."""
    result = [summary(runs), decision_matrix(runs), advices(runs), target_metrics(runs)]
    result += [perplexities(runs), *map(run_table, runs)]
    return [*result, by_source(runs), data_seen(runs), throughput(runs)]


def markdown(groups: Sequence[Sequence[Run]], *, title: str) -> str:
    """The whole report. Losses are in nats/token, +/- is one standard error over documents."""
    parts = [f"# {title}", ""]
    for runs in groups:
        if len(groups) > 1:
            parts += [f"## Lineage of {runs[0].name}", ""]
        notes = [f"- {note}" for run in runs for note in rules.warnings(run)]
        parts += ["Warnings:", "", *notes, ""] if notes else []
        parts += [table.markdown() for table in tables(runs)]
    return "\n".join(parts)
