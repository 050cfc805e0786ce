"""The guide's tables, filled with what was measured: as rows of text, as Markdown, as JSON."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from data_pipeline.batches import mixture
from mypt_jax import guide
from mypt_jax.report import cells, groups, rules, standing
from mypt_jax.report.cells import NONE
from mypt_jax.report.run import MIXTURE, Run, perplexity
from mypt_jax.runs import evaluations
from mypt_jax.runs.comparison import Difference, Refusal

_BESIDE = 8  # runs that have a column each; more have a row each


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

    def turned(self, first: str) -> "Table":
        """Columns as rows: many runs stand below each other."""
        columns = zip(*(self.header, *self.rows), strict=True)
        _, *names = [row[0] for row in (self.header, *self.rows)]
        return Table(self.title, (first, *names), tuple(columns)[1:], self.note)


def _line(row: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def roles_of(runs: Sequence[Run]) -> list[str]:
    """What the runs were evaluated on: domain and general first, then what stands for itself."""
    found = [evaluations.role_of(key) for run in runs for key in run.final if "/" in key]
    return list(dict.fromkeys((*mixture.ROLES, *sorted(found))))


def baseline_of(runs: Sequence[Run]) -> dict[str, float]:
    """The base stage's losses on the text that most runs were measured on."""
    names = dict.fromkeys(name for run in runs for name in run.final if name != MIXTURE)
    found = {name: standing.baseline(runs, name) for name in names}
    return {name: loss for name, loss in found.items() if loss is not None}


def summary(runs: Sequence[Run]) -> Table:
    header = ["Run", "Init from", "LR", "Replay", "Steps", "Domain", "General", "General change"]
    apart = {role: standing.apart(runs, role) for role in mixture.ROLES}
    # A column of dashes says less than none: older runs measured no drift.
    has_drift = any(run.drift("general") for run in runs)
    rows = []
    for run in runs:
        row = [run.name, cells.init_text(run), *cells.recipe_texts(run), cells.steps_text(run)]
        row += [cells.standing_text(run, role, apart[role]) for role in mixture.ROLES]
        # The base has forgotten nothing of itself; a dash, not +0.0 %, says that it was not asked.
        change = run.against_baseline("general") if run.is_domain_stage else None
        row += [cells.change_text(change)]
        if has_drift:
            row.append(cells.drift_text(run, "general") + cells.apart_text(run, apart["general"]))
        rows.append((*row, rules.verdict(run)))
    start = baseline_of(runs)
    note = "Baseline: " + ", ".join(
        f"{role} {cells.loss_text(start.get(role))}" for role in mixture.ROLES
    )
    note += " nats/token; general change is forgetting, against that baseline."
    if has_drift:
        note += " Drift: KL(base || model) on held-out general text, nats/token."
    if chosen_on := _not_halved(runs):
        note += f" On text that steps were chosen on, too: {cells.listed(chosen_on)}."
    note += cells.reasons(runs, mixture.ROLES)
    header += ["Drift", "Verdict"] if has_drift else ["Verdict"]
    return Table("Experiment summary", tuple(header), tuple(rows), note)


def _not_halved(runs: Sequence[Run]) -> list[str]:
    """Runs, and roles of them, whose figure is of text that their best step was chosen on: from
    before val was halved, or of too little of it."""
    found = []
    for run in runs:
        measured = [role for role in mixture.ROLES if run.finished and run.newest.of(role)]
        whole = [role for role in measured if not run.newest.is_halved(role)]
        if whole:
            found.append(run.name + ("" if whole == measured else f" ({', '.join(whole)})"))
    return found


def seeds(runs: Sequence[Run]) -> Table:
    """A row for each group of several runs: means, and standard deviations over their seeds."""
    rows = []
    apart = {role: standing.apart(runs, role) for role in mixture.ROLES}

    def loss(role: str):
        return lambda run: None if run.name in apart[role] else run.final.get(role)

    def change(measure: str):
        def of(run: Run) -> float | None:
            found = run.against_baseline("general") if run.is_domain_stage else None
            whole = isinstance(found, Difference) and not found.left_out
            return getattr(found, measure) if whole else None

        return of

    def shown(found: tuple[float, float] | None, form: str) -> str:
        if found is None:
            return NONE
        bar = f" +/- {found[1]:{form.lstrip('+')}}" if math.isfinite(found[1]) else ""
        return f"{found[0]:{form}}{bar}"

    for group in groups.groups(runs):
        if len(group.runs) < 2:
            continue
        forgotten = groups.spread(group, change("nats"))
        percent = groups.spread(group, change("percent"))
        rows.append(
            (
                group.name,
                f"{len(group.runs)}",
                *cells.recipe_texts(group.runs[0]),
                *(shown(groups.spread(group, loss(role)), ".3f") for role in mixture.ROLES),
                shown(forgotten, "+.3f") + (f" nats ({percent[0]:+.1f} %)" if percent else ""),
                guide.verdict(percent[0] / 100) if percent else NONE,
            )
        )
    header = ("Runs", "Seeds", "LR", "Replay", "Domain", "General", "General change", "Verdict")
    note = "Runs that differ in their seed alone; +/- is one standard deviation over the seeds."
    return Table("Over seeds", header, tuple(rows), note)


