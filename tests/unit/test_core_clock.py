"""The wall clock is shown and stored and decides nothing; deadlines move when we stood still. The core alone."""

import dataclasses

import pytest

from coordinator.core import events as ev
from protocol import messages as m
from tests.support.simulated import CLIENT, Simulated, state

DAY_S = 86_400.0


def set_clock(world: Simulated, wall_s: float) -> None:
    world.now_s += 1
    world.step(ev.Ticked(wall_s))


@pytest.mark.parametrize("jump_s", [-DAY_S, DAY_S])
def test_a_wall_clock_that_jumps_ends_no_worker_and_forgets_no_client(jump_s: float):
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one", follow=True)
    for second in range(8):
        world.report(session, m.Ping, state="idle", turn_id=None, loop_lag_ms=0)
        world.say(m.ClientPing())
        set_clock(world, 1_700_000_000.0 + second + jump_s * (second % 2))
    world.answer(session, 1, "hi")

    assert world.signals == []
    assert state(world, session) == ("live", "idle")
    assert [final.seq for final in world.heard(m.Final, CLIENT)] == [1]


def test_a_worker_that_is_silent_is_ended_however_the_wall_clock_jumps():
    world = Simulated()
    session = world.new("a")
    for second in range(12):
        set_clock(world, 1_700_000_000.0 - DAY_S * (second % 2))

    assert world.signals[0] == (session, 1, "SIGTERM")


@pytest.mark.parametrize("jump_s", [-DAY_S, DAY_S])
def test_who_was_used_last_keeps_its_worker_although_the_wall_clock_was_set(jump_s: float):
    world = Simulated(max_active_sessions=2)
    asleep = world.new("asleep")
    world.die(asleep)
    before = world.new("before")
    set_clock(world, 1_700_000_000.0 + jump_s)
    after = world.new("after")
    world.submit("asleep", "wake up")

    assert [state(world, s)[0] for s in (before, after)] == ["hibernating", "live"]


@pytest.mark.parametrize("jump_s", [-DAY_S, DAY_S])
def test_the_session_used_last_becomes_active_although_the_wall_clock_was_set(jump_s: float):
    world = Simulated()
    active, before, after = world.new("active"), world.new("before"), world.new("after")
    for session in (before, after):
        set_clock(world, 1_700_000_000.0 + (jump_s if session == after else 0))
        world.submit(session, "one", follow=True)
        world.answer(session, 1, "hi")
    world.say(m.Close(request=9, session="active"))
    world.die(active, signal=None, code=0)

    assert world.world.active["cli"] == after


def test_of_sessions_used_under_an_earlier_coordinator_the_stored_time_decides_and_any_use_since_counts_more():
    world = Simulated(max_active_sessions=3)
    asleep = world.new("asleep")
    world.die(asleep)
    used, older, newer = world.new("used"), world.new("older"), world.new("newer")
    for session, at in ((used, 1.0), (older, 2.0), (newer, 3.0)):
        world.store.sessions[session]["change"] = _created(world, session, at)
    world.reboot()
    for session in (used, older, newer):
        world.hello(session)
    set_clock(world, 0.5)  # set back: the prompt is older than everything that is stored
    world.submit(used, "one", follow=True)
    world.answer(used, 1, "hi")
    world.submit("asleep", "wake up")

    assert [state(world, s)[0] for s in (used, older, newer)] == ["live", "hibernating", "live"]


def _created(world: Simulated, session: str, at: float):
    return dataclasses.replace(world.store.sessions[session]["change"], at=at)


# ---- the coordinator itself stands still: SIGSTOP, a machine that sleeps


def stall(world: Simulated, seconds: float) -> None:
    """Nothing happens for so long; then what was due comes first, before anything that waits in the sockets."""
    world.now_s += seconds
    world.advance(1)


def test_a_start_that_was_due_during_a_stall_waits_for_a_hello_that_is_already_on_its_way():
    world = Simulated(start_timeout_s=5)
    session = world.create("a").session.id
    world.advance(1)
    stall(world, 60)

    assert world.signals == []

    world.hello(session)
    world.advance(8)

    assert world.signals == []
    assert state(world, session)[0] == "live"


def test_a_worker_that_says_no_hello_is_ended_although_there_was_a_stall():
    world = Simulated(start_timeout_s=5)
    session = world.create("a").session.id
    world.advance(1)
    stall(world, 60)
    world.advance(8)

    assert world.signals[0] == (session, 1, "SIGTERM")


def test_an_adopted_worker_is_given_its_time_to_say_hello_again_after_a_stall():
    world = Simulated(start_timeout_s=5)
    session = world.new("a")
    world.reboot()
    world.advance(1)
    stall(world, 60)
    world.hello(session)

    assert world.signals == []
    assert state(world, session)[0] == "live"


def test_after_a_stall_nobody_is_forgotten_and_the_next_silence_counts_in_full():
    world = Simulated()
    session = world.new("a")
    world.advance(1)
    stall(world, 60)

    assert [pong.boot for pong in world.say(m.ClientPing())] == [1]  # 0 would say that this client is unknown
    assert world.signals == []

    world.advance(12)

    assert world.signals[0] == (session, 1, "SIGTERM")
    assert [pong.boot for pong in world.say(m.ClientPing())] == [0]
