"""A chat model's own text: it asks and answers in its format, and its answers are what counts."""

import json

import bos_factory
import jax
import model_factory as factory
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline import errors
from data_pipeline.batches import answers, eval_windows, mixture
from data_pipeline.tokens import shards, verification
from mypt_jax.evaluate import scorer
from mypt_jax.model import sampling
from mypt_jax.runs import own_tokenizer
from mypt_jax.sample import chats, command, dataset
from tests import speaker_factory

SPEAKS = sampling.SPEAKS
EOT, END = 96, 95
TEMPLATE = "{% for m in messages %}{{'<|im_start|>' + m['role'] + m['content'] + '<|im_end|>'}}"
MARKS = {"bos": "<|im_start|>", "eos": "<|im_end|>", "template": TEMPLATE, "adds_bos": False}


@pytest.mark.parametrize("eot", [EOT, END])
def test_a_row_goes_by_its_script(eot):
    """Token by token from the whole forward pass."""
    script = sampling.Script(3, END, (7, 8, SPEAKS, 9, SPEAKS))
    gpt = factory.randomized(**{**factory.LLAMA, "head_bias": True})
    for one in (END, EOT):  # turns, and documents that end early, in a row
        gpt.head.bias[...] = gpt.head.bias[...].at[one].add(3.0)
    made = sampling.Generator(gpt, eot=eot, vocab_size=97)
    got = made.block(np.array([2, 7], np.uint32), seed=5, script=script)
    key = jax.random.fold_in(jax.random.key(5), 7)
    context, place = [3], 0
    for index in range(16):
        padded = np.array([context + [0] * (16 - len(context))])
        logits_V = factory.logits(gpt, padded)[0, len(context) - 1]
        own = int(jax.random.categorical(jax.random.fold_in(key, index), logits_V))
        speaks = script.tokens[place] == SPEAKS
        token = own if speaks else script.tokens[place]
        assert got[1, index] == token
        place += not speaks or token == END
        over = place == 5 or speaks and token == eot != END
        context, place = ([3], 0) if over else ([*context, token], place)


def test_a_document_is_a_question_with_its_answer():
    script, nine = sampling.Script(1, 9, (2, SPEAKS, 4, SPEAKS)), []
    rows = np.array(
        [
            [2, 5, 9, 4, 6, 6, 9, 2, 5, 9],  # a whole one; one without an answer
            [2, 9, 4, 9, 2, 5, 9, 4, 6, 6],  # nothing answered; an answer that is cut
            [2, 5, 5, 5, 5, 5, 5, 5, 5, 5],  # never asked to its end
        ]
    )
    for eot, ends in ((9, nine), (8, [8])):
        found = dataset.documents(rows, eot, script=script, lead=(1,))
        tails = [ends, [eot]]
        assert [one.tolist() for one in found] == [
            [1, 2, 5, 9, 4, 6, 6, 9, *tails[0]],
            [1, 2, 5, 9, 4, 6, 6, *tails[1]],
        ]
    early = np.array([[2, 5, 8, 2, 5, 9, 4, 6, 8, 2]])  # EOT in a question, EOT after an answer
    (one,) = dataset.documents(early, 8, script=script)
    assert one.tolist() == [2, 5, 9, 4, 6, 8]


