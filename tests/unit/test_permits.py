"""The governor alone: who goes next, what is free again, and what messages that are lost, doubled or late do not do."""

from collections import Counter

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from coordinator.core.gates import WINDOW_S
from coordinator.core.permits import PATIENCE, Answer, Governor, Limits

NOBODY: frozenset[str] = frozenset()
P, Q = "http://p/v1", "http://q/v1"


def governor(limit: int = 2, **of_p: int) -> Governor:
    return Governor(limit, {P: Limits(**of_p)})


def ask(governor: Governor, *holders: str, provider: str = P, call: int = 1, now_s: float = 0.0) -> None:
    for holder in holders:
        governor.want(holder, provider, call, 0.0, now_s)


def go(governor: Governor, foreground: frozenset[str] = NOBODY, now_s: float = 0.0) -> list[str]:
    return [holder for holder, _ in governor.grant(foreground, now_s)]


def back(governor: Governor, holder: str, call: int = 1, *, answered: bool = True, now_s: float = 0.0) -> None:
    governor.give_back(holder, call, is_answered=answered, now_s=now_s)


# ---- limits


def test_no_more_go_than_there_are_permits_and_the_next_goes_when_one_is_back():
    line = governor(2)
    ask(line, "a", "b", "c")

    assert go(line) == ["a", "b"]
    assert (line.in_use, line.waiting) == (2, ("c",))
    assert go(line) == []

    back(line, "a")

    assert go(line) == ["c"]


def test_a_providers_own_limit_holds_beside_the_general_one_and_blocks_nobody_else():
    line = governor(3, at_once=1)
    ask(line, "a", "b")
    ask(line, "c", "d", provider=Q)

    assert go(line) == ["a", "c", "d"]

    back(line, "c")

    assert go(line) == []

    back(line, "a")

    assert go(line) == ["b"]


def test_requests_within_a_minute_are_counted():
    line = governor(9, requests_per_minute=2)
    ask(line, "a", "b", "c")

    assert go(line, now_s=10) == ["a", "b"]
    assert line.next_s(10) == 10 + WINDOW_S
    assert list(line.gates(10)) == [(P, "budget", 10 + WINDOW_S, 0)]
    assert go(line, now_s=9.9 + WINDOW_S) == []
    assert go(line, now_s=10 + WINDOW_S) == ["c"]


def test_tokens_within_a_minute_are_counted():
    line = governor(9, tokens_per_minute=100)
    line.count_tokens(P, 60, 0)
    ask(line, "a", "b")

    assert go(line, now_s=1) == ["a", "b"]

    line.count_tokens(P, 50, 20)
    ask(line, "c", now_s=21)

    assert go(line, now_s=21) == []
    assert line.place("c", NOBODY, 21) == (1, "budget", WINDOW_S, WINDOW_S - 21)
    assert go(line, now_s=WINDOW_S) == ["c"]


# ---- the line


def test_who_is_looked_at_goes_first_and_the_others_by_arrival():
    line = governor(1)
    ask(line, "busy")
    go(line)
    ask(line, "old", "new", "seen")
    order = [line.place(who, frozenset({"seen"}), 0)[0] for who in ("old", "new", "seen")]

    assert order == [2, 3, 1]

    back(line, "busy")

    assert go(line, frozenset({"seen"})) == ["seen"]

    back(line, "seen")

    assert go(line) == ["old"]


def test_the_first_in_the_background_is_passed_four_times_and_no_more():
    line = governor(1)
    seen = frozenset(f"seen{n}" for n in range(20))
    ask(line, "back1", "back2", *sorted(seen))
    order = []
    for _ in range(12):
        (holder,) = go(line, seen)
        order.append(holder)
        back(line, holder)

    assert [n for n, holder in enumerate(order) if holder.startswith("back")] == [PATIENCE, 2 * PATIENCE + 1]


def test_the_expected_wait_is_what_permits_were_held_for():
    line = governor(1)
    ask(line, "a", "b", "c")
    go(line)

    assert line.place("b", NOBODY, 0) == (1, "permit", None, None)

    back(line, "a", now_s=4)
    go(line, now_s=4)

    assert line.place("c", NOBODY, 4) == (1, "permit", None, 4.0)


# ---- messages that are lost, doubled, late


def test_asking_again_is_answered_the_same_and_is_one_place_in_line():
    line = governor(1)

    assert line.want("a", P, 1, 0.0, 0) is Answer.QUEUED
    assert line.want("a", P, 1, 0.0, 0) is Answer.WAITING
    assert go(line) == ["a"]
    assert line.want("a", P, 1, 0.0, 0) is Answer.HELD

    back(line, "a")

    assert line.want("a", P, 1, 0.0, 0) is Answer.OVER
    assert line.in_use == 0


