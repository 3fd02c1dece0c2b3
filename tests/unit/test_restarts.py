"""How often a worker may be restarted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.restarts import RestartBudget


def test_the_first_restart_comes_at_once_then_a_tenth_of_a_second_doubling_to_ten():
    budget = RestartBudget(limit=10, window_s=60)

    assert [budget.spend(0) for _ in range(10)] == pytest.approx([0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10])


@pytest.mark.parametrize("limit", [0, 1, 5])
def test_no_more_restarts_than_the_limit_are_given_within_the_window(limit):
    budget = RestartBudget(limit, window_s=60)
    given_out = [budget.spend(second) is not None for second in range(limit + 3)]

    assert given_out == [True] * limit + [False] * 3


def test_a_restart_is_forgotten_only_when_the_window_has_passed_it():
    budget = RestartBudget(limit=1, window_s=60)
    budget.spend(100)

    assert budget.spend(160) is None
    assert budget.spend(160.001) == 0


def test_a_refused_restart_does_not_count():
    budget = RestartBudget(limit=1, window_s=60)
    budget.spend(0)
    for second in range(1, 60):
        budget.spend(second)

    assert budget.count(60) == 1
    assert budget.spend(61) == 0


def test_after_a_quiet_window_the_next_restart_comes_at_once_again():
    budget = RestartBudget(limit=5, window_s=60)
    for _ in range(4):
        budget.spend(0)

    assert budget.spend(61) == 0


def test_the_delay_counts_only_what_is_still_within_the_window():
    budget = RestartBudget(limit=5, window_s=60)
    for second in (0, 30, 50):
        budget.spend(second)

    assert budget.spend(70) == pytest.approx(0.2)
    assert budget.count(70) == 3
    assert budget.count(200) == 0


def test_a_person_who_asks_for_another_try_gets_the_whole_budget():
    budget = RestartBudget(limit=2, window_s=60)
    budget.spend(0)
    budget.spend(0)
    budget.renew()

    assert budget.count(0) == 0
    assert [budget.spend(0), budget.spend(0), budget.spend(0)] == [0, pytest.approx(0.1), None]


@given(
    limit=st.integers(0, 6),
    window_s=st.floats(1, 100),
    steps_s=st.lists(st.floats(0, 60), max_size=40),
)
def test_in_no_window_are_there_more_restarts_than_the_limit(limit, window_s, steps_s):
    budget = RestartBudget(limit, window_s)
    now_s, spent_s = 0.0, []
    for step_s in steps_s:
        now_s += step_s
        if budget.spend(now_s) is not None:
            spent_s.append(now_s)

    crowds = [sum(0 <= later - first <= window_s for later in spent_s) for first in spent_s]
    assert max(crowds, default=0) <= limit


def test_a_thousand_restarts_wait_no_longer_than_the_longest_delay():
    budget = RestartBudget(limit=1_000_000, window_s=86_400)
    delays = [budget.spend(0) for _ in range(2_000)]

    assert max(delays) == delays[-1] == 10
