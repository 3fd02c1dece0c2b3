"""The list as a terminal keeps it: its order, who waits, and what is told once an episode."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.core.roster import ORDER, Roster, indicator, short_age, title
from coordinator.core.lifecycle import LIST_ORDER
from tests.support.scripted_connection import NOW, a_session


def a_roster(*sessions) -> Roster:
    roster = Roster()
    roster.replace(sessions)
    return roster


def asking(name: str, number: int, since: float = NOW):
    return a_session(name, number, display="requires_action", work="requires_action", waiting_since=since)


def unread(name: str, number: int, since: float = NOW):
    return a_session(name, number, display="unread", unread=True, waiting_since=since)


def test_the_order_is_the_coordinators():
    assert ORDER == LIST_ORDER


@given(st.permutations(list(range(6))))
def test_the_list_is_the_same_in_whatever_order_the_sessions_became_known(order):
    sessions = [
        asking("a", 9), a_session("b", 2, display="running", work="running"), unread("c", 1), a_session("d", 3),
        a_session("e", 4), a_session("f", 5, display="hibernated", residency="hibernated"),
    ]  # fmt: skip
    roster = Roster()
    for i in order:
        roster.put(sessions[i])

    assert [s.name for s in roster.listed()] == ["a", "b", "c", "d", "e", "f"]


def test_what_is_closed_or_archived_leaves_the_list():
    roster = a_roster(a_session("a", 1), a_session("b", 2), a_session("c", 3), a_session("d", 4, archived=True))
    roster.put(a_session("a", None, residency="stopped", display="stopped"))
    roster.put(a_session("b", 2, archived=True))

    assert [s.name for s in roster.listed()] == ["c"]
    roster.drop("c")
    assert roster.listed() == []


def test_asks_come_before_answers_and_the_longest_waiting_first():
    roster = a_roster(unread("a", 1, NOW - 9), asking("b", 2, NOW - 1), asking("c", 3, NOW - 5), a_session("d", 4))

    assert [s.name for s in roster.waiting()] == ["c", "b", "a"]
    assert roster.next_waiting("d").name == "c"
    assert roster.next_waiting("c").name == "b"
    assert roster.next_waiting("a").name == "c"
    assert a_roster(unread("a", 1)).next_waiting("a") is None
    assert roster.numbered(3).name == "c"
    assert roster.numbered(7) is None


def test_an_episode_is_told_once_until_it_is_over():
    roster = Roster()

    assert [roster.begins("a", w) for w in ("running", "unread", "unread", "idle", "unread")] == [
        None, "has an answer for you", None, None, "has an answer for you",
    ]  # fmt: skip
    assert roster.begins("a", "requires_action") == "waits for you"
    assert roster.begins("b", "failed") == "has failed"


def test_the_indicator_names_five_at_most_and_counts_the_rest():
    waiting = [asking(f"s{i}", i, NOW - i) for i in range(1, 8)]

    assert indicator(waiting[:2], NOW, 60) == "! [s1] asks 1s  ! [s2] asks 2s"
    wide = indicator(waiting, NOW, 500)
    assert wide.count("[") == 5
    assert wide.endswith("+2 more")
    assert indicator(waiting[:5], NOW, 500).count("[") == 5
    assert "more" not in indicator(waiting[:5], NOW, 500)


@given(st.integers(1, 12), st.integers(1, 100))
def test_the_indicator_fits_or_says_the_number(count, width):
    waiting = [unread("name" * (i % 4 + 1), i, NOW - 100 * i) for i in range(count)]
    shown = indicator(waiting, NOW, width)

    assert len(shown) <= width or shown == f"!{count}"
    assert "[" in shown or str(count) in shown


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0s"), (59, "59s"), (60, "1m"), (3_599, "59m"), (7_200, "2h"), (200_000, "2d"), (-5, "0s")],
)
def test_an_age_is_short(seconds, words):
    assert short_age(NOW - seconds, NOW) == words


def test_the_title_says_how_many_await_input():
    assert title(3) == "3 awaiting input - chat-coord"
    assert title(0) == "chat-coord"