def test_a_return_that_was_lost_is_known_by_the_next_request_and_by_the_next_ping():
    line = governor(1)
    ask(line, "a")
    go(line)
    line.want("a", P, 2, 0.0, 0)

    assert go(line) == ["a"]

    line.settle("a", over=2)

    assert line.in_use == 0


def test_a_ping_that_is_late_takes_no_permit_away():
    line = governor(1)
    ask(line, "a", call=3)
    go(line)
    line.settle("a", over=2)

    assert line.in_use == 1


def test_what_is_not_wanted_any_more_leaves_the_line():
    line = governor(1)
    ask(line, "a", "b")
    go(line)
    back(line, "b")

    assert line.waiting == ()
    assert line.in_use == 1


# ---- restarts and deaths


def test_an_adopted_worker_counts_until_it_has_spoken_or_is_dead():
    line = governor(2)
    for holder in ("a", "b", "c"):
        line.adopt(holder, P)
    ask(line, "new")

    assert go(line) == []
    assert line.in_use == 2

    line.settle("a", over=4)
    line.settle("b", over=7, holds=8)

    assert go(line) == []

    line.bury("c")

    assert go(line) == ["new"]

    line.settle("b", over=8)

    assert line.in_use == 1


def test_an_adopted_worker_that_asks_holds_nothing():
    line = governor(1)
    line.adopt("a", P)
    ask(line, "a", call=9)

    assert go(line) == ["a"]


def test_the_next_process_counts_from_one_again():
    line = governor(1)
    ask(line, "a", call=9)
    go(line)
    line.bury("a")
    ask(line, "a", call=1)

    assert go(line) == ["a"]


# ---- gates


def refuse(line: Governor, holder: str, retry_after_s: float | None, now_s: float, call: int = 1) -> None:
    line.refuse(holder, call, P, retry_after_s, now_s)
    back(line, holder, call, answered=False, now_s=now_s)


def test_a_refusal_closes_the_gate_for_everybody_and_it_opens_one_by_one():
    line = governor(3)
    ask(line, "a", "b", "c", "d", "e", "f")
    go(line)
    refuse(line, "a", 10.0, now_s=5)
    until_s = line.next_s(5)

    assert 15 <= until_s <= 16
    assert go(line, now_s=until_s - 0.01) == []
    assert list(line.gates(6)) == [(P, "rate_limit", until_s, 0)]

    for holder in ("b", "c"):  # these went out before: they say nothing of the gate
        back(line, holder, now_s=7)

    assert go(line, now_s=until_s) == ["d"]
    assert list(line.gates(until_s)) == [(P, "rate_limit", None, 1)]
    assert line.place("e", NOBODY, until_s)[1] == "rate_limit"

    line.succeed("d")
    line.succeed("d")

    assert go(line, now_s=until_s) == ["e"]

    line.succeed("e")

    assert list(line.gates(until_s)) == []
    assert go(line, now_s=until_s) == ["f"]


def test_another_provider_is_not_concerned():
    line = governor(3)
    ask(line, "a")
    go(line)
    refuse(line, "a", 10.0, now_s=0)
    ask(line, "b", provider=Q)

    assert go(line) == ["b"]


def test_without_a_word_for_how_long_the_gate_is_closed_longer_each_time_up_to_a_minute():
    line = governor(1)
    now_s, waits = 0.0, []
    for call in range(1, 10):
        ask(line, "a", call=call, now_s=now_s)
        go(line, now_s=now_s)
        refuse(line, "a", None, now_s, call)
        ask(line, "a", call=call + 1, now_s=now_s)
        waits.append(line.next_s(now_s) - now_s)
        now_s += waits[-1]

    assert all(s <= wait <= 1.1 * s for s, wait in zip((1, 2, 4, 8, 16, 32), waits, strict=False))
    assert 60 <= waits[-1] <= 66


def test_of_those_refused_together_one_counts():
    line = governor(3)
    ask(line, "a", "b", "c")
    go(line)
    for holder in ("a", "b", "c"):
        refuse(line, holder, None, 0.0)
    ask(line, "d")

    assert 1 <= line.next_s(0) <= 1.1


def test_nobody_is_sent_away_for_longer_than_an_hour_nor_into_the_past():
    line = governor(2)
    ask(line, "a", "b")
    go(line)
    refuse(line, "a", -5.0, 1.0)
    ask(line, "c")

    assert go(line, now_s=1.0) == ["c"]

    refuse(line, "b", 1e12, 2.0)
    ask(line, "d")

    assert 3_602 <= line.next_s(2) <= 3_607


