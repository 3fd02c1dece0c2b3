"""The two tables of a session's life: every pair has an answer, and the promises hold."""

from itertools import product

import pytest

from coordinator.core.lifecycle import (
    HOLDS_SLOT,
    IGNORED,
    LIST_ORDER,
    RESIDENCY,
    WORK,
    WORK_IGNORED,
    Fact,
    Residency,
    TurnFact,
    Work,
    display,
    next_residency,
    next_work,
)
from protocol.errors import IllegalTransition

R, F, W, T = Residency, Fact, Work, TurnFact
PAIRS = list(product(Residency, Fact))
WORK_PAIRS = list(product(Work, TurnFact))


def outcome(residency, fact):
    """Where the fact leads, None when it is illegal there."""
    try:
        return next_residency(residency, fact)
    except IllegalTransition:
        return None


def reachable(start, facts=tuple(Fact)):
    """Everywhere that these facts can bring a session from there."""
    seen, todo = set(), [start]
    while todo:
        residency = todo.pop()
        if residency not in seen:
            seen.add(residency)
            todo += [after for fact in facts if (after := outcome(residency, fact)) is not None]
    return seen


# ---- all pairs


@pytest.mark.parametrize(("residency", "fact"), PAIRS)
def test_every_fact_in_every_residency_moves_or_is_ignored_or_is_illegal(residency, fact):
    if (residency, fact) in RESIDENCY:
        assert next_residency(residency, fact) is RESIDENCY[residency, fact]
    elif (residency, fact) in IGNORED:
        assert next_residency(residency, fact) is residency
    else:
        with pytest.raises(IllegalTransition, match=f"is {residency} cannot see '{fact}'"):
            next_residency(residency, fact)


@pytest.mark.parametrize(("work", "fact"), WORK_PAIRS)
def test_every_fact_during_all_work_moves_or_is_ignored_or_is_illegal(work, fact):
    if (work, fact) in WORK:
        assert next_work(work, fact) is WORK[work, fact]
    elif (work, fact) in WORK_IGNORED:
        assert next_work(work, fact) is work
    else:
        with pytest.raises(IllegalTransition, match=f"work is {work} cannot see '{fact}'"):
            next_work(work, fact)


def test_no_pair_both_moves_and_is_ignored():
    assert RESIDENCY.keys() & IGNORED.keys() == set()
    assert WORK.keys() & WORK_IGNORED.keys() == set()


def test_what_is_ignored_has_its_reason():
    assert all(len(reason.split()) > 2 for reason in [*IGNORED.values(), *WORK_IGNORED.values()])


def test_every_residency_and_every_fact_has_a_use():
    assert {fact for _, fact in RESIDENCY} == set(Fact)
    assert reachable(R.HIBERNATED) == set(Residency)
    assert {fact for _, fact in WORK} == set(TurnFact)
    assert {*WORK.values()} == set(Work)


# ---- what is promised


@pytest.mark.parametrize(
    ("before", "fact", "after"),
    [
        (R.QUEUED, F.SLOT_FREE, R.STARTING),
        (R.STARTING, F.SAID_HELLO, R.LIVE),
        (R.WAKING, F.SAID_HELLO, R.LIVE),
        (R.STARTING, F.DIED_BUSY, R.BACKOFF),
        (R.WAKING, F.DIED_BUSY, R.BACKOFF),
        (R.LIVE, F.LEAVE_ORDERED, R.HIBERNATING),
        (R.HIBERNATING, F.PROCESS_ENDED, R.HIBERNATED),
        (R.FAILED, F.WORKER_WANTED, R.WAKING),
        (R.HIBERNATED, F.WORKER_WANTED, R.WAKING),
        (R.HIBERNATED, F.NO_SLOT, R.QUEUED),
        (R.FAILED, F.NO_SLOT, R.QUEUED),
        (R.LIVE, F.DIED_IDLE, R.HIBERNATED),
        (R.LIVE, F.DIED_BUSY, R.BACKOFF),
        (R.HIBERNATING, F.VETOED, R.LIVE),
        (R.HIBERNATING, F.INPUT_CAME, R.LIVE),
        (R.BACKOFF, F.DELAY_OVER, R.STARTING),
        (R.BACKOFF, F.LIMIT_REACHED, R.FAILED),
        (R.STOPPING, F.PROCESS_ENDED, R.STOPPED),
        # A drain puts everybody to sleep.
        (R.STARTING, F.LEAVE_ORDERED, R.HIBERNATING),
        (R.WAKING, F.LEAVE_ORDERED, R.HIBERNATING),
        (R.BACKOFF, F.LEAVE_ORDERED, R.HIBERNATED),
        (R.QUEUED, F.LEAVE_ORDERED, R.HIBERNATED),
        # What comes late changes nothing.
        (R.LIVE, F.SAID_HELLO, R.LIVE),
        (R.STOPPED, F.DELAY_OVER, R.STOPPED),
        (R.HIBERNATED, F.DELAY_OVER, R.HIBERNATED),
    ],
)
def test_the_documented_transition_happens(before, fact, after):
    assert next_residency(before, fact) is after


