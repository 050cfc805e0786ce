"""The one parser of all commands' options."""

import argparse
from pathlib import Path

import pytest

from data_pipeline import arguments
from data_pipeline.commands import append, prepare
from data_pipeline.errors import UserError


@pytest.fixture
def parser():
    found = arguments.Parser("What it is for.", prog="mypt try")
    found.add_argument("--out_dir", type=Path, required=True)
    found.add_argument("--run", required=True)
    found.add_argument("--tests", type=Path)
    found.add_argument("--recipes", default="", help="names by commas; default: all")
    found.add_argument("--from", nargs="+")
    return found


@pytest.mark.parametrize(
    "given",
    [
        ["--out_dir="],  # Path("") is the working directory
        ["--out_dir", ""],
        ["--run="],
        ["--tests="],
        ["--run=--"],
    ],
)
def test_what_is_empty_where_a_value_is_needed_is_one_line(parser, given):
    others = ["--out_dir=a", "--run=b"]
    with pytest.raises(UserError, match=rf"argument {given[0].partition('=')[0]}: .*mypt try"):
        parser.parse_args([*others, *given])


def test_an_empty_choice_and_values_of_keys_stay(parser):
    flags = ["--config.data.general=", "--config.log.trackers", ""]
    args, rest = parser.parse_known_args(["--out_dir=a", "--run", "b", "--recipes=", *flags])
    assert (args.recipes, str(args.out_dir), args.run, rest) == ("", "a", "b", flags)


def test_an_option_of_several_values_given_again_adds_to_them(parser):
    args = parser.parse_args(["--out_dir=a", "--run=b", "--from", "c", "d", "--from", "e"])
    assert vars(args)["from"] == ["c", "d", "e"]


@pytest.mark.parametrize(
    ("typed", "hint"),
    [("--recipe=a", "; did you mean --recipes?"), ("--hidden_on=1", ""), ("--zzz", "")],
)
def test_an_option_that_is_none_leads_to_the_nearest(parser, typed, hint):
    parser.add_argument("--hidden_one", help=argparse.SUPPRESS)
    with pytest.raises(UserError) as refused:
        parser.parse_args(["--out_dir=a", "--run=b", typed])
    assert str(refused.value) == f"unrecognized arguments: {typed}{hint} (see mypt try --help)"


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        (prepare, ["--source=a:b", "--out_dir=c"]),
        (append, ["--source=a:b", "--dataset_dir=c", "--target_tokens=9"]),
    ],
)
def test_the_original_s_tokenizer_option_leads_to_ours(command, needed):
    """The name that its prepare_weighted_dataset.py and append_to_dataset.py have for it."""
    with pytest.raises(UserError, match="did you mean --tokenizer"):
        command.main([*needed, "--tokenization", "gpt2"])