def test_a_worker_that_remembers_the_bar_closes_the_gate_of_a_new_coordinator_once():
    line = governor(2)
    line.want("a", P, 2, 30.0, 0.0)

    assert go(line) == []
    until_s = line.next_s(0)
    assert 30 <= until_s <= 33

    line.bury("a")
    line.want("a", P, 2, 29.5, 1.0)

    assert line.next_s(1) == until_s


# ---- any order of everything


class Storm(RuleBasedStateMachine):
    """Workers as they are: one request at a time, counted; their words are lost, doubled and late; they die."""

    LIMIT, OF_P = 3, 2
    holders = st.sampled_from([f"h{n}" for n in range(6)])

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.line = self.new_line()
        self.calls: Counter[str] = Counter()
        self.wants: dict[str, int] = {}
        self.holds: dict[str, int] = {}
        self.late: list[tuple[str, tuple[int, int], int]] = []
        self.lives: Counter[str] = Counter()
        self.boots = 0

    def new_line(self) -> Governor:
        return Governor(self.LIMIT, {P: Limits(at_once=self.OF_P)})

    def provider(self, holder: str) -> str:
        return P if int(holder[1]) % 2 else Q

    def deliver(self, foreground: frozenset[str] = NOBODY) -> None:
        for holder, call in self.line.grant(foreground, self.now_s):
            if self.wants.get(holder) == call:  # else it has given up, and its next ping says so
                del self.wants[holder]
                self.holds[holder] = call

    @rule(holder=holders, is_seen=st.booleans())
    def ask(self, holder: str, *, is_seen: bool) -> None:
        if holder in self.holds:
            return
        if holder not in self.wants:
            self.calls[holder] += 1
            self.wants[holder] = self.calls[holder]
        self.line.want(holder, self.provider(holder), self.wants[holder], 0.0, self.now_s)
        self.deliver(frozenset({holder}) if is_seen else NOBODY)

    @rule(holder=holders, is_lost=st.booleans(), status=st.sampled_from([200, 429, None]))
    def end(self, holder: str, *, is_lost: bool, status: int | None) -> None:
        call = self.holds.pop(holder, None) or self.wants.pop(holder, None)
        if call is None:
            return
        self.late.append((holder, (self.boots, self.lives[holder]), call))
        if not is_lost:
            if status == 429:
                self.line.refuse(holder, call, self.provider(holder), None, self.now_s)
            self.line.give_back(holder, call, is_answered=status == 200, now_s=self.now_s)
        self.deliver()

    @rule(holder=holders)
    def ping(self, holder: str) -> None:
        over = self.calls[holder] - (holder in self.holds or holder in self.wants)
        self.line.settle(holder, over, self.holds.get(holder, 0))
        self.deliver()

    @rule(index=st.integers(0, 30))
    def come_late(self, index: int) -> None:
        if self.late:
            holder, life, call = self.late[index % len(self.late)]
            if life == (self.boots, self.lives[holder]):  # words of the dead are fenced, those to the dead not heard
                self.line.settle(holder, call - 1)
                self.line.want(holder, self.provider(holder), call, 0.0, self.now_s)
                self.line.give_back(holder, call, is_answered=True, now_s=self.now_s)

    @rule(holder=holders)
    def die(self, holder: str) -> None:
        self.holds.pop(holder, None)
        self.wants.pop(holder, None)
        self.calls[holder] = 0
        self.lives[holder] += 1
        self.line.bury(holder)
        self.deliver()

    @rule()
    def restart(self) -> None:
        self.boots += 1
        self.line = self.new_line()
        for holder in sorted(set(self.calls)):
            self.line.adopt(holder, self.provider(holder))

    @rule(seconds=st.floats(0.1, 70))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.deliver()

    @invariant()
    def requests_are_within_the_limits(self) -> None:
        assert len(self.holds) <= self.LIMIT
        assert sum(self.provider(h) == P for h in self.holds) <= self.OF_P

    @invariant()
    def every_request_is_known(self) -> None:
        assert len(self.line._held) >= len(self.holds)
        assert len(self.holds) <= self.line.in_use <= self.LIMIT

    def teardown(self) -> None:
        """Everybody pings, ends what it does, and gets its turn: nothing is lost and nobody starves."""
        for _ in range(25):
            for holder in sorted(self.calls):
                self.ping(holder)
                self.ask(holder, is_seen=False)
                if holder in self.holds:
                    self.end(holder, is_lost=False, status=200)
            self.now_s += 70
        assert all(calls >= 4 for calls in self.calls.values())
        for holder in sorted(self.calls):
            self.line.give_back(holder, self.calls[holder], is_answered=True, now_s=self.now_s)
        assert (self.line.in_use, self.line.waiting) == (0, ())


Storm.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestStorm = Storm.TestCase
