"""GPT-2's BPE: known ids, byte-exact round trips, a prefix vocabulary, no special strings."""

import json

import numpy as np
import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline import errors
from data_pipeline.tokens import bpe, tokenizer

NAMES = ("gpt2", "gpt2-4096")


def test_gpt2_ids_are_the_published_ones():
    # Known from GPT-2's release: "Hello world" is 15496 995, a newline 198, two 628.
    assert tokenizer.get("gpt2").encode("Hello world\n\n").tolist() == [15496, 995, 628]


@pytest.mark.parametrize(
    ("name", "eot", "vocab_size", "padded"),
    [("gpt2", 50256, 50257, 50304), ("gpt2-4096", 4096, 4097, 4224)],
)
def test_sizes(name, eot, vocab_size, padded):
    got = tokenizer.get(name)
    assert (got.eot, got.vocab_size, got.padded_vocab_size) == (eot, vocab_size, padded)
    assert got.dtype == np.dtype("<u2")
    assert len(got.sha256) == 64
    assert got.sha256 != tokenizer.get(NAMES[name == "gpt2"]).sha256


@pytest.mark.parametrize("name", NAMES)
@given(text=st.text(max_size=200))
@settings(max_examples=60, deadline=None)
def test_round_trip_is_byte_exact(name, text):
    got = tokenizer.get(name)
    ids = got.encode(text)
    assert ids.dtype == np.int32
    assert got.decode(ids) == text
    assert got.token_bytes()[ids].sum() == len(text.encode())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ["<|endoftext|>", "a<|endoftext|>b", "<myPT_system>\n"])
def test_special_strings_are_plain_text(name, text):
    got = tokenizer.get(name)
    assert got.eot not in got.encode(text)
    assert got.decode(got.encode(text)) == text


def test_small_vocabulary_is_a_prefix():
    large, small = tokenizer.get("gpt2"), tokenizer.get("gpt2-4096")
    assert np.array_equal(large.token_bytes()[:4096], small.token_bytes()[:4096])
    text = "The quick brown fox jumps over the lazy dog."
    assert small.encode(text).max() < 4096
    assert len(small.encode(text)) >= len(large.encode(text))


def test_runs_without_spaces_are_quick():
    # Quadratic merging of one long run would take minutes here.
    text = "x" * 300_000 + " " * 300_000
    assert tokenizer.get("gpt2").decode(tokenizer.get("gpt2").encode(text)) == text


