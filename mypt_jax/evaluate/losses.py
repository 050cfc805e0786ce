"""Losses per source and role on a fixed list of windows, with standard errors over documents.

Axes: W windows, L length, D documents. Loss is nats per token; all sums are float64 on the host.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping

import jax
import numpy as np
from jax.sharding import Mesh

from data_pipeline.batches import mixture
from mypt_jax.distributed import sharding
from mypt_jax.model import forward, loss
from mypt_jax.runs import evaluations


@dataclasses.dataclass(frozen=True)
class Score(evaluations.Source):
    """What one source was measured at, and how much text that was."""

    text_nll: float  # nats, of the tokens that stand for text (not EOT)
    text_bytes: int


def eval_batch_size(config: Mapping) -> int:
    """Windows per forward pass of a run's evaluations: those of one training pass, unless set."""
    return config["eval"]["batch_size"] or config["batch_size"] // config["accumulation_steps"]


Measure = Callable[[Mapping, jax.Array], dict[str, jax.Array]]


def make_measure(bind: Callable[[Mapping], forward.Forward]) -> Measure:
    """A jitted (params, windows [B, L + 1]) -> {name: [B, L]}: what every target was measured at,
    fp32, without dropout. `nll`: negative log-likelihood, nats."""

    @jax.jit
    def measure(params, windows):
        model = bind(params)
        inputs_BL, targets_BL = windows[:, :-1], windows[:, 1:]
        hidden_BLD = model.hidden(inputs_BL)
        nll_BL = loss.token_nll(model.head, hidden_BLD, targets_BL, num_chunks=model.num_chunks)
        return {"nll": nll_BL}

    return measure


def score(
    measure: Measure,
    params: Mapping,
    plan: Mapping,
    *,
    mesh: Mesh,
    batch_size: int,
    token_bytes: np.ndarray,
    between_batches: Callable[[], None] = lambda: None,
) -> dict[str, Score]:
    """Scores every source of `plan` ({key: EvalWindows}), in full batches over all sources.

    `between_batches` is called after each batch, so that a signal ends an evaluation early.
    """
    windows = np.concatenate([source.tokens for source in plan.values()])
    rows = np.arange(-(-len(windows) // batch_size) * batch_size) % len(windows)
    local = sharding.local_rows(mesh, batch_size)
    results = []
    for start in range(0, len(rows), batch_size):
        batch = sharding.global_batch(mesh, windows[rows[start + local]], batch_size)
        results.append(measure(params, batch))
        if len(results) > 1:  # so that `between_batches` runs as the device does
            jax.block_until_ready(results[-2])
        between_batches()
    measured = {
        name: np.concatenate([sharding.to_host(x[name]) for x in results]) for name in results[0]
    }
    scores, first = {}, 0
    for key, source in plan.items():
        last = first + len(source.tokens)
        scores[key] = score_of(
            {name: x_WL[first:last].astype(np.float64) for name, x_WL in measured.items()},
            source.doc_WL,
            token_bytes[source.tokens[:, 1:]],
            fingerprint=source.fingerprint,
        )
        first = last
    return scores


def score_of(
    measured: Mapping[str, np.ndarray],
    doc_WL: np.ndarray,
    bytes_WL: np.ndarray,
    *,
    fingerprint: str = "",
) -> Score:
    """Sums what tokens were measured at, float64[W, L] each, `nll` among them, per document;
    bytes_WL are the bytes of text of each target."""
    doc_D, inverse = np.unique(doc_WL, return_inverse=True)
    inverse = inverse.reshape(-1)
    is_text = bytes_WL > 0
    nll_WL = measured["nll"]
    sums = {
        name: np.bincount(inverse, weights=x_WL.reshape(-1), minlength=len(doc_D))
        for name, x_WL in measured.items()
    }
    return Score(
        sums=sums,
        tokens_D=np.bincount(inverse, minlength=len(doc_D)).astype(np.int64),
        doc_D=doc_D.astype(np.int64),
        loss_W=nll_WL.mean(axis=1),
        fingerprint=fingerprint,
        text_nll=float(nll_WL[is_text].sum()),
        text_bytes=int(bytes_WL.sum()),
    )


def figures(name: str, scores: Iterable[Score]) -> dict[str, float]:
    scores = list(scores)
    mean, stderr = evaluations.mean_and_stderr(
        np.concatenate([s.nll_sum_D for s in scores]),
        np.concatenate([s.tokens_D for s in scores]),
    )
    text_bytes = sum(s.text_bytes for s in scores)
    text_nll = sum(s.text_nll for s in scores)
    return {
        f"eval/{name}/loss": mean,
        f"eval/{name}/stderr": stderr,
        f"eval/{name}/perplexity": math.exp(mean) if mean < 700 else math.inf,
        f"eval/{name}/bits_per_byte": text_nll / math.log(2) / max(1, text_bytes),
        **{
            f"eval/{name}/{measure}": evaluations.pooled(scores, measure)
            for measure in scores[0].sums
            if measure != "nll"
        },
    }


def rows(scores: Mapping[str, Score], shares: Mapping[str, float]) -> dict[str, float]:
    """Metrics of an evaluation: per role, per source, and `val`, weighted by this mixture."""
    row: dict[str, float] = {}
    for role in mixture.ROLES:
        of_role = [s for key, s in scores.items() if key.split("/")[0] == role]
        if of_role:
            row.update(figures(role, of_role))
    for key, source in scores.items():
        row.update(figures(key, [source]))
    known = {key: share for key, share in shares.items() if key in scores and share > 0}
    if known:
        total = sum(known.values())
        row["eval/val/loss"] = (
            sum(share * row[f"eval/{key}/loss"] for key, share in known.items()) / total
        )
    return row
