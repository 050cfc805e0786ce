"""Which tokens of a chat model's own text are its answers: what its evaluation counts."""

from collections.abc import Sequence

import numpy as np

from data_pipeline.tokens import streams


def of_stream(stream: streams.TokenStream, after: Sequence[int], end: int) -> np.ndarray:
    """bool per token of a stream: what comes after the tokens `after`, until `end`, which counts,
    or the end of the document."""
    tokens = np.asarray(stream.read(0, len(stream)))
    found = np.zeros(len(tokens) + 1, np.int64)
    if len(tokens) >= len(after):
        runs = np.lib.stride_tricks.sliding_window_view(tokens, len(after))
        first_N = np.flatnonzero((runs == np.array(after)).all(axis=1)) + len(after)
        ends = stream.doc_ends.astype(np.int64)
        # A head and its answer are of one document.
        begun_N, in_N = (
            np.searchsorted(ends, at, side="right") for at in (first_N - len(after), first_N)
        )
        first_N = first_N[begun_N == in_N]
        ends = np.union1d(np.flatnonzero(tokens == end) + 1, ends)
        np.add.at(found, first_N, 1)
        np.add.at(found, ends[np.searchsorted(ends, first_N, side="right")], -1)
    return found[:-1].cumsum() > 0
