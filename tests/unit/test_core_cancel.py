"""A turn is ended before its time: by a person, by turn_timeout_s; and a turn that stands still is shown. The core."""

import pytest

from coordinator.core import events as ev
from protocol import messages as m
from protocol.views import Usage
from tests.support.simulated import Simulated, state


def running(**settings: object) -> tuple[Simulated, str]:
    """A world whose session a answers prompt 1."""
    world = Simulated(**settings)
    session = world.new("a")
    world.submit("a", "long", follow=True)
    world.report(session, m.Started, seq=1, turn_id="t")
    world.report(session, m.Delta, seq=1, turn_id="t", n=0, text="half")
    return world, session


def cancel(world: Simulated, seq: int = 1) -> list:
    world._requests += 1
    return world.say(m.Cancel(request=world._requests, session="a", seq=seq))


def reply(world: Simulated, session: str, stop_reason: str, text: str = "half") -> None:
    world.report(session, m.Reply, seq=1, turn_id="t", text=text, stop_reason=stop_reason, usage=Usage(), pieces=1)


def test_a_cancel_goes_to_the_worker_and_is_answered_when_the_end_is_stored():
    world, session = running()
    early = cancel(world)

    assert state(world, session) == ("live", "cancelling")
    assert early == []
    assert [message.seq for _, message in world.to_workers if isinstance(message, m.CancelTurn)] == [1]

    reply(world, session, "cancelled")

    assert world.heard(m.Cancelled)[-1].stop_reason == "cancelled"
    assert state(world, session) == ("live", "idle")
    assert not world.world.sessions[session].unread
    assert world.store.messages[session][-1]["text"] == "half"


def test_a_reply_that_was_faster_than_the_cancel_counts():
    world, session = running()
    cancel(world)
    reply(world, session, "completed", "whole")

    assert world.heard(m.Cancelled)[-1].stop_reason == "completed"


def test_a_worker_that_does_not_obey_is_ended_and_with_it_the_turn():
    world, session = running()
    cancel(world)
    world.advance(6)

    assert (session, 1, "SIGTERM") in world.signals

    world.die(session)

    assert world.heard(m.Cancelled)[-1].stop_reason == "cancelled"
    assert state(world, session) == ("hibernated", "idle")
    assert world.store.messages[session][-1]["text"] == "half"


def test_a_cancel_is_sent_again_until_the_worker_replies():
    world, _session = running()
    cancel(world)
    world.advance(3)

    assert len([1 for _, message in world.to_workers if isinstance(message, m.CancelTurn)]) >= 2


def test_a_prompt_that_waits_ends_at_once():
    world, session = running()
    world.submit("a", "next")
    cancel(world, seq=2)

    assert world.heard(m.Cancelled)[-1] == m.Cancelled(
        request=world._requests, session=session, seq=2, stop_reason="cancelled"
    )
    assert state(world, session) == ("live", "running")


def test_a_turn_that_asks_ends_at_once_and_its_ask_with_it():
    world, session = running()
    world.ask_for(session, 1, "aa11", text="half")
    cancel(world)

    assert world.heard(m.Cancelled)[-1].stop_reason == "cancelled"
    assert world.ask(m.ListAsks).asks == []
    assert state(world, session) == ("live", "idle")
    assert world.store.messages[session][-1]["text"] == "half"


def test_a_cancel_while_the_asks_are_being_stored_ends_the_turn_after_that():
    world = Simulated(commits_at_once=False)
    world.order_session("a")
    world.settle()
    session = next(iter(world.world.sessions))
    world.hello(session)
    world.settle()
    world.say(m.Submit(request=5, session="a", idem="k", text="x", follow=False))
    world.settle()
    world.ask_for(session, 1, "aa11", text="half")
    cancel(world)

    assert state(world, session) == ("live", "cancelling")

    world.settle()

    assert state(world, session) == ("live", "idle")
    assert world.store.messages[session][-1]["stop_reason"] == "cancelled"


def test_an_idle_session_has_nothing_to_cancel():
    world = Simulated()
    world.new("a")

    assert cancel(world, seq=0)[0].code == "turn.nothing_to_cancel"


def test_a_cancel_that_comes_again_for_a_turn_that_is_over_ends_no_later_one():
    world, session = running()
    cancel(world)
    reply(world, session, "cancelled")
    world.submit("a", "next")
    cancel(world, seq=1)

    assert state(world, session) == ("live", "running")
    assert world.heard(m.Cancelled)[-1].stop_reason == "cancelled"


# ---- time


def test_a_turn_that_works_longer_than_allowed_fails_with_its_text():
    world, session = running(turn_timeout_s=5)
    world.advance(8)

    assert state(world, session) == ("live", "cancelling")

    reply(world, session, "cancelled")
    final = world.heard(m.Final)[-1]

    assert (final.stop_reason, final.error.code) == ("failed", "turn.timeout")


def test_time_in_which_a_person_is_waited_for_does_not_count():
    world, session = running(turn_timeout_s=5)
    world.ask_for(session, 1, "aa11")
    for _ in range(10):
        world.advance(2)
        world.report(session, m.Ping, state="idle", turn_id=None, loop_lag_ms=0)

    assert state(world, session) == ("live", "requires_action")


@pytest.mark.parametrize("has_tool", [False, True])
def test_a_turn_that_stands_still_is_shown_as_stalled_unless_a_tool_runs(has_tool):
    world, session = running(stall_after_s=5)
    if has_tool:
        world.report(session, m.ToolState, seq=1, turn_id="t", call="c", tool="x", state="running", text="x")
    for _ in range(5):
        world.advance(2)
        world.report(session, m.Ping, state="running", turn_id="t", loop_lag_ms=0)

    assert world.ask(m.GetSession, session="a").session.work_detail["stalled"] is not has_tool

    world.report(session, m.Delta, seq=1, turn_id="t", n=1, text="more")
    world.step(ev.Ticked(1_700_000_000.0 + world.now_s))

    assert not world.ask(m.GetSession, session="a").session.work_detail["stalled"]
