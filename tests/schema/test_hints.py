"""An unknown key or flag leads to the one that is meant, also from the original's names."""

import re
from pathlib import Path

import pytest

from mypt_jax.schema import hints, keys

ROOT = Path(__file__).resolve().parents[2]


def table() -> list[tuple[str, set[str]]]:
    """(flag of the original, keys here) of docs/guide.md."""
    rows = re.findall(
        r"^\| (`--.*?) \| (`--config\..*?) \|", (ROOT / "docs/guide.md").read_text(), re.M
    )
    found = []
    for theirs, ours in rows:
        ours = set(re.findall(r"--config\.([a-z_.]+)", ours))
        found += [(flag, ours) for flag in re.findall(r"--(\w+)", theirs)]
    return found


@pytest.mark.parametrize(
    ("flag", "ours"), table(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_original_s_flags_lead_where_the_guide_says(flag, ours):
    if not any(key.endswith(flag) for key in ours) and flag in ("n_head", "n_embd"):
        ours = {f"model.{flag}"}  # one line of the table for three
    assert set(hints.nearest(flag)) & ours, hints.nearest(flag)


# Of its train.py: what it parses, what its config files hold for training and for the model.
PARSED = (
    "model_name input_file dataset_dir tokenization init_from_model eval_dataset_dir config_file "
    "max_iters eval_interval eval_iters learning_rate warmup_iters grad_clip weight_decay use_amp "
    "amp_dtype batch_size block_size n_embd n_head n_layer dropout bias save_dtype "
    "eval_prompts_file eval_max_new_tokens"
)
IN_FILES = (
    "eval_sets eval_seed log_file freeze_layers freeze_embeddings curriculum grad_accum_steps "
    "vocab_size use_checkpoint device use_loss_mask batch_sampling_mode pad_token_id "
    "episode_min_tokens epoch_seed epoch_shuffle epoch_drop_last pos_encoding rope_theta "
    "rope_scale tie_weights"
)


@pytest.mark.parametrize("name", [*PARSED.split(), *IN_FILES.split()])
def test_every_name_of_the_original_is_known_and_not_guessed(name):
    known = {row.name for row in keys.ROWS if name in (row.leaf, *row.was)}
    assert name in hints.ELSEWHERE or set(hints.nearest(name)) <= known and known
    assert hints.hint(name)


@pytest.mark.parametrize("row", keys.ROWS, ids=lambda row: row.name)
def test_every_old_name_and_every_slip_leads_to_its_row(row):
    for old in row.was:
        assert row.name in hints.nearest(old) and row.name in hints.nearest(f"optim.{old}")
    slip = row.name[:-2] + row.name[-1] if len(row.leaf) > 4 else row.name
    assert hints.nearest(slip), slip


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("optim.peek_lr", "; did you mean --config.optim.peak_lr?"),
        ("learning_rte", "; did you mean --config.optim.peak_lr?"),
        ("model.peak_lr", "; did you mean --config.optim.peak_lr?"),
        ("batch_size", "; did you mean --config.batch_size?"),
        ("wandb", "; did you mean --config.log.wandb_project?"),
        ("eval_seed", "; evaluation windows are a fixed list, the same for every stage"),
        ("nonsense", ""),
    ],
)
def test_the_end_of_the_line(name, want):
    assert hints.hint(name) == want


def test_every_name_of_a_row_is_no_key_itself():
    names = {row.name for row in keys.ROWS}
    assert names.isdisjoint({old for row in keys.ROWS for old in row.was})
