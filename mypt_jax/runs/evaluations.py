"""The evaluations of a run, eval/step_N.npz: of every source what each document was measured at.

Axes: D documents, W windows.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping

import numpy as np

from data_pipeline.batches.eval_windows import REPORT
from mypt_jax.runs import evaluation_file

# Names in a file stand behind their source's key; a sum's behind that of the measure.
_SUM, _FIELDS = "_sum_D", {"tokens_D", "doc_D", "loss_W", "windows_sha256"}


@dataclasses.dataclass(frozen=True)
class Source:
    """What one source was measured at: sums per document, from which everything else follows."""

    sums: Mapping[str, np.ndarray]  # {"nll": float64[D], ..}, over the tokens of each document
    tokens_D: np.ndarray  # int64, target tokens
    doc_D: np.ndarray  # int64, which documents of the source's val split
    loss_W: np.ndarray  # float64, nats/token
    fingerprint: str  # of the windows; "" in files from before there was one

    @property
    def nll_sum_D(self) -> np.ndarray:
        return self.sums["nll"]

    @property
    def tokens(self) -> int:
        return int(self.tokens_D.sum())


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """{role/source: Source}; `absent`: why there is none of a key, `fault`: why there is none."""

    sources: Mapping[str, Source]
    absent: Mapping[str, str] = dataclasses.field(default_factory=dict)
    fault: str = ""

    def of(self, name: str) -> dict[str, Source]:
        """The sources of a role, or the one with this key."""
        return {key: one for key, one in self.sources.items() if name in (key, role_of(key))}

    def is_halved(self, role: str) -> bool:
        """Whether a half of a role's val was kept for the report: nothing was chosen on it."""
        return any(role_of(key) == REPORT + role for key in self.sources)

    @property
    def reported(self) -> "Evaluation":
        """The half that nothing was chosen on, under its plain names; of a role all where none was
        kept."""
        kept = {
            key.removeprefix(REPORT): one
            for key, one in self.sources.items()
            if key.startswith(REPORT) or not self.is_halved(role_of(key))
        }
        return dataclasses.replace(self, sources=kept)

    @property
    def selected(self) -> "Evaluation":
        """What steps, limits and runs are chosen on."""
        found = {key: one for key, one in self.sources.items() if not key.startswith(REPORT)}
        return dataclasses.replace(self, sources=found)

    def told_on(self, roles: Iterable[str]) -> str:
        """On which text `reported` is of these roles, in words."""
        whole = [role for role in roles if self.of(role) and not self.is_halved(role)]
        more = f" ({' and '.join(whole)}: on all held-out text, too little to keep half of it)"
        return f"on text that nothing was chosen on{more if whole else ''}"

    def mean(self, name: str, measure: str = "nll") -> float | None:
        """Per token of a role or source; None where it was not measured."""
        found = list(self.of(name).values())
        if not found or any(measure not in one.sums for one in found):
            return None
        return pooled(found, measure)


def role_of(key: str) -> str:
    """Over whose sources a mean is taken: of "domain/cwe" "domain"."""
    return key.rpartition("/")[0]


def pooled(sources: Iterable[Source], measure: str = "nll") -> float:
    """The mean over all tokens of several sources."""
    sources = list(sources)
    total = sum(one.sums[measure].sum() for one in sources)
    return float(total / sum(one.tokens for one in sources))


def mean_and_stderr(sum_D: np.ndarray, tokens_D: np.ndarray) -> tuple[float, float]:
    """Mean per token and its standard error with documents as the units that were drawn.

    Tokens of one document are not independent, so the error is that of a ratio of cluster sums
    (Cochran 1977, "Sampling Techniques", section 3.12). One document: the error is unknown, nan.
    """
    tokens = tokens_D.sum()
    mean = float(sum_D.sum() / tokens)
    count = len(tokens_D)
    if count < 2:
        return mean, math.nan
    residual_D = sum_D - mean * tokens_D
    return mean, float(np.sqrt(count / (count - 1) * np.sum(residual_D**2)) / tokens)


def write(path: str, sources: Mapping[str, Source]) -> None:
    """Replaces the file of an evaluation in one go, and vouches for it."""
    arrays = {}
    for key, one in sources.items():
        for name in ("tokens_D", "doc_D", "loss_W"):
            arrays[f"{key}/{name}"] = getattr(one, name)
        for name, sum_D in one.sums.items():
            arrays[f"{key}/{name}{_SUM}"] = sum_D
        if one.fingerprint:
            arrays[f"{key}/windows_sha256"] = np.frombuffer(bytes.fromhex(one.fingerprint), "u1")
    evaluation_file.save(path, arrays)


def read(path: str) -> Evaluation:
    """The evaluation in a file; one that is gone or damaged says so, and nothing else."""
    arrays, fault = evaluation_file.read(path)
    if arrays is None:
        return Evaluation({}, fault=fault)
    try:
        return Evaluation(_sources(arrays))
    except (KeyError, ValueError, TypeError) as error:
        return Evaluation({}, fault=f"{path} is of another kind ({error})")


def _sources(arrays: Mapping[str, np.ndarray]) -> dict[str, Source]:
    """Raises KeyError and ValueError where something is missing or of another shape."""
    found = {}
    for key in dict.fromkeys(map(role_of, arrays)):
        own = {n.rpartition("/")[2]: x for n, x in arrays.items() if role_of(n) == key}
        sums = {n.removesuffix(_SUM): x for n, x in own.items() if n.endswith(_SUM)}
        unknown = {n for n in own if not n.endswith(_SUM)} - _FIELDS
        if unknown:
            raise ValueError(f"{key}: {min(unknown)} is unknown")
        tokens_D = own["tokens_D"]
        for x_D in (sums["nll"], *sums.values(), own["doc_D"]):
            if x_D.shape != tokens_D.shape or tokens_D.ndim != 1 or not tokens_D.sum() > 0:
                raise ValueError(f"{key}: sums and documents do not fit together")
        found[key] = Source(
            sums=sums,
            tokens_D=tokens_D,
            doc_D=own["doc_D"],
            loss_W=own.get("loss_W", np.zeros(0)),
            fingerprint=bytes(own.get("windows_sha256", b"")).hex(),
        )
    if not found:
        raise ValueError("it holds nothing")
    return found
