"""Evaluation windows: fixed, spread over val, half of its documents kept for the report."""

import dataclasses

import numpy as np
import pytest
from conftest import build_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline import errors
from data_pipeline.batches import eval_windows, mixture
from data_pipeline.tokens import mypt_format, shards, tokenizer

BLOCK = 64
SIZES = {"windows_per_role": 30, "min_per_source": 4, "block_size": 32}


def source(datasets, role="domain", name="manuals") -> shards.Source:
    return shards.open_dataset(datasets[role]).sources[name]


def components(datasets) -> list[mixture.Component]:
    return [one for role in mixture.ROLES for one in mixture.components_of(role, [datasets[role]])]


def of_role(plan: dict) -> dict[str, int]:
    """{what a mean is taken over: its windows}"""
    found: dict[str, int] = {}
    for key, windows in plan.items():
        group = key.rpartition("/")[0]
        found[group] = found.get(group, 0) + len(windows.tokens)
    return found


def test_windows_are_fixed_and_spread(datasets):
    data = source(datasets)
    got = eval_windows.eval_windows(data, block_size=BLOCK, num_windows=10)
    stream = data.stream("val")
    text = stream.read(0, len(stream)).tobytes()
    assert got.tokens.shape == (10, BLOCK + 1) and got.doc_WL.shape == (10, BLOCK)
    starts = [text.find(row.tobytes()) // 4 for row in got.tokens]
    assert starts == sorted(set(starts))
    assert starts[0] < len(stream) / 10 and starts[-1] > len(stream) * 0.85
    # The document of a target is the one whose end lies behind it.
    ends = stream.doc_ends.astype(np.int64)
    for start, docs in zip(starts, got.doc_WL, strict=True):
        for offset in (0, BLOCK // 2, BLOCK - 1):
            document = docs[offset]
            position = start + 1 + offset
            assert position < ends[document]
            assert document == 0 or ends[document - 1] <= position
    again = eval_windows.eval_windows(data, block_size=BLOCK, num_windows=10)
    assert np.array_equal(got.tokens, again.tokens) and got.fingerprint == again.fingerprint


def test_too_few_windows_are_all_used_once(datasets):
    data = source(datasets)
    got = eval_windows.eval_windows(data, block_size=BLOCK, num_windows=10**6)
    assert len(got.tokens) == (data.tokens["val"] - 1) // BLOCK
    assert "all are used once" in got.note


def test_halves_share_no_document_and_are_whole_text(datasets):
    data = source(datasets)
    stream = data.stream("val")
    ends = [0, *stream.doc_ends.astype(np.int64)]
    halves = eval_windows.halved_windows(data, block_size=BLOCK, num_windows=10**6)
    documents = [set(half.doc_WL.reshape(-1)) for half in halves]
    assert not documents[0] & documents[1]
    assert len(documents[0] | documents[1]) > 0.8 * (len(ends) - 1)
    for half in halves:
        for tokens, docs in zip(half.tokens, half.doc_WL, strict=True):
            for document in set(docs):  # inside a window the targets of a document are its text
                own = tokens[1:][docs == document].tobytes()
                assert own in stream.read(ends[document], ends[document + 1]).tobytes()


def test_a_document_keeps_its_half_when_others_come(tmp_path):
    """What a choice was made on is never reported on."""
    few = build_dataset(tmp_path / "few", {"a": 120})
    more = build_dataset(tmp_path / "more", {"a": 150})
    kept = []
    for directory in (few, more):
        stream = shards.open_dataset(directory).sources["a"].stream("val")
        spans = eval_windows._halves(stream)[1]
        hashes = dict(zip(stream.doc_ends.tolist(), stream.doc_hashes.tolist(), strict=True))
        kept.append(({hashes[end] for _, end in spans}, set(hashes.values())))
    (first, known), (then, _) = kept
    assert first and first == then & known


def test_a_val_split_of_one_document_is_not_halved(tmp_path):
    directory = build_dataset(tmp_path / "one", {"a": 6}, val_fraction=0.1)
    data = shards.open_dataset(directory).sources["a"]
    assert data.documents["val"] == 1
    chosen_on, kept = eval_windows.halved_windows(data, block_size=BLOCK, num_windows=2)
    assert kept is None and "too small to keep half" in chosen_on.note
    whole = eval_windows.eval_windows(data, block_size=BLOCK, num_windows=2)
    assert chosen_on.fingerprint == whole.fingerprint


def test_the_originals_directories_are_halved_without_documents(tmp_path, datasets):
    stream = source(datasets, "general", "encyclopedia").stream("train")
    mypt_format.write(
        tmp_path / "old",
        vocabulary=tokenizer.get("gpt2"),
        splits={"train": [stream], "val": [stream] * 4},
        tokens_per_shard=10**6,
        val_fraction=0.5,
        sources={},
        targets={},
    )
    data = shards.open_dataset(tmp_path / "old").sources["old"]
    halves = eval_windows.halved_windows(data, block_size=BLOCK, num_windows=8)
    assert None not in halves and len(halves[0].tokens) == len(halves[1].tokens) == 8


def test_plan_divides_by_val_tokens_with_a_floor(datasets):
    made = components(datasets)
    plan = eval_windows.plan_eval(made, **SIZES, version=eval_windows.HALVES)
    keys = {one.key for one in made}
    assert set(plan) == keys | {f"report/{key}" for key in keys}
    assert of_role(plan) == dict.fromkeys(
        ("domain", "general", "report/domain", "report/general"), 30
    )
    # A stage with another ratio evaluates the same windows.
    other = [dataclasses.replace(one, share=one.share + 1) for one in made]
    again = eval_windows.plan_eval(other, **SIZES, version=eval_windows.HALVES)
    assert {k: w.fingerprint for k, w in plan.items()} == {
        k: w.fingerprint for k, w in again.items()
    }


def test_a_lineage_that_was_begun_before_keeps_its_windows(datasets):
    extra = mixture.components_of("general", [datasets["domain"]])
    plan = eval_windows.plan_eval(components(datasets), extra, **SIZES, version=eval_windows.WHOLE)
    assert of_role(plan) == {"domain": 30, "general": 30}
    found = plan["domain/manuals"]
    count = len(found.tokens)
    whole = eval_windows.eval_windows(source(datasets), block_size=32, num_windows=count)
    assert found.fingerprint == whole.fingerprint


def test_what_is_only_evaluated_stands_for_itself_or_for_a_role_without_other(datasets):
    version = {"version": eval_windows.HALVES}
    made = components(datasets)
    extra = mixture.components_of("domain", [datasets["general"]])
    beside = eval_windows.plan_eval(made, extra, **SIZES, **version)
    assert "extra/domain/encyclopedia" in beside
    alone = eval_windows.plan_eval(made, **SIZES, **version)
    assert {key: beside[key].fingerprint for key in alone} == {
        key: windows.fingerprint for key, windows in alone.items()
    }
    general = [one for one in made if one.role == "general"]
    only = eval_windows.plan_eval(general, extra, **SIZES, **version)
    assert "domain/encyclopedia" in only and "report/domain/encyclopedia" in only


def test_a_name_twice_in_a_role_is_refused(datasets):
    made = components(datasets)
    with pytest.raises(errors.UserError, match="evaluated twice"):
        eval_windows.plan_eval([*made, *made], **SIZES, version=eval_windows.HALVES)


@given(
    tokens=st.lists(st.integers(1, 10**8), min_size=1, max_size=8),
    total=st.integers(1, 3000),
    least=st.integers(1, 64),
)
@settings(max_examples=100, deadline=None)
def test_division_of_windows(tokens, total, least):
    parts = eval_windows._divide(total, tokens, least)
    assert min(parts) >= least
    assert sum(parts) == max(total, least * len(tokens)) or max(parts) == least


def test_windows_of_which_other_targets_count_are_others():
    """Losses of the one are not those of the other, though their text is the same."""
    tokens, doc_WL = np.arange(5)[None], np.array([[3, 3, 4, 4]])

    def fingerprint(doc_WL):
        return eval_windows.EvalWindows(tokens, doc_WL, "").fingerprint

    assert fingerprint(doc_WL) == fingerprint(doc_WL - 3)
    first = np.where(doc_WL == 3, eval_windows.NOT_COUNTED, doc_WL)
    assert fingerprint(first) != fingerprint(doc_WL)
    assert fingerprint(first) == fingerprint(np.where(first == 4, 7, first))