@pytest.mark.parametrize(
    ("before", "fact", "after"),
    [
        (W.IDLE, T.DELIVERED, W.RUNNING),
        (W.RUNNING, T.STARTED, W.RUNNING),
        (W.RUNNING, T.ENDED, W.IDLE),
        (W.RUNNING, T.LOST, W.IDLE),
        (W.RUNNING, T.WAITED, W.THROTTLED),
        (W.THROTTLED, T.GRANTED, W.RUNNING),
        (W.RUNNING, T.ASKED, W.REQUIRES_ACTION),
        # Illegal in the original; answering a session that waits is the normal case.
        (W.REQUIRES_ACTION, T.ANSWERED, W.RUNNING),
        (W.RUNNING, T.CANCEL_ORDERED, W.CANCELLING),
        (W.THROTTLED, T.CANCEL_ORDERED, W.CANCELLING),
        (W.REQUIRES_ACTION, T.CANCEL_ORDERED, W.CANCELLING),
        (W.CANCELLING, T.ENDED, W.IDLE),
    ],
)
def test_the_documented_change_of_work_happens(before, fact, after):
    assert next_work(before, fact) is after


@pytest.mark.parametrize("fact", [T.STARTED, T.ENDED, T.LOST])
def test_an_idle_session_has_no_turn_to_start_end_or_lose(fact):
    with pytest.raises(IllegalTransition):
        next_work(W.IDLE, fact)


@pytest.mark.parametrize("work", sorted(set(Work) - {W.IDLE}))
def test_a_second_prompt_is_never_delivered_into_a_turn(work):
    with pytest.raises(IllegalTransition):
        next_work(work, T.DELIVERED)


def test_a_turn_that_waits_for_a_person_is_not_lost_with_its_worker():
    with pytest.raises(IllegalTransition):
        next_work(W.REQUIRES_ACTION, T.LOST)


@pytest.mark.parametrize("residency", Residency)
def test_closing_is_possible_everywhere_and_waits_for_a_process_that_may_live(residency):
    may_live = HOLDS_SLOT - {R.BACKOFF}

    assert next_residency(residency, F.CLOSE_ORDERED) is (R.STOPPING if residency in may_live else R.STOPPED)


def test_a_close_beats_every_pending_restart_and_wake():
    assert reachable(R.STOPPING) == {R.STOPPING, R.STOPPED}
    assert reachable(R.STOPPED) == {R.STOPPED}


def test_a_session_that_gave_up_stays_so_until_a_person_acts():
    people = {F.WORKER_WANTED, F.NO_SLOT, F.CLOSE_ORDERED}

    assert reachable(R.FAILED, set(Fact) - people) == {R.FAILED}


def test_a_slot_is_held_from_the_start_of_a_process_until_it_is_dead():
    assert {"starting", "waking", "live", "hibernating", "stopping", "backoff"} == HOLDS_SLOT


@pytest.mark.parametrize("residency", sorted(set(Residency) - HOLDS_SLOT))
def test_a_slot_is_taken_only_by_a_worker_that_is_wanted_or_by_a_slot_that_is_free(residency):
    takers = {fact for fact in Fact if outcome(residency, fact) in HOLDS_SLOT}

    assert takers <= {F.WORKER_WANTED, F.SLOT_FREE}


# ---- the word that lists show


@pytest.mark.parametrize(
    ("residency", "work", "is_unread", "word"),
    [
        (R.FAILED, W.RUNNING, True, "failed"),
        (R.BACKOFF, W.RUNNING, True, "backoff"),
        (R.STOPPING, W.RUNNING, True, "stopping"),
        (R.LIVE, W.RUNNING, True, "running"),
        (R.LIVE, W.RUNNING, False, "running"),
        (R.LIVE, W.CANCELLING, False, "running"),
        (R.LIVE, W.THROTTLED, True, "throttled"),
        (R.LIVE, W.REQUIRES_ACTION, True, "requires_action"),
        (R.HIBERNATED, W.REQUIRES_ACTION, False, "requires_action"),
        (R.LIVE, W.IDLE, True, "unread"),
        (R.HIBERNATED, W.IDLE, True, "unread"),
        (R.WAKING, W.IDLE, True, "unread"),
        (R.QUEUED, W.IDLE, True, "unread"),
        (R.LIVE, W.IDLE, False, "idle"),
        (R.WAKING, W.IDLE, False, "waking"),
        (R.STARTING, W.IDLE, False, "starting"),
        (R.QUEUED, W.IDLE, False, "queued"),
        (R.HIBERNATED, W.IDLE, False, "hibernated"),
        (R.HIBERNATING, W.IDLE, False, "hibernating"),
        (R.STOPPED, W.IDLE, False, "stopped"),
    ],
)
def test_the_word_is_the_first_that_applies(residency, work, is_unread, word):
    assert display(residency, work, is_unread=is_unread) == word


def test_every_word_has_its_place_in_the_list():
    words = {display(r, w, is_unread=u) for r, w, u in product(Residency, Work, (False, True))}

    assert words <= set(LIST_ORDER)


def test_what_needs_a_person_comes_first_in_the_list():
    documented = [
        "requires_action",
        "failed",
        "backoff",
        "running",
        "throttled",
        "unread",
        "idle",
        "hibernated",
        "queued",
        "stopped",
    ]

    assert [word for word in LIST_ORDER if word in documented] == documented
