"""Documents that begin with BOS: prepared, read, added to and told apart from those that do not."""

import json

import bos_factory
import numpy as np
import pytest
from bos_factory import BOS, EOS
from conftest import build_dataset

from data_pipeline.batches import eval_windows, loader, mixture
from data_pipeline.commands import append, inspect, prepare
from data_pipeline.errors import UserError
from data_pipeline.prepare import encoded, mix, tokenise
from data_pipeline.tokens import shards, texts, tokenizer, verification

pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A directory with the tokenizer's folder, texts, and the datasets `with` and `without`."""
    root = tmp_path_factory.mktemp("bos")
    bos_factory.write_folder(root / "model")
    (root / "in").mkdir()
    for number in range(120):
        (root / "in" / f"{number}.txt").write_text(f"text <s> {number} " * (3 + number % 7))
    for name, flags in (("with", []), ("without", ["--bos=no"])):
        prepare.main([*_arguments(root), f"--out_dir={root / name}", *flags])
    return root


def _arguments(root) -> list[str]:
    return [f"--source=s:{root}/in/*.txt", f"--tokenizer=hf:{root}/model"]


def _documents(path, split="train") -> list[np.ndarray]:
    stream = shards.open_dataset(path).sources["s"].stream(split)
    ends = stream.doc_ends.astype(np.int64)
    return [stream[a:b] for a, b in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)]


def test_documents_are_bos_text_eos_as_the_tokenizer_says(work):
    begun, plain = _documents(work / "with"), _documents(work / "without")
    assert {(one[0], one[-1]) for one in begun} == {(BOS, EOS)}
    assert all((one[1:-1] < 256).all() for one in begun), "what stands in a text is text"
    for one, other in zip(begun, plain, strict=True):
        np.testing.assert_array_equal(one[1:], other)
    for name, bos in (("with", BOS), ("without", None)):
        manifest = json.loads((work / name / "manifest.json").read_text())
        dataset = shards.open_dataset(work / name)
        assert (manifest["tokenizer"].get("bos"), dataset.bos) == (bos, bos)
        source = dataset.sources["s"]
        assert source.tokens["train"] == sum(map(len, _documents(work / name)))
        verification.verify(dataset)
    sizes = [shards.open_dataset(work / n).sources["s"].text_bytes for n in ("with", "without")]
    assert sizes[0] == sizes[1], "BOS stands for no text"


def test_texts_and_what_is_shown_are_without_it(work, capsys):
    dataset = shards.open_dataset(work / "with")
    shown = list(texts.Texts(dataset.sources["s"], "val", dataset.vocabulary()))
    assert shown and all(text.startswith("text <s> ") for text in shown)
    assert inspect.main([str(work / "with"), "--decode=1", "--verify"]) == 0
    assert "<s>text" not in capsys.readouterr().out


def test_a_dataset_of_a_tokenizer_without_is_as_it_always_was(tmp_path):
    """Byte for byte: the manifest says nothing of BOS."""
    build_dataset(tmp_path / "d", {"a": 30})
    assert "bos" not in json.loads((tmp_path / "d/manifest.json").read_text())["tokenizer"]


def test_what_is_added_begins_as_the_rest(work, tmp_path):
    for name in ("with", "without"):
        (tmp_path / "more.txt").write_text(f"one more for {name} " * 30)
        append.main(
            [
                f"--dataset_dir={work / name}",
                f"--source=new:{tmp_path}/more.txt",
                "--val_fraction=0",
            ]
        )
        dataset = shards.open_dataset(work / name)
        first = int(dataset.sources["new"].stream("train")[0])
        assert (first == BOS) == (name == "with") and dataset.bos == (BOS if first == BOS else None)
        verification.verify(dataset)


