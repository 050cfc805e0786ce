"""Losses per source and role on a fixed list of windows, with standard errors over documents.

Axes: W windows, L length, D documents. Loss is nats per token; all sums are float64 on the host.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping

import jax
import numpy as np
from jax.sharding import Mesh

from data_pipeline.batches.eval_windows import NOT_COUNTED, REPORT
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
        nll_BL = loss.token_nll(
            model.head,
            hidden_BLD,
            targets_BL,
            num_chunks=model.num_chunks,
            mesh=model.loss_mesh,
        )
        return {"nll": nll_BL}

    return measure


def make_drift(bind: Callable[[Mapping], forward.Forward]) -> Callable[..., dict]:
    """A jitted (params, of a teacher, windows [B, L + 1]) -> {"drift": [B, L]}: KL(teacher ||
    model) of what follows each token, nats, fp32, without dropout."""

    @jax.jit
    def measure(params, taught, windows):
        model, teacher = bind(params), bind(taught)
        inputs_BL = windows[:, :-1]
        hidden_BLD, above_BLD = model.hidden(inputs_BL), teacher.hidden(inputs_BL)
        kl_BL = loss.token_kl(
            model.head,
            hidden_BLD,
            teacher.head,
            above_BLD,
            num_chunks=model.num_chunks,
            mesh=model.loss_mesh,
        )
        return {"drift": kl_BL}

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
    measured = _measured(
        functools.partial(measure, params),
        plan,
        mesh=mesh,
        batch_size=batch_size,
        between_batches=between_batches,
    )
    return {
        key: score_of(
            measured[key],
            source.doc_WL,
            token_bytes[source.tokens[:, 1:]],
            fingerprint=source.fingerprint,
        )
        for key, source in plan.items()
    }


def with_measure(
    scores: Mapping[str, Score], measure: Callable[[jax.Array], dict], plan: Mapping, **how
) -> dict[str, Score]:
    """The scores, and of the sources of `plan` those of another measure of windows [B, L + 1];
    `how`: as of `score`."""
    found = dict(scores)
    for key, measured in _measured(measure, plan, **how).items():
        _, sums = _by_document(measured, plan[key].doc_WL)
        found[key] = dataclasses.replace(scores[key], sums={**scores[key].sums, **sums})
    return found


def _measured(
    measure: Callable[[jax.Array], dict],
    plan: Mapping,
    *,
    mesh: Mesh,
    batch_size: int,
    between_batches: Callable[[], None],
) -> dict[str, dict[str, np.ndarray]]:
    """{key: {name: float64[W, L]}} of the windows of every source."""
    # All sources as one list: a last batch that is not full comes once, and not for each source.
    windows = np.concatenate([source.tokens for source in plan.values()])
    # One shape for one compiled program: what the last batch lacks is windows from the front, whose
    # figures are cut off below.
    rows = np.arange(-(-len(windows) // batch_size) * batch_size) % len(windows)
    local = sharding.local_rows(mesh, batch_size)
    results = []
    for start in range(0, len(rows), batch_size):
        batch = sharding.global_batch(mesh, windows[rows[start + local]], batch_size)
        results.append(measure(batch))
        if len(results) > 1:  # so that `between_batches` runs as the device does
            jax.block_until_ready(results[-2])
        between_batches()
    whole = {
        name: np.concatenate([sharding.to_host(x[name]) for x in results]) for name in results[0]
    }
    found, first = {}, 0
    for key, source in plan.items():
        last = first + len(source.tokens)
        found[key] = {name: x_WL[first:last].astype(np.float64) for name, x_WL in whole.items()}
        first = last
    return found


def score_of(
    measured: Mapping[str, np.ndarray],
    doc_WL: np.ndarray,
    bytes_WL: np.ndarray,
    *,
    fingerprint: str = "",
) -> Score:
    """Sums what tokens were measured at, float64[W, L] each, `nll` among them, per document;
    bytes_WL are the bytes of text of each target. Those of no document in doc_WL do not count."""
    counts_WL = doc_WL != NOT_COUNTED
    bytes_WL = np.where(counts_WL, bytes_WL, 0)
    # Bits per byte: an end of text costs nats and stands for no byte.
    is_text = bytes_WL > 0
    nll_WL = measured["nll"]
    doc_D, sums = _by_document({**measured, "tokens": np.ones_like(nll_WL)}, doc_WL)
    return Score(
        tokens_D=sums.pop("tokens").astype(np.int64),
        sums=sums,
        doc_D=doc_D.astype(np.int64),
        loss_W=(nll_WL * counts_WL).sum(axis=1) / np.maximum(1, counts_WL.sum(axis=1)),
        fingerprint=fingerprint,
        text_nll=float(nll_WL[is_text].sum()),
        text_bytes=int(bytes_WL.sum()),
    )


def _by_document(
    measured: Mapping[str, np.ndarray], doc_WL: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(documents, {name: sum over each of them}) of float64[W, L] by target."""
    doc_D, inverse = np.unique(doc_WL, return_inverse=True)
    flat = inverse.reshape(-1)
    sums = {name: np.bincount(flat, weights=x.reshape(-1)) for name, x in measured.items()}
    counted = doc_D != NOT_COUNTED
    return doc_D[counted], {name: x_D[counted] for name, x_D in sums.items()}


def metric(name: str) -> str:
    """What the figures of a role or source are called: eval/.., or report/.. as it is."""
    return name if name.startswith(REPORT) else f"eval/{name}"


def figures(name: str, scores: Iterable[Score]) -> dict[str, float]:
    scores = list(scores)
    mean, stderr = evaluations.mean_and_stderr(
        np.concatenate([s.nll_sum_D for s in scores]),
        np.concatenate([s.tokens_D for s in scores]),
    )
    text_bytes = sum(s.text_bytes for s in scores)
    text_nll = sum(s.text_nll for s in scores)
    found = {
        "loss": mean,
        "stderr": stderr,
        # exp overflows above 709; a diverged model is to be told, not to raise.
        "perplexity": math.exp(mean) if mean < 700 else math.inf,
        "bits_per_byte": text_nll / math.log(2) / max(1, text_bytes),
    }
    for measure in scores[0].sums:
        if measure != "nll":
            found[measure] = evaluations.pooled(scores, measure)
    return {f"{metric(name)}/{key}": value for key, value in found.items()}


def rows(scores: Mapping[str, Score], shares: Mapping[str, float]) -> dict[str, float]:
    """Metrics of an evaluation: per role, per source, and `val`, weighted by this mixture."""
    row: dict[str, float] = {}
    roles: dict[str, list[Score]] = {}
    for key, source in scores.items():
        roles.setdefault(evaluations.role_of(key), []).append(source)
    for name, of_role in roles.items():
        row.update(figures(name, of_role))
    for key, source in scores.items():
        row.update(figures(key, [source]))
    # A half that was not measured at this step has no row.
    for half in ("", REPORT):
        known = {half + key: share for key, share in shares.items() if share > 0}
        known = {key: share for key, share in known.items() if key in scores}
        if known:
            weighted = sum(share * row[f"{metric(key)}/loss"] for key, share in known.items())
            row[f"{metric(f'{half}val')}/loss"] = weighted / sum(known.values())
    return row
