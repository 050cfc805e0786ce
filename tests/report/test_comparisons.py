"""No figure compares different text, and what can be compared is: over random lineages in which
data and windows change from run to run, and within runs."""

import dataclasses
import hashlib
import itertools
import random
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mypt_jax.interop import card
from mypt_jax.report import as_json, plane, rules, standing, tables
from mypt_jax.report.runs import lineages, read_runs
from mypt_jax.runs import comparison, evaluations, layout
from tests import run_factory

ROLES = ("domain", "general")
KEYS = ("domain/a", "domain/b", "general/c", "general/d")
REPORT, LAST = "report/", 20


@dataclasses.dataclass(frozen=True)
class Text:
    """Windows of a text: `part` whole, or one of its halves; `is_old`: recorded as it was before
    there were fingerprints, by documents of a name."""

    key: str
    name: int
    part: str = "whole"
    is_old: bool = False

    def is_that_of(self, other: "Text") -> bool:
        """As far as their records tell."""
        same_name = self.key == other.key or not (self.is_old or other.is_old)
        return same_name and (self.name, self.part) == (other.name, other.part)

    def tokens_D(self) -> np.ndarray:
        return np.array([100, 50 + self.name])

    def loss(self, model: str) -> float:
        """Of a model, such that no two differ by the same."""
        return 2 + random.Random(f"{model} {self.name} {self.part}").random()

    def record(self, model: str) -> evaluations.Source:
        first = 100 * ("whole", "select", "report").index(self.part) + 10 * self.name
        name = f"{self.name} {self.part}".encode()
        return evaluations.Source(
            sums={"nll": self.tokens_D() * self.loss(model)},
            tokens_D=self.tokens_D(),
            doc_D=np.array([first, first + 1]),
            loss_W=np.full(3, self.loss(model)),
            fingerprint="" if self.is_old else hashlib.sha256(name).hexdigest(),
        )


@dataclasses.dataclass
class Stage:
    """A run; {key: which text} at its start and its end, "lost" where the record is."""

    name: str
    parent: "Stage | None"
    texts: dict[str, dict[str, int]]
    plan: str  # halves | mixed: general halved, domain too small for it | whole | old
    lost: dict[str, str]  # {"start" or "end": how}

    def measured(self, when: str) -> dict[str, Text]:
        """{key in the record: text}"""
        if when in self.lost:
            return {}
        own = self.texts[when].items()
        halved = {"halves": ROLES, "mixed": ("general",)}.get(self.plan, ())
        found = {}
        for key, n in own:
            if key.startswith(halved):
                found[key], found[REPORT + key] = Text(key, n, "select"), Text(key, n, "report")
            else:
                found[key] = Text(key, n, is_old=self.plan == "old")
        return found

    def result(self, role: str) -> list[Text]:
        """What is reported of a role."""
        found = self.measured("end")
        kept = [text for key, text in found.items() if key.startswith(REPORT + role)]
        return kept or [text for key, text in found.items() if key.startswith(role)]

    def model(self, when: str) -> str:
        if when == "end":
            return self.name
        return self.parent.name if self.parent else f"init of {self.name}"

    @property
    def chain(self) -> list["Stage"]:
        return [*(self.parent.chain if self.parent else []), self]

    def write(self, root: Path) -> None:
        parent = self.parent and self.parent.name
        run = run_factory.write_run(root, self.name, parent=parent, start=(9, 9), final=(9, 9))
        shutil.rmtree(run / "eval")
        for when, step in (("start", 0), ("end", LAST)):
            path = layout.eval_file(str(run), step)
            found = {k: t.record(self.model(when)) for k, t in self.measured(when).items()}
            if found:
                evaluations.write(path, found)
            elif self.lost[when] == "damaged":
                Path(path).parent.mkdir(exist_ok=True)
                Path(path).write_bytes(b"PK and then nothing")


def change(mine: Iterable[Text], seen: Iterable[Text], own: str, other: str) -> float | None:
    """What a difference must be: over the texts that are among those seen."""
    seen = list(seen)
    common = [one for one in mine if any(one.is_that_of(two) for two in seen)]
    if not common:
        return None
    tokens = sum(one.tokens_D().sum() for one in common)
    means = [sum(t.tokens_D().sum() * t.loss(m) for t in common) / tokens for m in (own, other)]
    return means[0] - means[1]


def are_alike(one: Stage, other: Stage, role: str) -> bool:
    pairs = ((one, other), (other, one))
    return all(
        any(a.is_that_of(b) for b in second.result(role))
        for first, second in pairs
        for a in first.result(role)
    )


assignments = st.dictionaries(st.sampled_from(KEYS), st.integers(0, 3), min_size=1)


