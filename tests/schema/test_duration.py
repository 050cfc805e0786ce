"""When a run is evaluated: the list and the question agree."""

from hypothesis import given
from hypothesis import strategies as st

from mypt_jax.schema import duration


@given(st.sampled_from(["even", "geometric"]), st.integers(1, 70), st.integers(1, 200))
def test_a_step_is_due_where_the_list_has_it(schedule, every_steps, num_steps):
    config = {"num_steps": num_steps, "eval": {"every_steps": every_steps, "schedule": schedule}}
    due = [n for n in range(num_steps + 1) if duration.is_evaluation_due(config, n)]
    assert [0, *duration.evaluation_steps(config)] == due


def test_geometric_doubles():
    config = {"num_steps": 100, "eval": {"every_steps": 5, "schedule": "geometric"}}
    assert duration.evaluation_steps(config) == [5, 10, 20, 40, 80, 100]
