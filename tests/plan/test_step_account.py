"""The reading of a compiled program, on one written by hand in the grammar of XLA's text."""

from pathlib import Path

import numpy as np
import pytest

from mypt_jax.plan import account, collectives, hlo

TEXT = (Path(__file__).parent / "step.hlo").read_text()
SHAPE = account.Shape(n_layer=3, rows=2, length=64, vocab=500)


@pytest.fixture(scope="module")
def found() -> account.Account:
    return account.of(TEXT, chip="v5e", shape=SHAPE, slice_size=2)


def test_cycles_are_by_kind_and_times_the_trips_of_nested_loops(found):
    """A counter from 0 to 4 by 2 is two trips, in each of three layers."""
    assert found.cycles == {
        account.PRODUCTS: 2 * 3 * 1000 + 700,
        account.COPIES: 50 + 30,
        account.OTHER: 7,
    }
    assert found.total == 6787
    assert found.loops == [(3, ["gpt.py:138 GPT.__call__.one_layer"])]


def test_the_largest_entry_has_its_line_and_its_caller(found):
    largest = found.entries[0]
    assert (largest.name, largest.cycles, largest.times) == ("fusion.1", 6000, 6)
    assert largest.source == ["layers.py:83 Linear.__call__", "gpt.py:138 GPT.__call__.one_layer"]


def test_operations_of_products_leave_out_what_meets_padding(found):
    """Two slices as a window of two over one position and padding: of four pairs two meet data."""
    windowed = 2 * 64 * 16 * 32 * 2  # [64, 16] by [16, 32], two slices
    plain = 2 * 64 * 32 * 48
    assert found.ideal_cycles * account.CORES["v5e"].flops_per_cycle == 6 * windowed + plain


def test_what_a_step_should_not_have_is_named(found):
    assert found.windowed_products == 1
    assert found.logits_arrays == ["f32[128,500]"]
    assert found.fp32_stacks == ["f32[3,2,64,32]"]
    assert found.attention_again == 3 and found.kernels == {"attention_fwd": 3}


def test_collectives_are_counted_once_with_what_a_ring_brings_to_a_chip(found):
    """The start of a fused one counts, its end does not; one beside a product is overlapped."""
    permute, start, reduce, gather = found.collectives
    assert permute.kind == "collective-permute" and permute.times == 6
    assert permute.overlapped and permute.received_bytes == 2 * 16 * 32 * 2
    assert (
        reduce.kind == "all-reduce"
        and not reduce.overlapped
        and reduce.received_bytes == 2 * 0.5 * 400
    )
    assert reduce.between_slices  # chips 0 and 2, of slices of two
    assert {start.kind, gather.kind} == {"all-gather"}
    assert start.overlapped and start.received_bytes == 0.75 * 32 * 48 * 2
    assert not gather.overlapped and gather.received_bytes == 0.75 * 64 * 32 * 4


def test_a_collective_of_several_arrays_counts_all_of_them():
    """As a GPU's compiler combines them."""
    text = """HloModule m

ENTRY %main (a: f32[4], b: f32[8]) -> (f32[8], f32[16]) {
  %a = f32[4]{0} parameter(0)
  %b = f32[8]{0} parameter(1)
  %s = ((f32[4]{0}, f32[8]{0}), (f32[8]{0}, f32[16]{0})) all-gather-start(%a, %b), channel_id=1, replica_groups={{0,1}}, dimensions={0}
  ROOT %d = (f32[8]{0}, f32[16]{0}) all-gather-done(%s)
}
"""  # noqa: E501
    (found,) = collectives.found(hlo.Program(text), slice_size=2)
    assert [array.dims for array in found.arrays] == [(8,), (16,)]
    assert found.received_bytes == 0.5 * (8 + 16) * 4


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("replica_groups={{0,1},{2,3}}", [[0, 1], [2, 3]]),
        ("replica_groups=[2,2]<=[4]", [[0, 1], [2, 3]]),
        ("replica_groups=[2,2]<=[2,2]T(1,0)", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2] {'a'}", [[0, 2], [1, 3]]),
        ("replica_groups=mesh['a'=2,'b'=2] {'a','b'}", [[0, 1, 2, 3]]),
        ("source_target_pairs={{0,1},{1,0}}", [[0, 1], [1, 0]]),
    ],
)
def test_groups_in_every_way_of_writing(written, wanted):
    np.testing.assert_array_equal(collectives.groups(f", {written}, dimensions={{0}}"), wanted)


@pytest.mark.parametrize(
    ("old", "new", "trips"),
    [
        ("direction=LT", "direction=GT", None),
        ("%add.1 = u32[]{:T(128)} add(", "%add.1 = u32[]{:T(128)} multiply(", None),
        ("%constant.4 = u32[]{:T(128)} constant(4)", "%constant.4 = u32[] constant(5)", 3),
    ],
)
def test_a_loop_that_does_not_count_has_unknown_trips(old, new, trips):
    program = hlo.Program(TEXT.replace(old, new))
    (loop,) = (e for e in program.executed() if e.instruction.name == "%while.1")
    assert program.trips(loop.instruction, loop.computation) == trips


def test_text_of_something_else_is_refused():
    with pytest.raises(ValueError, match="no ENTRY"):
        hlo.Program("HloModule nothing")