@st.composite
def lineage(draw) -> list[Stage]:
    found: list[Stage] = []
    for number in range(draw(st.integers(2, 4))):
        parent = found[draw(st.integers(0, number - 1))] if number else None
        end = draw(assignments)
        if parent is not None and draw(st.booleans()):
            end = dict(parent.texts["end"])
        start = draw(assignments) if draw(st.integers(0, 5)) == 0 else end
        found.append(
            Stage(
                name=f"s{number}",
                parent=parent,
                texts={"start": start, "end": end},
                plan=draw(st.sampled_from(("halves", "halves", "mixed", "whole", "old"))),
                lost={
                    when: draw(st.sampled_from(("gone", "damaged")))
                    for when in ("start", "end")
                    if draw(st.integers(0, 9)) == 0
                },
            )
        )
    return found


@given(stages=lineage())
@settings(max_examples=50, deadline=None)
def test_no_figure_compares_different_text_and_what_can_be_compared_is(stages):
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        for stage in stages:
            stage.write(root)
        (runs,) = lineages(read_runs(root))
        by_name = {stage.name: stage for stage in stages}
        check_changes(as_json.as_json([runs])["lineages"][0]["runs"], by_name)
        check_side_by_side(runs, by_name)
        for stage in stages:
            check_card(root / stage.name, stage)


def check_changes(found: list[dict], stages: dict[str, Stage]) -> None:
    base = stages["s0"]
    seen = [*base.measured("end").values()]
    for one in stages.values():
        seen += one.measured("start").values() if one.parent is base else ()
    for run in found:
        stage = stages[run["run"]]
        start = stage.measured("start").values()
        for role in ROLES:
            mine = stage.result(role)
            for where, others, model in (
                ("from_start", start, stage.model("start")),
                ("from_baseline", seen, "s0"),
            ):
                if where == "from_baseline" and stage is base:
                    continue
                shown, want = run[where][role], change(mine, others, stage.name, model)
                if want is None:
                    assert shown is None or (shown["nats"] is None and shown["reason"])
                else:
                    assert shown["nats"] == pytest.approx(want, abs=1e-9)


def check_side_by_side(runs: list, stages: dict[str, Stage]) -> None:
    def all_alike(names: Iterable[str], role: str) -> None:
        for one, other in itertools.combinations(names, 2):
            assert are_alike(stages[one], stages[other], role), (one, other, role)

    words = (comparison.OTHER, comparison.UNKNOWN)
    target = tables.target_metrics(runs)
    rows = {row[0]: dict(zip(target.header, row, strict=True)) for row in target.rows}
    for role in ROLES:
        measured = [run for run in runs if role in run.final]
        apart = standing.apart(runs, role)
        together = [run.name for run in measured if run.name not in apart]
        all_alike(together, role)
        if all(stage.plan != "old" for stage in stages.values()):
            for name in apart:
                assert (
                    not stages[name].result(role)
                    or not together
                    or not all(are_alike(stages[name], stages[other], role) for other in together)
                )
        for run in measured:
            if run.is_domain_stage:
                cell = rows[f"eval_{role}"][run.name]
                assert (cell in words) == (run.name in apart)
    shown = {trace["meta"]["run"] for trace in plane.trade_off(runs).data if "meta" in trace}
    for role in ROLES:
        all_alike(shown, role)
    for choice in rules.decide(runs):
        names = [name.strip() for name in choice.among.removeprefix(" among ").split(",")]
        candidates = [run.name for run in runs if run.is_domain_stage] if names == [""] else names
        candidates = [n for n in candidates if stages[n].result("domain")]
        if choice.run is not None and names != [""]:
            all_alike(candidates, "domain")
    groups = standing.groups(runs, "domain")
    for group in groups:
        all_alike([run.name for run in group], "domain")


def check_card(path: Path, stage: Stage) -> None:
    record, config = layout.record(str(path)), layout.config(str(path))
    rows = card._stages(str(path), LAST, record, config)
    chain = stage.chain
    for number, (row, ancestor) in enumerate(zip(rows, chain, strict=True)):
        seen = [*ancestor.measured("end").values()]
        if ancestor is not stage:
            seen += chain[number + 1].measured("start").values()
        for role, cell in zip(ROLES, row["cells"], strict=True):
            mine = stage.result(role)
            if mine and all(any(one.is_that_of(two) for two in seen) for one in mine):
                total = sum(one.tokens_D().sum() for one in mine)
                loss = sum(one.tokens_D().sum() * one.loss(ancestor.name) for one in mine) / total
                assert cell == f"{loss:.3f}"
            else:
                assert cell in ("-", comparison.OTHER, comparison.UNKNOWN)