class _Stream:
    """Tokens in memory, with where documents end."""

    def __init__(self, documents: list[list[int]]):
        self._tokens = np.array([token for one in documents for token in one])
        self.doc_ends = np.cumsum([len(one) for one in documents]).astype(np.uint64)

    def __len__(self) -> int:
        return len(self._tokens)

    def read(self, start: int, stop: int) -> np.ndarray:
        return self._tokens[start:stop]


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=12), min_size=1, max_size=6),
    st.sampled_from([(2,), (2, 3), (2, 2)]),
)
def test_answers_are_what_stands_after_their_head_until_their_end(documents, after):
    found = answers.of_stream(_Stream(documents), after, 0)
    flat = [(token, number) for number, one in enumerate(documents) for token in one]
    wanted = [False] * len(flat)
    for at in range(len(after), len(flat)):
        head = flat[at - len(after) : at]
        if tuple(token for token, _ in head) != after or head[0][1] != flat[at][1]:
            continue
        for place in range(at, len(flat)):
            if flat[place][1] != flat[at][1]:
                break
            wanted[place] = True
            if flat[place][0] == 0:
                break
    assert found.tolist() == wanted


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a tiny model with a chat template, whose turns are short."""
    pytest.importorskip("tokenizers")
    root = tmp_path_factory.mktemp("chat")
    folder = bos_factory.write_folder(root / "model", **MARKS)
    shape = {"block_size": 64, "vocab_size": 384}
    speaker_factory.write_run(root / "base", f"hf:{folder}", more_eot=4.0, **shape)
    own_tokenizer.keep(str(root / "base"), f"hf:{folder}")
    return root / "base"


def sample(run, out, *more: str) -> int:
    arguments = [f"--run={run}", "--tokens=3000", f"--out_dir={out}", "--block_rows=32"]
    return errors.run(lambda: command.main([*arguments, "--val_fraction=0.3", *more]))


def test_its_answers_alone_are_evaluated(run, tmp_path, capsys):
    assert sample(run, tmp_path / "own") == 0
    assert "questions and answers as chatml has them" in capsys.readouterr().out
    found = shards.open_dataset(tmp_path / "own")
    verification.verify(found)
    vocabulary = found.vocabulary()
    head = vocabulary.encode_prompt("\n<|im_start|>assistant\n").tolist()
    assert found.answers == {"after": head, "end": bos_factory.EOS}
    stream = found.sources["samples"].stream("val")
    ends = stream.doc_ends.astype(int).tolist()
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        text = vocabulary.decode(stream.read(start, end))
        assert text.startswith("<|im_start|>user\n") and text.endswith("<|im_end|>")
        assert text.count("<|im_end|>\n<|im_start|>assistant\n") == 1
    components = mixture.components_of("general", (str(tmp_path / "own"),))
    plan = eval_windows.plan_eval(
        components, windows_per_role=64, min_per_source=1, block_size=16, version=2
    )
    for windows in plan.values():
        counts_WL = windows.doc_WL != eval_windows.NOT_COUNTED
        assert 0 < counts_WL.mean() < 0.7
    score = scorer.Scorer(str(run), batch_size=8).score_data(str(tmp_path / "own"), windows=0)
    targets = slice(1, (len(stream) - 1) // 64 * 64 + 1)
    wanted = answers.of_stream(stream, **found.answers)[targets].sum()
    assert score["samples"].tokens_D.sum() == wanted > 0
    with pytest.raises(errors.UserError, match="samples.*val.* has no answer that counts"):
        eval_windows.eval_windows(
            found.sources["samples"],
            block_size=16,
            num_windows=4,
            answers={"after": [383, 383], "end": 0},
        )


@pytest.mark.parametrize("damage", [[], {"after": []}, {"after": ["x"], "end": 1}, {"end": 1}, 7])
def test_a_manifest_that_says_something_else_of_answers_is_a_line(run, tmp_path, damage):
    assert sample(run, tmp_path / "own") == 0
    file = tmp_path / "own/manifest.json"
    manifest = json.loads(file.read_text())
    manifest["settings"][0]["answers"] = damage
    file.write_text(json.dumps(manifest))
    with pytest.raises(errors.UserError, match="where answers stand is damaged"):
        _ = shards.open_dataset(tmp_path / "own").answers


def test_as_it_writes_unasked(run, tmp_path, capsys):
    assert sample(run, tmp_path / "own", "--chat=no") == 0
    assert shards.open_dataset(tmp_path / "own").answers is None
    other = run / "tokenizer/tokenizer_config.json"
    kept = other.read_text()
    other.write_text(kept.replace("im_start", "other"))
    try:
        assert sample(run, tmp_path / "unknown") == 0
    finally:
        other.write_text(kept)
    assert "of none of the formats chatml, llama-3" in capsys.readouterr().out
    assert shards.open_dataset(tmp_path / "unknown").answers is None


def test_a_template_may_be_one_of_several(run, tmp_path):
    several = [{"name": "tools", "template": "x"}, {"name": "default", "template": "y"}]
    written = json.dumps({"chat_template": several})
    (tmp_path / "tokenizer_config.json").write_text(written)
    assert own_tokenizer.chat_template(str(tmp_path)) == "y"
    assert own_tokenizer.chat_template(str(run)) == TEMPLATE
    assert own_tokenizer.chat_template(str(tmp_path / "nowhere")) == ""
    (tmp_path / "tokenizer_config.json").write_text("[]")
    assert own_tokenizer.chat_template(str(tmp_path)) == ""
    assert {*chats.FORMATS} >= {"chatml", "llama-3"}