def test_another_process_encodes_the_same(work):
    """In which a tokenizer is opened anew."""
    begun = tokenizer.get(f"hf:{work}/model").beginning(True)
    one = tokenise.Text("s", "abc", "", "here")
    there = tokenise._encode_there([one], tokenise._identity(begun))
    assert there.tokens.tolist()[0] == BOS and there.table["tokens"] == [5]
    np.testing.assert_array_equal(there.tokens, tokenise.encode([one], begun).tokens)


def test_samples_begin_with_it(work):
    begun = tokenizer.get(f"hf:{work}/model").beginning(True)
    made = encoded.encoded("s", [np.array([5, 6, EOS])], begun)
    assert made.tokens.tolist() == [BOS, 5, 6, EOS] and made.table["tokens"] == [4]
    plain = encoded.encoded("s", [np.array([5, 6, EOS])], begun.beginning(False))
    assert made.table["doc"] == plain.table["doc"], "the same text"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--tokenizer=gpt2", "--bos=yes"], "gpt2 has no token that a text begins with"),
        (["--bos=yes", "--layout=mypt"], "the original's layout has documents without BOS"),
        (["--layout=mypt"], "pass --bos=no"),
    ],
)
def test_a_bos_that_is_not_there_is_one_line(work, tmp_path, flags, said):
    with pytest.raises(UserError, match=said):
        prepare.main([*_arguments(work), f"--out_dir={tmp_path}/out", *flags])
    assert not (tmp_path / "out").exists()


def test_the_originals_layout_takes_no_beginnings(work, tmp_path):
    """They stood there as text: nothing says of its documents that they begin with BOS."""
    names = {"domain": (str(work / "with"),), "general": (str(work / "with"),)}
    weights = {"domain_weights": (), "general_weights": ()}
    made = mixture.build(**names, **weights, replay_ratio="0.1")
    how = {"seed": 0, "tokens_per_shard": 1000, "include_replay_val": False, "recorded": {}}
    with pytest.raises(UserError, match="documents without BOS"):
        mix.materialize(tmp_path / "out", made, layout="mypt", **how)
    assert not (tmp_path / "out").exists()


def test_two_beginnings_do_not_go_together(work):
    made = mixture.build(
        domain=(str(work / "with"),),
        general=(str(work / "without"),),
        domain_weights=(),
        general_weights=(),
        replay_ratio="0.5",
    )
    with pytest.raises(UserError, match=f"with with BOS {BOS}, .*without without; prepare one"):
        mixture.check_alike(made.components)


def _mixture(path) -> mixture.Mixture:
    names = {"domain": (str(path),), "general": ()}
    weights = {"domain_weights": (), "general_weights": ()}
    return mixture.build(**names, **weights, replay_ratio="0")


def test_windows_cut_out_of_a_document_begin_with_it_where_that_is_wanted(work):
    made = _mixture(work / "with")
    sizes = {"block_size": 16, "batch_size": 8, "seed": 1}
    plain = loader.TrainLoader(made, **sizes)
    begun = loader.TrainLoader(made, **sizes, bos_at_cuts=True)
    assert plain.fingerprint != begun.fingerprint
    one, other = plain.batch(3).tokens, begun.batch(3).tokens
    assert {*other[:, 0]} <= {BOS, EOS} and not {*one[:, 0]} <= {BOS, EOS}
    np.testing.assert_array_equal(one[:, 1:], other[:, 1:])
    plans = [
        eval_windows.plan_eval(
            made.components,
            windows_per_role=8,
            min_per_source=1,
            block_size=16,
            version=2,
            bos_at_cuts=wanted,
        )
        for wanted in (False, True)
    ]
    for key, windows in plans[1].items():
        assert {*windows.tokens[:, 0]} <= {BOS, EOS}
        assert windows.fingerprint != plans[0][key].fingerprint
    with pytest.raises(UserError, match="bos_at_cuts: the documents of .*without do not begin"):
        loader.TrainLoader(_mixture(work / "without"), **sizes, bos_at_cuts=True)
