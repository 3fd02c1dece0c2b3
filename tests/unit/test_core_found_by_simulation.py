"""What the simulation found, each as the shortest story that shows it."""

import pytest

from coordinator.core import effects as e
from coordinator.core import events as ev
from protocol import messages as m
from protocol.views import Usage
from tests.support.simulated import FIRST, Simulated, live, state


def started(epoch: int) -> m.Started:
    return m.Started(session=FIRST, epoch=epoch, seq=1, turn_id=f"t{epoch}")


def reply(epoch: int) -> m.Reply:
    return m.Reply(
        session=FIRST, epoch=epoch, seq=1, turn_id=f"t{epoch}", text="paid for", stop_reason="completed",
        usage=Usage(input_tokens=3, output_tokens=4), pieces=1,
    )  # fmt: skip


def ends(world: Simulated) -> list[tuple[int, str, str]]:
    """Return what each prompt came to: its seq, its end, the text."""
    rows = world.store.messages[FIRST]
    return [(row["reply_to"], row["stop_reason"], row["text"]) for row in rows if "reply_to" in row]


def prompted(text: str = "one", **settings: object) -> Simulated:
    """A world whose commits wait, with a prompt that was delivered to the worker."""
    world = live(**settings)
    send(world, text)
    return world


def send(world: Simulated, text: str) -> None:
    world.say(m.Submit(request=1, session=FIRST, idem=text, text=text, follow=False))
    world.settle()


def begun(**settings: object) -> Simulated:
    """The same, and its turn has begun."""
    world = prompted(**settings)
    world.step(ev.WorkerSpoke(world.peer(FIRST), started(1)))
    world.settle()
    return world


def settle_but(world: Simulated, failing: type) -> None:
    """Commit what waits; the disk does not take changes of one kind."""
    while world.pending:
        if isinstance(world.pending[0], failing):
            world.step(ev.CommitFailed(world.pending.popleft(), "disk full"))
        else:
            world.step_one()


def delivered(world: Simulated, epoch: int) -> list[int]:
    """Return the prompts that went to a worker."""
    peer = world.peer(FIRST, epoch)
    return [message.seq for to, message in world.to_workers if to == peer and isinstance(message, m.Deliver)]


def answers(world: Simulated, kind: type, request: int) -> list[m.Message]:
    return [answer for answer in world.heard(kind) if answer.request == request]


# ---- a close


def test_a_close_is_answered_when_it_is_durable_and_not_before():
    world = live()
    world.say(m.Close(request=9, session="a"))
    world.die(FIRST, signal=None, code=0)

    assert answers(world, m.SessionAnswer, 9) == []

    world.settle()

    assert [answer.session.residency for answer in answers(world, m.SessionAnswer, 9)] == ["stopped"]


def test_a_close_that_the_disk_does_not_take_is_refused_and_saved_later():
    world = live()
    world.say(m.Close(request=9, session="a"))
    settle_but(world, e.SaveClosed)
    world.die(FIRST, signal=None, code=0)

    assert [answer.code for answer in answers(world, m.Refused, 9)] == ["store.failed"]
    assert not world.store.sessions[FIRST]["closed"]

    world.advance(1)
    world.settle()

    assert world.store.sessions[FIRST]["closed"]
    assert answers(world, m.SessionAnswer, 9) == []


def test_a_second_close_is_answered_once_the_first_is_durable():
    world = live()
    world.say(m.Close(request=9, session="a"))
    settle_but(world, e.SaveClosed)
    world.die(FIRST, signal=None, code=0)
    world.say(m.Close(request=10, session="a"))
    world.advance(1)
    world.settle()

    assert [answer.session.residency for answer in answers(world, m.SessionAnswer, 10)] == ["stopped"]


def test_a_close_right_after_a_restart_keeps_what_the_worker_had_finished():
    world = begun()
    world.reboot()
    world.say(m.Close(request=9, session="a"))
    world.settle()
    world.die(FIRST, signal=None, code=0, outbox=(started(1), reply(1)))
    world.settle()

    assert ends(world) == [(1, "completed", "paid for")]


@pytest.mark.parametrize("order", [m.Close(request=9, session="a"), m.ShutDown(request=9, now=True)])
def test_a_worker_that_is_told_to_leave_as_it_says_hello_may_still_hand_over_its_reply(order):
    world = begun()
    world.reboot()
    world.say(order)
    world.settle()
    world.hello(FIRST, seq=1, turn_id="t1")
    world.to_workers.clear()
    world.step(ev.WorkerSpoke(world.peer(FIRST), reply(1)))

    assert world.to_workers == []

    world.settle()

    assert ends(world) == [(1, "completed", "paid for")]
    assert [message for _, message in world.to_workers] == [m.Rack(turn_id="t1")]


def test_a_prompt_that_was_cancelled_by_a_close_leaves_nothing_to_read():
    world = prompted()
    world.say(m.Close(request=9, session="a"))
    world.die(FIRST, signal=None, code=0)
    world.settle()

    assert ends(world) == [(1, "cancelled", "")]
    assert world.world.sessions[FIRST].display == "stopped"


# ---- a turn that begins again


