"""Things that happen at the same time as others: each of these once left somebody waiting, or wrong. The core alone."""

import pytest

from coordinator.core import effects as e
from coordinator.core import events as ev
from protocol import messages as m
from protocol.views import Memory
from tests.support.simulated import CLIENT, FIRST, Simulated, live, state


def submit(world: Simulated, key: str, *, follow: bool = False, peer: bytes = CLIENT) -> None:
    world.say(m.Submit(request=50, session=FIRST, idem=key, text=f"text of {key}", follow=follow), peer)


def live_for(world: Simulated, session: str, seconds: int) -> None:
    """Let time pass with a worker that pings."""
    for _ in range(seconds):
        world.advance(1)
        world.report(session, m.Ping, state="idle", turn_id=None, loop_lag_ms=0)


@pytest.mark.parametrize("why_busy", ["turn", "attached"])
def test_who_waits_in_line_gets_the_slot_when_a_busy_session_becomes_idle(why_busy: str):
    world = Simulated(max_active_sessions=1)
    sleeper = world.new("sleeper")
    world.die(sleeper)
    busy = world.new("busy")
    if why_busy == "turn":
        world.submit("busy", "one")
    else:
        world.ask(m.Attach, session="busy")
    world.submit("sleeper", "wake up")

    assert (state(world, busy)[0], state(world, sleeper)[0]) == ("live", "queued")

    if why_busy == "turn":
        world.answer(busy, 1, "done")
    else:
        world.ask(m.Attach, session=None)

    assert state(world, busy)[0] == "hibernating"

    world.die(busy, signal=None, code=0)

    assert state(world, sleeper)[0] == "starting"


def test_a_session_that_makes_room_does_not_take_the_slot_back_before_the_line():
    world = Simulated(max_active_sessions=1)
    sleeper = world.new("sleeper")
    world.die(sleeper)
    idle = world.new("idle")
    world.submit("sleeper", "wake up")
    world.doze(idle)
    world.submit("idle", "a late prompt")
    world.die(idle, signal=None, code=0)

    assert (state(world, sleeper)[0], state(world, idle)[0]) == ("starting", "queued")


def test_a_session_that_the_store_does_not_take_gives_its_slot_to_the_line():
    world = live(max_active_sessions=1)
    world.die(FIRST)
    world.settle()
    world.order_session("b")
    insert = world.pending.popleft()
    submit(world, "k")
    world.settle()

    assert state(world, FIRST)[0] == "queued"

    world.step(ev.CommitFailed(insert, "disk full"))

    assert state(world, FIRST)[0] == "starting"


def test_a_stop_ends_also_when_the_last_slot_was_that_of_a_session_the_store_did_not_take():
    world = Simulated(commits_at_once=False)
    world.order_session("a")
    insert = world.pending.popleft()
    world.step(ev.StopAsked(now=False))
    world.step(ev.CommitFailed(insert, "disk full"))

    assert world.left


def test_a_kill_of_a_large_worker_that_nobody_sent_is_suspected_to_be_for_memory():
    world = Simulated()
    session = world.new("a")
    world.step(ev.MemorySampled(session, 1, Memory(rss_bytes=4 << 30)))
    world.die(session)

    assert world.world.sessions[session].exit_card.oom_suspected


def test_an_acknowledged_prompt_of_a_closed_session_is_marked_by_the_next_coordinator():
    world = live()
    submit(world, "k")
    prompt = world.pending.popleft()
    world.say(m.Close(request=6, session="a"))
    world.step(ev.Committed(prompt, world.store.apply(prompt)))
    while not isinstance(world.pending[0], e.SaveClosed):
        world.pending.popleft()
    world.step_one()
    world.reboot()
    world.die(FIRST)
    world.settle()

    assert world.store.messages[FIRST][-1]["stop_reason"] == "cancelled"


def test_a_prompt_to_a_session_that_gives_up_is_marked_with_the_reason_and_who_waits_hears_it():
    world = Simulated()
    session = world.new("a")
    world.die(session)
    world.submit("a", "one", follow=True)
    world.step(ev.SpawnFailed(session, world.epoch(session), "the folder is gone", fatal=True))
    (final,) = world.heard(m.Final)

    assert (final.stop_reason, final.error.code) == ("failed", "session.failed")
    assert "the folder is gone" in final.error.message
    assert world.store.unanswered(session) == []