@pytest.mark.parametrize("run", [" ", "\n", "\r\n", "a", "\u0301", "!", "7"])
@pytest.mark.parametrize("tail", ["", "x", " x", "\nx"])
def test_a_million_of_one_character_passes(run, tail):
    text = "y" + run * (1_100_000 // len(run)) + tail
    got = tokenizer.get("gpt2")
    assert got.decode(got.encode(text)) == text


def test_a_long_run_of_white_space_is_cut_at_a_border_of_pieces():
    got = tokenizer.get("gpt2")
    run, short = "\n" * 1_100_000, "\n" * 1_000
    for tail in (" x", "x", "\tx"):
        long_ids, ids = (got.encode(f"y{blanks}{tail} z").tolist() for blanks in (run, short))
        assert long_ids[-4:] == ids[-4:]


@pytest.fixture(scope="module")
def published():
    ours = tokenizer.get("gpt2").encoding
    return tiktoken.Encoding(
        "published",
        pat_str=bpe.PATTERN,
        mergeable_ranks=ours._mergeable_ranks,
        special_tokens={},
    )


@given(
    text=st.text(
        alphabet=" \t\n\r\x1c\x85\xa0\u3000'sdmtlvreaZß中09½_!\u0301\u200d😀\0", max_size=60
    )
    | st.text(max_size=60)
)
@settings(max_examples=400, deadline=None)
def test_ids_are_those_of_the_published_pattern(published, text):
    assert tokenizer.get("gpt2").encode(text).tolist() == published.encode_ordinary(text)


def test_the_digest_names_the_published_pattern():
    # Datasets name their tokenizer by it: a faster pattern of the same pieces must not change it.
    assert (
        tokenizer.get("gpt2").sha256
        == "e4a22926fb33d437de077098f37377c92941989447fae6d65a4e0d918dd8233c"
    )


@pytest.mark.parametrize("name", ["gpt3", "", "hf:/nowhere", "gpt2-100"])
def test_unknown_names_are_user_errors(name):
    with pytest.raises(errors.UserError):
        tokenizer.get(name)


def test_ids_outside_the_vocabulary_are_user_errors():
    with pytest.raises(errors.UserError, match="4097"):
        tokenizer.get("gpt2-4096").decode([4097])


@pytest.fixture
def hugging_face(tmp_path):
    """A byte-level tokenizer.json with 70,000 ids: above what uint16 holds."""
    tokenizers = pytest.importorskip("tokenizers")
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    vocab = {piece: i for i, piece in enumerate(sorted(alphabet))}
    vocab |= {f"<unused{i}>": i for i in range(len(vocab), 70_000)}
    model = tokenizers.models.BPE(vocab=vocab, merges=[])
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(["<eos>"])
    made.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<eos>"}))
    return tmp_path


def test_hugging_face(hugging_face):
    got = tokenizer.get(f"hf:{hugging_face}")
    text = "Grüezi <eos>\n\tif x:"
    ids = got.encode(text)
    assert got.vocab_size == 70_001 and got.eot == 70_000 and got.dtype == np.dtype("<u4")
    assert got.eot not in ids
    assert got.decode(ids) == text
    assert got.token_bytes()[ids].sum() == len(text.encode())
    assert got.token_bytes()[got.eot] == 0


def test_a_text_begins_with_what_the_tokenizer_names(hugging_face):
    assert tokenizer.get("gpt2").bos is None
    config = {"eos_token": "<eos>", "bos_token": {"content": "<unused300>"}}
    (hugging_face / "tokenizer_config.json").write_text(json.dumps(config))
    assert tokenizer.get(f"hf:{hugging_face}").bos == 300
    (hugging_face / "tokenizer_config.json").write_text(json.dumps({**config, "bos_token": 3}))
    tokenizer.get.cache_clear()
    with pytest.raises(errors.UserError, match="bos_token is 3, wanted a text"):
        tokenizer.get(f"hf:{hugging_face}")


def test_hugging_face_without_end_of_text(hugging_face):
    (hugging_face / "tokenizer_config.json").unlink()
    content = json.loads((hugging_face / "tokenizer.json").read_text())
    content["added_tokens"] = []
    (hugging_face / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(errors.UserError, match="end-of-text"):
        tokenizer.get(f"hf:{hugging_face}")


def test_every_demo_document_comes_back_byte_for_byte():
    from data_pipeline.corpus import demo

    texts = [one.text for role in ("domain", "general") for one in demo.documents(role)]
    assert len(texts) > 1500
    for name in NAMES:
        vocabulary = tokenizer.get(name)
        assert all(vocabulary.decode(vocabulary.encode(text)) == text for text in texts)


@pytest.mark.parametrize(
    ("name", "assistant", "last"), [("mypt", 50261, 50275), ("mypt-v8", 50263, 50271)]
)
def test_the_originals_control_tags(name, assistant, last):
    """Typed to a model they are tags, in a text they are text; both read text as gpt2 does."""
    tags, gpt2 = tokenizer.get(name), tokenizer.get("gpt2")
    written = "<myPT_assistant>Hi</myPT_assistant><myPT_eot>"
    ids = tags.encode_prompt(written).tolist()
    assert ids == [assistant, 17250, assistant + 1, last] and tags.decode(ids) == written
    assert tags.encode(written).max() < 50256 and tags.decode(tags.encode(written)) == written
    assert (tags.sha256, tags.eot, tags.stops) == (gpt2.sha256, gpt2.eot, (last,))
    assert tags.vocab_size == last + 1 == len(tags.token_bytes())
    assert tags.token_bytes()[50256:].sum() == 0
    assert tags.encode_prompt("").tolist() == []


def test_a_prompt_has_the_control_tokens_that_are_typed(hugging_face):
    got = tokenizer.get(f"hf:{hugging_face}")
    assert got.encode_prompt("a<eos>").tolist()[-1] == got.eot and not got.adds_bos
    content = json.loads((hugging_face / "tokenizer.json").read_text())
    bos = {"<eos>": {"id": "<eos>", "ids": [got.eot], "tokens": ["<eos>"]}}
    begin = {"SpecialToken": {"id": "<eos>", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    content["post_processor"] = {"type": "TemplateProcessing", "single": [begin, text],
                                 "pair": [begin, text], "special_tokens": bos}  # fmt: skip
    (hugging_face / "tokenizer.json").write_text(json.dumps(content))
    config = {"eos_token": "<eos>", "bos_token": "<eos>"}
    (hugging_face / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer.get.cache_clear()
    got = tokenizer.get(f"hf:{hugging_face}")
    assert got.adds_bos and got.eot not in got.encode("a") and got.eot not in got.encode_prompt("a")
