"""What an adaptation came to, in words: continuations side by side, tasks, a last sentence."""

import argparse
import math
import textwrap

from data_pipeline.batches import eval_windows
from data_pipeline.tokens import shards
from mypt_jax import continuation
from mypt_jax.evaluate import scorer
from mypt_jax.runs import comparison, evaluations, layout

# As many as are read; figures are in the report.
_PASSAGES = 3
_PROMPT_TOKENS = 32  # or half of the context
_NEW_TOKENS = 48
# A share of 200 is uncertain by 7 points.
_QUESTIONS = 200
_FEW_QUESTIONS = 50  # a share of so many is uncertain by 14 points
# Greedy: what differs is the model, and not the dice.
_GREEDY = dict(
    temperature=0.0,
    top_k=0,
    top_p=1.0,
    repetition_penalty=1.0,
    seed=0,
    no_cache=False,
)


def lines(base: str, run: str, *, has_general: bool) -> list[str]:
    """The end of the report of `run`, which started from `base`."""
    config = layout.config(run)
    domain, general = config["data"]["domain"][0], config["data"]["general"]
    found = ["", "held-out passages, continued by base and by result:"]
    for prompt, before, after in _continued(base, run, domain):
        for name, text in (("passage", prompt), ("base", before), ("result", after)):
            found += textwrap.wrap(
                f"{name + ':':9}{' '.join(text.split())}", 100, subsequent_indent=" " * 9
            )
        found.append("")
    told = [f"your texts {_chosen(base, run, domain)}"]
    told += [f"general text {_chosen(base, run, general[0])}"] if has_general and general else []
    found.append(f"it picks the right continuation, by chance in 25 %: of {'; of '.join(told)}")
    found.append(f"the model is {run}: mypt generate --run={run}, or mypt export {run} FOLDER")
    return [*found, _last(run, has_general=has_general)]


def _continued(base: str, run: str, domain: str) -> list[tuple[str, str, str]]:
    """(passage, what the base and the result say after it) of documents held out for the report."""
    generator, vocabulary = continuation.load(run)
    prompt_tokens = min(_PROMPT_TOKENS, generator.block_size // 2)
    new_tokens = min(_NEW_TOKENS, generator.block_size - prompt_tokens)
    options = argparse.Namespace(**_GREEDY, max_new_tokens=new_tokens)
    prompts = []
    for source in shards.open_dataset(domain).sources.values():
        stream = source.stream("val")
        # Of the half that nothing was chosen on, as the figures below.
        kept = [
            one for one in eval_windows.kept_documents(source) if one[2] - one[1] > prompt_tokens
        ]
        for _, first, _ in kept[: _PASSAGES - len(prompts)]:
            ids = stream.read(first, first + prompt_tokens)
            # The prompt gets its BOS again.
            ids = ids[1:] if ids[0] == vocabulary.document_bos else ids
            prompts.append(vocabulary.decode(ids))
    # One after the other: two models at once need not fit where one of them was trained.
    said = [[continuation.of(one, [p], options)[0][0] for p in prompts] for one in (base, run)]
    return [*zip(prompts, *said, strict=True)]


def _chosen(base: str, run: str, data: str) -> str:
    """ "in 81% of 200 passages, base 62%", of all sources of a dataset; that none is long enough,
    or too few are asked to tell."""
    shares, passages = [], 0
    # The same questions to both: they follow from the dataset alone.
    for path in (run, base):
        answers = scorer.Scorer(path, batch_size=8).score_tasks(data, most=_QUESTIONS)
        asked = [one["choice"] for one in answers.values() if "choice" in one]
        if not asked:
            return "unknown, no held-out document is long enough to ask"
        passages = sum(one.tokens for one in asked)
        shares.append(evaluations.pooled(asked, "right"))
    few = "" if passages >= _FEW_QUESTIONS else ", too few to tell"
    return f"in {shares[0]:.0%} of {passages} passages{few}, base {shares[1]:.0%}"


def _last(run: str, *, has_general: bool) -> str:
    """What was learned and forgotten, on text that nothing was chosen on."""
    end = layout.finished(run)
    assert end is not None, run
    whole = evaluations.read(layout.eval_file(run, end["step"]))
    own, where = whole.reported, whole.told_on(("domain", "general"))
    # The base on the run's own windows: its own evaluation was of other text.
    base = evaluations.read(layout.baseline_file(run))
    learned = _change(comparison.compare(own, base, "domain"))
    told = f"{where[0].upper()}{where[1:]}: domain loss {learned}"
    if has_general:
        forgotten = comparison.compare(own, base, "general")
        if isinstance(forgotten, comparison.Refusal):
            return f"{told}. Forgetting unknown: {forgotten.reason}"
        kept = _limit(run, forgotten)
        return f"{told}; general loss {_change(forgotten)}: that is what was forgotten{kept}."
    drift = own.mean("behaviour", "drift")
    moved = "" if drift is None else f"; drift from the base's own words {drift:.4f} nats/token"
    return f"{told}{moved}. Forgetting unknown: there is no general text to measure it (--general)."


def _limit(run: str, forgotten: comparison.Difference) -> str:
    """What a limit came to where nothing was chosen; "" where it was held there, too."""
    held = layout.record(run).get("limit")
    if not held or held["on"] != "general" or forgotten.share <= held["budget"]:
        return ""
    return (
        f", with a limit of {100 * held['budget']:g} % that holds on the half of the text where it "
        f"is chosen ({100 * held['found']:+.1f} %)"
    )


def _change(found: comparison.Difference | comparison.Refusal) -> str:
    if isinstance(found, comparison.Refusal):
        return found.reason
    bar = f" +/- {found.stderr:.3f}" if math.isfinite(found.stderr) else ""  # of one document none
    return f"{found.nats:+.3f}{bar} nats/token ({found.percent:+.1f} %)"
