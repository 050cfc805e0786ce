"""What a step keeps on a device, by formula, and the policy that follows."""

import pytest

from configs import v8
from mypt_jax.model import memory
from mypt_jax.plan import costs
from mypt_jax.schema import tree

# Compiled ahead of time (docs/scaling.md): chips, batch, loss_chunks, policy, GiB at the peak.
COMPILED = [
    (8, 96, 4, "full", 3.62),
    (8, 96, 4, "dots", 11.05),
    (8, 96, 4, "light", 12.85),
    (1, 8, 16, "full", 13.35),
    (4, 96, 16, "full", 6.78),
    (256, 768, 16, "full", 0.66),
]


@pytest.fixture(scope="module")
def guide() -> dict:
    return tree.plain(v8.get_config().to_dict())


@pytest.fixture(scope="module")
def size(guide) -> memory.Bytes:
    return costs.sizes(guide)


def on_tpu(guide, **model) -> dict:
    return {**guide["model"], "compute_dtype": "bfloat16", "attention": "splash", **model}


def room(guide, size, remat: str, limit_gib: float, had: str = "") -> memory.Choice:
    """The choice for 96 windows on 8 devices, where light takes 13.9 GiB by estimate."""
    config = {**guide, "batch_size": 96}
    split = memory.Split(1, 8, 1)
    model = on_tpu(guide, remat=remat)
    return memory.choose(config, size, model, split, memory.Room(limit_gib, had))


@pytest.mark.parametrize(("chips", "batch", "chunks", "remat", "peak"), COMPILED)
def test_the_formula_says_a_little_more_than_the_compiler(
    guide, size, chips, batch, chunks, remat, peak
):
    model = on_tpu(guide, remat=remat, loss_chunks=chunks)
    found = memory.estimate({**guide, "batch_size": batch}, size, model, memory.Split(1, chips, 1))
    assert peak <= found["total"] <= 1.35 * peak


def test_memory_is_split_over_the_axes(guide, size):
    """State over fsdp and tensor, windows over data and fsdp."""
    model = on_tpu(guide, remat="light")
    one, data, fsdp = (
        memory.estimate(guide, size, model, memory.Split(*split))
        for split in ((1, 1, 1), (4, 1, 1), (1, 4, 1))
    )
    own = fsdp["total"] - fsdp["weights gathered"]
    assert own == pytest.approx(one["total"] / 4) and not one["weights gathered"]
    assert data["parameters and moments"] == one["parameters and moments"]
    assert data["saved activations"] == fsdp["saved activations"]


def test_auto_takes_the_cheapest_that_fits(guide, size):
    assert room(guide, size, "auto", 15.75).remat == "light"
    assert room(guide, size, "auto", 13.0).remat == "dots"
    assert room(guide, size, "auto", 5.0).remat == "full"
    assert room(guide, size, "auto", 1.0).remat == "full"  # the compiler says what it lacks
    said = room(guide, size, "auto", 13.0).note
    assert said.startswith("remat=auto: remat=dots takes about 12.") and "of 13.0" in said


def test_where_a_device_does_not_tell_its_size_light_is_taken_in_silence(guide, size):
    assert room(guide, size, "auto", 0.0) == ("light", "")


def test_a_resumed_run_keeps_its_policy_where_it_fits(guide, size):
    assert room(guide, size, "auto", 15.75, had="full") == ("full", "remat=auto: full, as before")
    remat, said = room(guide, size, "auto", 13.0, had="light")
    assert remat == "dots" and "dots from here on, since remat=light takes about 13." in said


def test_a_policy_that_does_not_fit_is_kept_and_one_that_does_is_named(guide, size):
    remat, said = room(guide, size, "none", 15.75)
    assert remat == "none"
    assert said.startswith("warning: remat=none takes about 4") and "; remat=light takes" in said
    assert room(guide, size, "full", 15.75) == ("full", "")
    assert "smaller parts of the batch" in room(guide, size, "none", 1.0).note