def run_table(run: Run) -> Table:
    """Metric, start, final, change; then the same against the baseline."""
    roles = roles_of([run])
    rows = [_change_row(name, run, name, run.against_start(name)) for name in (MIXTURE, *roles)]
    for role in roles if run.is_domain_stage else ():
        change = run.against_baseline(role)
        rows.append(_change_row(f"{role}, from baseline", run, role, change))
    for role in roles:
        for name, found in run.measures(role).items():
            rows.append((f"{role}, {name}", NONE, cells.measured_text(found), NONE, NONE))
    header = ("Metric", f"Start ({cells.start_text(run)})", "Final", "Change, nats", "Change")
    return Table(f"{run.name}: {cells.steps_text(run)} steps", header, tuple(rows))


def _change_row(title: str, run: Run, name: str, change: cells.Change) -> tuple[str, ...]:
    if isinstance(change, Difference):
        figures = cells.loss_text(change.start), cells.loss_text(change.final)
    else:
        figures = cells.empty_text(change), cells.loss_text(run.final.get(name))
    return (title, *figures, cells.nats_text(change), cells.percent_text(change))


def advices(runs: Sequence[Run]) -> Table:
    choices = rules.decide(runs)
    rows = tuple((run.name, rules.advice(run, choices)) for run in runs)
    return Table("Advice", ("Run", "By the guide's challenge table"), rows)


def decision_matrix(runs: Sequence[Run]) -> Table:
    rows = []
    for choice in rules.decide(runs):
        if choice.run is None:
            rows.append((choice.priority, "none qualifies", NONE, NONE, NONE, choice.rule))
            continue
        run = choice.run
        general, domain = run.against_baseline("general"), run.against_baseline("domain")
        loss = cells.loss_text(run.final.get("domain"))
        changes = cells.change_text(general), cells.change_text(domain)
        rows.append((choice.priority, run.name, loss, *changes, choice.rule))
    header = ("Priority", "Run", "Domain loss", "General change", "Domain change", "Rule")
    note = "Changes are against the baseline."
    if any(run.newest.is_halved(role) for run in runs for role in mixture.ROLES):
        note += " Chosen on one half of the held-out text; the figures are of the other."
    return Table("Decision matrix", header, tuple(rows), note)


def target_metrics(runs: Sequence[Run]) -> Table:
    """Side by side; the best, where runs are chosen, of those that were measured on the same
    text."""
    stages = [run for run in runs if run.is_domain_stage]
    baseline, roles = baseline_of(runs), roles_of(stages)
    # The guide calls best what one would take, not a foundation that happens to be lower.
    chosen = {choice.run.name for choice in rules.decide(runs) if choice.run}
    apart = {role: standing.apart(runs, role) for role in roles}

    def row(title: str, first: str, role: str, value, text) -> tuple[str, ...]:
        known = [
            (value(run), run.name)
            for run in stages
            if run.name not in apart[role] and value(run) is not None
        ]
        return (title, first, *map(text, stages), _best(known, chosen))

    def own(role: str, shown=cells.loss_text):
        def text(run: Run) -> str:
            if run.name in apart[role]:
                return Refusal(apart[role][run.name]).word
            return shown(run.final.get(role))

        return role, lambda run: run.chosen_by.mean(role), text

    def change(role: str):
        found = {run.name: run.against_baseline(role) for run in stages}

        def value(run: Run) -> float | None:
            one = run.chosen_against_baseline(role)
            # A change over a part of the sources is shown, but wins against no change over all.
            whole = isinstance(one, Difference) and not one.left_out
            return one.percent if whole else None

        return role, value, lambda run: cells.percent_text(found[run.name])

    rows = [row(f"eval_{role}", cells.loss_text(baseline.get(role)), *own(role)) for role in roles]
    rows += [row(f"{role.capitalize()} change", NONE, *change(role)) for role in roles]
    rows.append(
        row(
            "Perplexity (domain)",
            cells.perplexity_text(baseline.get("domain")),
            *own("domain", cells.perplexity_text),
        )
    )
    names = tuple(run.name for run in stages)
    rows = tuple(rows) if stages else ()
    table = Table("Target metrics", ("Metric", "Baseline", *names, "Best"), rows)
    return table.turned("Run") if rows and len(stages) > _BESIDE else table


def _best(known: Sequence[tuple[float, str]], chosen: Collection[str]) -> str:
    """The lowest of all; where that is a foundation only, also of those in the decision matrix, as
    the guide has it."""
    best = min(known, default=(None, NONE))[1]
    final = min((one for one in known if one[1] in chosen), default=(None, best))[1]
    return best if final == best else f"{best} (in the matrix {final})"


