"""Sessions as clients order them: created, named, limited, switched, closed. The core alone."""

import pytest

from coordinator.core import events as ev
from protocol import messages as m
from tests.support.simulated import FIRST, Simulated, state


def test_a_new_session_is_answered_when_it_is_committed_and_not_before():
    world = Simulated(commits_at_once=False)
    order = m.Create(request=1, id=FIRST, name="a", type="debug", model=None, system=None, cwd="/", env={})

    assert world.say(order) == []

    world.settle()

    (answer,) = world.heard(m.SessionAnswer)
    assert (answer.session.name, answer.session.residency, answer.session.active) == ("a", "starting", True)
    assert world.processes  # the worker was ordered after the commit


def test_names_and_slots_are_reserved_before_the_commit():
    world = Simulated(commits_at_once=False, max_active_sessions=1)
    world.order_session("a")
    same = world.order_session("a")
    other = world.order_session("b", queue=False)

    assert [r.code for r in same] == ["name.taken"]
    assert [r.code for r in other] == ["session.limit"]


def test_a_session_that_the_store_does_not_take_leaves_no_trace():
    world = Simulated(commits_at_once=False, max_active_sessions=1)
    world.order_session("a")
    world.step(ev.CommitFailed(world.pending.popleft(), "disk full"))

    assert world.heard(m.Refused)[-1].code == "store.failed"
    assert world.world.sessions == {}


def test_the_limit_names_the_holders_and_a_closed_session_frees_its_slot_when_its_process_is_dead():
    world = Simulated(max_active_sessions=2)
    one = world.new("one")
    world.new("two")

    assert "held, by: one, two" in world.create("three", queue=False).message

    world.say(m.Close(request=90, session="one"))
    still = world.create("three", queue=False)
    world.die(one, signal=None, code=0)
    freed = world.create("three")

    assert isinstance(still, m.Refused)  # its process was not dead yet
    assert isinstance(freed, m.SessionAnswer)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"type": "nosuch"}, "value.illegal"),
        ({"model": "nosuch"}, "model.unknown"),
        ({"system": "x" * 70_000}, "value.illegal"),
        ({"cwd": "/" * 5_000}, "value.illegal"),
        ({"env": {"A": "x" * 200_000}}, "value.illegal"),
    ],
)
def test_a_create_with_an_illegal_field_is_refused(fields: dict, code: str):
    assert Simulated().create("a", **fields).code == code


def test_the_active_session_belongs_to_the_client_and_the_last_used_takes_over_after_a_close():
    world = Simulated()
    world.say(m.ClientHello(client="tty", pid=2), b"other")
    one, two, three = (world.new(name) for name in ("one", "two", "three"))
    world.ask(m.Switch, session="three")
    world.ask(m.Switch, b"other", session="one")
    world.now_s += 10
    world.submit("two", "hello")
    world.say(m.Close(request=99, session="three"))
    world.die(three, signal=None, code=0)

    assert world.world.active == {"cli": two, "tty": one}


def test_a_rename_that_the_store_does_not_take_is_taken_back():
    world = Simulated(commits_at_once=False)
    world.order_session("a")
    world.settle()
    world.say(m.Rename(request=2, session="a", name="b"))
    world.step(ev.CommitFailed(world.pending.popleft(), "disk full"))

    assert world.world.sessions[FIRST].name == "a"
    assert world.heard(m.Refused)[-1].request == 2


def test_closing_cancels_the_running_turn_and_what_waits_and_keeps_what_was_said():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one")
    world.submit("a", "two")
    world.report(session, m.Started, seq=1, turn_id="t")
    world.report(session, m.Delta, seq=1, turn_id="t", n=0, text="half")
    world.say(m.Close(request=77, session="a"))

    assert state(world, session)[0] == "stopping"

    world.die(session, signal=None, code=0)
    marks = {
        (row["reply_to"], row["text"], row["stop_reason"]) for row in world.store.messages[session] if "reply_to" in row
    }

    assert marks == {(1, "half", "cancelled"), (2, "", "cancelled")}
    assert state(world, session) == ("stopped", "idle")
    assert world.submit(session, "three").code == "session.closed"


def test_a_close_wins_over_a_restart():
    world = Simulated()
    session = world.create("a").session.id
    world.die(session)  # waits for its restart
    world.say(m.Close(request=77, session="a"))
    world.advance(20)

    assert state(world, session)[0] == "stopped"
    assert not world.processes


def test_a_close_between_the_commit_of_the_epoch_and_the_start_starts_nothing():
    world = Simulated(commits_at_once=False)
    world.order_session("a")
    world.settle()
    world.hello(FIRST)
    world.die(FIRST)
    world.settle()
    world.say(m.Submit(request=2, session="a", idem="k", text="hello", follow=False))
    world.step_one()  # the prompt is committed, the epoch is ordered
    processes = dict(world.processes)
    world.say(m.Close(request=3, session="a"))
    world.settle()

    assert state(world, FIRST)[0] == "stopped"
    assert world.processes == processes


def test_a_stop_waits_for_running_turns_and_then_ends_them():
    world = Simulated()
    idle, busy = world.new("idle"), world.new("busy")
    world.submit("busy", "one")
    world.report(busy, m.Started, seq=1, turn_id="t")
    world.step(ev.StopAsked(now=False))

    assert (state(world, idle)[0], state(world, busy)[0]) == ("hibernating", "live")
    assert world.create("late").code == "coordinator.stopping"
    assert world.submit("busy", "late").code == "coordinator.stopping"

    world.die(idle, signal=None, code=0)
    world.advance(5)

    assert state(world, busy)[0] == "hibernating"
    assert not world.left

    world.die(busy, signal=None, code=0)

    assert world.left
    assert world.store.messages[busy][-1]["stop_reason"] == "interrupted"


def test_a_turn_that_ends_during_a_stop_is_kept_whole():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one")
    world.report(session, m.Started, seq=1, turn_id="turn-x")
    world.step(ev.StopAsked(now=False))
    world.answer(session, 1, "whole", started=False)

    assert state(world, session)[0] == "hibernating"
    assert world.store.messages[session][-1]["text"] == "whole"


def test_an_urgent_stop_waits_for_nobody():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one")
    world.report(session, m.Started, seq=1, turn_id="t")
    world.step(ev.StopAsked(now=True))

    assert state(world, session)[0] == "hibernating"


def test_without_descriptors_for_one_more_worker_new_sessions_are_refused_and_prompts_wait():
    world = Simulated()
    asleep = world.new("asleep")
    world.die(asleep)
    world.step(ev.DescriptorsCounted(used=100, limit=128))  # a start takes up to 3, and 80 % are 102
    refused = world.create("b")
    world.submit("asleep", "hello")

    assert (refused.code, "100 of its 128 file descriptors" in refused.message) == ("descriptors.short", True)
    assert state(world, asleep)[0] == "queued"

    world.step(ev.DescriptorsCounted(used=99, limit=128))
    world.step(ev.Ticked(0))

    assert state(world, asleep)[0] == "starting"


def test_workers_on_their_way_count_as_descriptors():
    world = Simulated()
    world.step(ev.DescriptorsCounted(used=96, limit=128))

    assert isinstance(world.create("a"), m.SessionAnswer)
    assert isinstance(world.create("b"), m.SessionAnswer)
    assert world.create("c").code == "descriptors.short"