def test_a_worker_that_dies_before_it_says_hello_again_is_resumed_and_the_new_reply_counts():
    world = begun(on_interrupt="resume")
    world.reboot()
    world.die(FIRST, outbox=(started(1),))
    world.settle()
    world.advance(1)
    world.settle()
    world.hello(FIRST)
    world.settle()
    world.die(FIRST, outbox=(started(2), reply(2)))
    world.settle()

    assert delivered(world, 2) == [1]
    assert ends(world) == [(1, "completed", "paid for")]


def test_a_turn_does_not_begin_again_before_that_is_durable():
    world = begun(on_interrupt="resume")
    world.die(FIRST, outbox=(started(1),))
    settle_but(world, e.SaveResumed)
    world.advance(0.5)
    settle_but(world, e.SaveResumed)
    world.hello(FIRST)
    settle_but(world, e.SaveResumed)

    assert state(world, FIRST)[0] == "live"
    assert delivered(world, 2) == []

    world.advance(1)
    world.settle()

    assert delivered(world, 2) == [1]


def test_a_turn_that_a_worker_of_the_past_began_is_not_taken_for_one_of_the_worker_that_says_hello():
    world = begun(on_interrupt="resume")
    world.die(FIRST, outbox=(started(1),))
    settle_but(world, e.SaveResumed)
    world.advance(0.5)
    settle_but(world, e.SaveResumed)  # epoch 2 is durable, and that the turn begins again is not
    world.outboxes[FIRST, 1] = (started(1),)
    world.reboot()
    world.hello(FIRST)
    world.settle()
    world.die(FIRST, outbox=(started(2), reply(2)))
    world.settle()

    assert delivered(world, 2) == [1]
    assert ends(world) == [(1, "completed", "paid for")]


# ---- the order of prompts


def test_nothing_is_delivered_while_the_end_of_an_earlier_prompt_is_not_durable():
    world = prompted(restart_limit=0)
    world.die(FIRST)
    settle_but(world, e.InsertReply)
    world.say(m.Submit(request=2, session=FIRST, idem="two", text="two", follow=False))
    settle_but(world, e.InsertReply)
    world.hello(FIRST)
    settle_but(world, e.InsertReply)

    assert state(world, FIRST)[0] == "live"
    assert delivered(world, 2) == []

    world.advance(1)
    world.settle()

    assert [seq for seq, _, _ in ends(world)] == [1]
    assert delivered(world, 2) == [2]


def test_what_an_earlier_coordinator_delivered_is_answered_although_this_one_is_read_only():
    world = prompted()
    world.reboot()
    world.step(ev.StoreTurned("disk full"))
    world.hello(FIRST)  # the worker reads its history first, and begins the turn only then
    world.settle()
    world.to_workers.clear()
    world.step(ev.WorkerSpoke(world.peer(FIRST), started(1)))
    world.step(ev.WorkerSpoke(world.peer(FIRST), reply(1)))

    assert world.to_workers == []

    world.step(ev.StoreTurned(None))
    world.settle()

    assert ends(world) == [(1, "completed", "paid for")]
    assert [message for _, message in world.to_workers] == [m.Rack(turn_id="t1")]


def test_a_reply_is_not_confirmed_while_the_mark_of_its_prompt_is_not_durable():
    world = live()
    for text in ("one", "two"):
        send(world, text)
    world.say(m.Close(request=9, session="a"))
    world.to_workers.clear()
    late = m.Reply(
        session=FIRST, epoch=1, seq=2, turn_id="t", text="", stop_reason="completed", usage=Usage(), pieces=0
    )
    world.step(ev.WorkerSpoke(world.peer(FIRST), late))

    assert world.to_workers == []

    world.settle()
    world.step(ev.WorkerSpoke(world.peer(FIRST), late))

    assert [message for _, message in world.to_workers][-1] == m.Rack(turn_id="t")


# ---- listeners


def test_listeners_hear_of_an_end_that_no_worker_reported():
    world = begun()
    world.processes.clear()
    world.outboxes[FIRST, 1] = (started(1),)
    world.reboot()
    world.say(m.Listen(request=5))
    world.settle()

    assert ends(world) == [(1, "interrupted", "")]
    assert [(change.before, change.after) for change in world.heard(m.Changed)] == [("hibernated", "unread")]


def test_listeners_hear_of_a_session_when_it_is_durable_and_not_before():
    world = Simulated(commits_at_once=False)
    world.say(m.Listen(request=5))
    world.order_session("a")

    assert world.heard(m.Changed) == []

    world.settle()

    assert [(change.before, change.after) for change in world.heard(m.Changed)] == [(None, "starting")]


# ---- names


def numbers(world: Simulated) -> dict[str, int]:
    """Return the numbers of the sessions that are not closed, by name."""
    return {s.name: s.number for s in world.world.sessions.values() if not s.is_closed}


def test_a_session_holds_its_name_and_number_until_its_close_is_durable():
    world = live()
    world.say(m.Close(request=5, session="a"))
    settle_but(world, e.SaveClosed)
    [refused] = world.order_session("a")
    world.order_session(None)

    assert isinstance(refused, m.Refused)
    assert "still being closed" in refused.message
    assert numbers(world) == {"session-2": 2}

    world.advance(10)
    world.settle()
    world.order_session("a")

    assert numbers(world) == {"session-2": 2, "a": 1}