def perplexities(runs: Sequence[Run]) -> Table:
    rows, apart = [], standing.apart(runs, "domain")
    for run in runs:
        loss = run.final.get("domain")
        if loss is None:
            continue
        bits, less = run.bits_per_byte, NONE
        change = run.against_start("domain") if run.is_domain_stage else None
        if isinstance(change, Difference):
            share = 100 * (perplexity(change.nats) - 1)
            less = f"{cells.large_text(share, '+.0f')} % against {cells.start_text(run)}"
        elif change is not None:
            less = change.word
        aside = cells.apart_text(run, apart)
        own = f"{cells.perplexity_text(loss)}{aside}"
        rows.append((run.name, own, less, NONE if bits is None else f"{bits:.3f}{aside}"))
    header = ("Run", "Domain perplexity", "Change", "Bits per byte")
    return Table("Domain perplexity", header, tuple(rows))


def by_source(runs: Sequence[Run]) -> Table:
    rows = []
    for key in dict.fromkeys(key for run in runs for key in run.sources):
        apart = standing.apart(runs, key)
        found = (
            Refusal(apart[run.name]).word
            if run.name in apart
            else cells.loss_text(run.final.get(key))
            for run in runs
        )
        rows.append((key, *found))
    table = Table("Loss by source", ("Source", *(run.name for run in runs)), tuple(rows))
    return table.turned("Run") if rows and len(runs) > _BESIDE else table


def data_seen(runs: Sequence[Run]) -> Table:
    rows = []
    for run in runs:
        for key, source in run.trained_on.items():
            tokens = run.record["tokens_by_source"].get(key, 0)
            realised, epochs = run.value(f"share/{key}"), run.value(f"epochs/{key}")
            if not run.finished and realised is not None:  # the record is of the last saved step
                tokens = round(realised * (run.value("tokens") or 0))
            rows.append(
                (
                    run.name,
                    key,
                    f"{run.shares[key]:.1%}",
                    NONE if realised is None else f"{realised:.1%}",
                    f"{tokens:,}",
                    NONE if epochs is None else f"{epochs:.2f}",
                    source.get("licence") or NONE,
                )
            )
    header = ("Run", "Source", "Share asked", "Share realised", "Tokens", "Epochs", "Licence")
    return Table("Data seen", header, tuple(rows))


def known_by_heart(runs: Sequence[Run]) -> Table:
    """What `mypt evaluate --recite --save` found; with no row where nothing was asked."""
    rows, examples, lengths = [], [], set()
    for run in runs:
        tokens, pairs = run.recited
        for one in pairs:
            lengths.add(tokens)
            base = NONE if one.base_share is None else f"{one.base_share:.1%}"
            matched = [NONE if x is None else f"{x['matched']:.1f}" for x in (one.run, one.base)]
            documents = f"{one.run['documents']:,}"
            rows.append(
                (run.name, one.data, one.split, f"{one.share:.1%}", base, *matched, documents)
            )
            if one.split == "train":
                examples += [f"{run.name}: {text!r}" for text in one.run["examples"][:1]]
    header = ("Run", "Data", "Split", "Exact", "Base", "Matched tokens", "Base", "Documents")
    told = cells.listed(sorted(map(str, lengths)))
    note = (
        f"Beginnings of documents, continued greedily for {told} tokens: exact is the share that "
        "was continued by its own text. What a run has of train "
        "beyond val, and beyond its base, it has learned by heart."
    )
    if examples:
        note += f" Nearest of train: {'; '.join(examples)}."
    return Table("Known by heart", header, tuple(rows), note if rows else "")


def throughput(runs: Sequence[Run]) -> Table:
    rows = []
    for run in runs:
        # The median: the first steps compile, and a save slows one now and then.
        rates, spent = run.series("tokens_per_sec")[1], run.time_spent
        # A run that is still at work has no end yet; its newest row says how long it took so far.
        wall = (run.finished or {}).get("wall_secs", run.value("wall_secs"))
        tokens = run.series("tokens")[1][-1:]  # also what a guard rolled back took its time
        rows.append(
            (
                run.name,
                f"{tokens[0]:,.0f}" if tokens else NONE,
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
    over_seeds = seeds(runs)
    result = [summary(runs), *([over_seeds] if over_seeds.rows else []), decision_matrix(runs)]
    result += [advices(runs), target_metrics(runs)]
    result += [perplexities(runs), *map(run_table, runs)]
    heart = known_by_heart(runs)
    result += [by_source(runs), data_seen(runs), *([heart] if heart.rows else [])]
    return [*result, throughput(runs)]


def markdown(groups: Sequence[Sequence[Run]], *, title: str, left_out: Sequence[str] = ()) -> str:
    """The whole report. Losses are in nats/token, +/- is one standard error over documents.
    `left_out`: a line on each run that could not be read."""
    parts = [f"# {title}", "", *(f"Left out: {line}\n" for line in left_out)]
    for runs in groups:
        if len(groups) > 1:
            parts += [f"## Lineage of {runs[0].name}", ""]
        notes = [f"- {note}" for note in rules.all_warnings(runs)]
        parts += ["Warnings:", "", *notes, ""] if notes else []
        parts += [table.markdown() for table in tables(runs)]
    return "\n".join(parts)