def test_a_name_is_kept_until_a_rename_is_durable_and_the_new_one_is_reserved():
    world = live()
    world.say(m.Rename(request=1, session="a", name="b"))
    (old,) = world.order_session("a")
    (new,) = world.order_session("b")
    (again,) = world.say(m.Rename(request=2, session="a", name="c"))

    assert [r.code for r in (old, new, again)] == ["name.taken"] * 3

    world.step(ev.CommitFailed(world.pending.popleft(), "disk full"))

    assert world.world.sessions[FIRST].name == "a"
    assert world.order_session("b") == []  # the name is free


def test_who_follows_a_prompt_that_comes_while_the_last_reply_is_being_committed_hears_its_own():
    world = live()
    world.say(m.ClientHello(client="x", pid=1), b"B")
    submit(world, "one")
    world.settle()
    world.answer(FIRST, 1, "first")  # its commit is under way
    submit(world, "two", follow=True, peer=b"B")
    world.settle()
    world.answer(FIRST, 3, "second")
    world.settle()

    assert [f.seq for f in world.heard(m.Final, b"B")] == [3]
    assert [p.text for p in world.heard(m.Piece, b"B")] == ["second"]


def test_a_refused_prompt_leaves_nobody_following():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one", "key")
    world.answer(session, 1, "x")
    world.submit("a", "another text", "key", follow=True)
    world.submit("a", "two")
    world.answer(session, 3, "y")

    assert world.world.sessions[session].unread


def test_an_older_value_is_not_committed_again_after_a_newer_one():
    world = live(restart_limit=0)
    world.say(m.Submit(request=50, session="a", idem="k0", text="x", follow=False))
    world.settle()
    world.die(FIRST)
    (failed,) = [p for p in world.pending if isinstance(p, e.SaveFailed)]
    world.pending.remove(failed)
    world.settle()
    world.step(ev.CommitFailed(failed, "disk full"))
    submit(world, "k")
    world.settle()
    world.hello(FIRST)
    world.settle()
    world.step(ev.Ticked(0))
    world.settle()

    assert state(world, FIRST)[0] == "live"
    assert not world.store.sessions[FIRST]["failed"]


def test_who_comes_to_look_while_a_reply_is_being_committed_has_seen_it():
    world = live()
    submit(world, "k")
    world.settle()
    world.answer(FIRST, 1, "one")
    world.say(m.Attach(request=7, session="a"))
    world.settle()

    assert not world.world.sessions[FIRST].unread
    assert not world.store.sessions[FIRST]["unread"]


def test_a_stall_gives_nobody_more_time_than_there_was():
    world = Simulated()
    session = world.new("a")
    world.advance(1)
    world.now_s += 600
    world.report(session, m.Ping, state="idle", turn_id=None, loop_lag_ms=0)
    world.step(ev.Ticked(0))
    world.advance(12)

    assert world.signals[0][2] == "SIGTERM"


def test_a_late_hello_of_a_dead_worker_is_fenced_while_its_successor_is_being_prepared():
    world = live()
    token = world.processes[FIRST, 1]
    world.die(FIRST)
    world.settle()
    submit(world, "k")
    world.step_one()  # the prompt; the new epoch is ordered
    answers = world.report(FIRST, m.Hello, 1, token=token, pid=101)

    assert [type(a) for a in answers] == [m.Fenced]
    assert state(world, FIRST)[0] == "waking"


def test_a_prompt_is_not_delivered_again_to_a_worker_that_was_told_to_leave():
    world = live()
    submit(world, "k")
    world.settle()
    world.say(m.Close(request=9, session="a"))
    before = len(world.to_workers)
    world.advance(1)
    world.advance(1)

    assert not [w for _, w in world.to_workers[before:] if isinstance(w, m.Deliver)]


def test_what_the_store_did_not_take_is_tried_once_more_before_the_end():
    world = live()
    submit(world, "k")
    world.settle()
    world.report(FIRST, m.Started, seq=1, turn_id="t")
    world.settle()
    world.die(FIRST)
    marks = [p for p in world.pending if isinstance(p, e.InsertReply)]
    world.pending.remove(marks[0])
    world.settle()
    world.step(ev.CommitFailed(marks[0], "busy"))
    world.step(ev.StopAsked(now=True))
    world.settle()

    assert world.left
    assert world.store.unanswered(FIRST) == []


def test_an_idle_session_with_a_heartbeat_lives_on():
    world = Simulated()
    session = world.new("a")
    live_for(world, session, 60)

    assert state(world, session)[0] == "live"
    assert world.signals == []


def test_a_store_that_dies_ends_the_coordinator_with_the_reason():
    world = live()

    assert world.machine.step(ev.StoreEnded("a bug"), 0) == [e.LeaveLoop(error="the store ended: a bug")]
