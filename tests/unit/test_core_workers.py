"""Workers that are born, die, hang and outlive their coordinator. The core alone."""

import hashlib

from coordinator.core import events as ev
from coordinator.core.effects import InsertReply
from coordinator.core.lifecycle import Residency
from protocol import messages as m
from tests.support.simulated import FIRST, Simulated, state


def test_only_the_worker_of_the_current_epoch_with_its_token_is_welcomed():
    world = Simulated()
    session = world.new("a")
    world.die(session)
    world.submit("a", "one")
    wrong_token = world.report(session, m.Hello, token=b"x", pid=1)
    old_epoch = world.report(session, m.Hello, 1, token=f"{session}-1".encode(), pid=1)
    right = world.hello(session)

    assert [type(a) for a in wrong_token + old_epoch] == [m.Fenced, m.Fenced]
    assert [type(a) for a in right] == [m.Welcome, m.Deliver]


def test_a_report_of_an_old_epoch_is_fenced_and_one_of_a_stranger_is_ignored():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one")
    world.die(session)
    world.advance(1)  # the next worker has been started
    old = world.report(session, m.Ping, 1, state="idle", turn_id=None, loop_lag_ms=0)

    assert [type(a) for a in old] == [m.Fenced]

    world.hello(session)
    world.step(ev.WorkerSpoke(b"stranger", m.Started(session=session, epoch=world.epoch(session), seq=1, turn_id="x")))

    assert world.world.sessions[session].turn.turn_id is None


def test_a_worker_that_dies_idle_leaves_a_hibernated_session_with_an_exit_card():
    world = Simulated()
    session = world.new("a")
    world.die(session)
    found = world.world.sessions[session]

    assert state(world, session) == ("hibernated", "idle")
    assert (found.pid, found.exit_card.signal, found.exit_card.stderr_tail) == (None, "SIGKILL", "last words")

    world.submit("a", "one")

    assert state(world, session) == ("waking", "idle")
    assert found.epoch == 2


def test_a_started_turn_is_interrupted_by_a_crash_and_never_runs_again_by_itself():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one", follow=True)
    world.report(session, m.Started, seq=1, turn_id="t")
    world.report(session, m.Delta, seq=1, turn_id="t", n=0, text="half")
    world.die(session)
    (ended,) = [row for row in world.store.messages[session] if row.get("reply_to")]

    assert (ended["text"], ended["stop_reason"]) == ("half", "interrupted")
    assert world.heard(m.Final)[-1].stop_reason == "interrupted"
    assert world.world.sessions[session].residency is Residency.BACKOFF

    world.advance(1)
    again = world.hello(session)

    assert [type(a) for a in again] == [m.Welcome]


def test_a_prompt_whose_turn_had_not_started_is_delivered_to_the_next_worker():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one")
    world.die(session)
    world.advance(1)
    again = world.hello(session)

    assert [type(a) for a in again] == [m.Welcome, m.Deliver]
    assert again[1].text == "one"


def test_a_crash_of_one_session_changes_nothing_about_another():
    world = Simulated()
    one, two = world.new("one"), world.new("two")
    world.submit("two", "hello")
    before = world.world.sessions[two]
    snapshot = (before.residency, before.work, before.epoch, before.turn, before.peer)
    for _ in range(8):
        world.die(one)
        world.advance(12)
        world.submit("one", "again")

    assert snapshot == (before.residency, before.work, before.epoch, before.turn, before.peer)


def test_crashes_beyond_the_limit_fail_the_session_and_a_prompt_tries_again():
    world = Simulated(restart_limit=2)
    session = world.create("a").session.id
    for _ in range(3):
        world.die(session)
        world.advance(1)

    assert state(world, session) == ("failed", "idle")
    assert not world.world.sessions[session].holds_slot

    world.submit("a", "one")

    assert state(world, session) == ("waking", "idle")


def test_a_spawn_that_cannot_work_fails_at_once_with_the_reason():
    world = Simulated()
    session = world.new("a")
    world.die(session)
    world.submit("a", "one")
    world.step(ev.SpawnFailed(session, world.epoch(session), "the working directory /x is gone", fatal=True))

    assert state(world, session)[0] == "failed"
    assert world.world.sessions[session].exit_card.reason == "the working directory /x is gone"


def test_a_worker_that_never_says_hello_is_ended_and_its_session_starts_again():
    world = Simulated(start_timeout_s=5)
    session = world.create("a").session.id
    world.advance(6)

    assert world.signals[0] == (session, 1, "SIGTERM")

    world.advance(2)

    assert world.signals[1] == (session, 1, "SIGKILL")

    world.die(session)
    world.advance(1)

    assert world.epoch(session) == 2


def test_a_silent_worker_is_ended_and_a_stall_of_the_coordinator_ends_nobody():
    world = Simulated()
    session = world.new("a")
    world.advance(1)
    world.now_s += 60  # the machine slept
    world.step(ev.Ticked(0))
    world.advance(5)

    assert world.signals == []

    world.advance(8)

    assert world.signals[0] == (session, 1, "SIGTERM")


def test_a_prompt_to_a_sleeping_session_at_the_cap_puts_the_least_used_idle_one_to_sleep():
    world = Simulated(max_active_sessions=2)
    old = world.new("old")
    world.die(old)
    one, two = world.new("one"), world.new("two")
    world.now_s += 5
    world.submit("one", "hello")
    world.answer(one, 1, "hi")
    world.submit("old", "wake up")

    assert state(world, old)[0] == "queued"
    assert state(world, two)[0] == "hibernating"
    assert state(world, one)[0] == "live"

    world.die(two, signal=None, code=0)

    assert (state(world, two)[0], state(world, old)[0]) == ("hibernated", "starting")
    assert world.world.sessions[two].exit_card is None  # it left as it was asked to


def stored(**fields: object) -> ev.StoredSession:
    known = {
        "id": FIRST, "name": "a", "number": 1, "type": "debug", "model": "m", "system": None, "cwd": "/",
        "env": {}, "epoch": 3, "token_sha256": b"", "closed": False, "failed": False, "unread": False, "messages": 1,
        "tokens": 0, "created_at": 1.0, "last_active_at": 1.0, "exit_card": None, "unanswered": (), "pid": None,
        "start_ticks": None,
    }  # fmt: skip
    return ev.StoredSession(**(known | fields))


def boot(world: Simulated, session: ev.StoredSession, *, alive: bool) -> None:
    world.store.sessions[session.id] = {"epoch": session.epoch}
    world.store.messages[session.id] = [{"seq": p.seq, "text": p.text} for p in session.unanswered]
    world.step(ev.Booted(2, "node", 0.0, (session,), {}, frozenset({session.id} if alive else ())))


def test_a_prompt_that_was_waiting_is_served_by_the_next_coordinator():
    world = Simulated()
    boot(world, stored(unanswered=(ev.StoredPrompt(1, "one", None),)), alive=False)

    assert state(world, FIRST)[0] == "waking"
    assert world.hello(FIRST)[1].text == "one"


def test_a_turn_that_had_started_in_a_worker_that_is_gone_is_interrupted():
    world = Simulated()
    boot(world, stored(unanswered=(ev.StoredPrompt(1, "one", "t"),)), alive=False)

    assert world.store.messages[FIRST][-1]["stop_reason"] == "interrupted"
    assert state(world, FIRST)[0] == "hibernated"


def test_a_worker_that_outlived_its_coordinator_goes_on_with_its_turn():
    world = Simulated()
    token = b"kept"
    session = stored(
        unanswered=(ev.StoredPrompt(1, "one", "t"), ev.StoredPrompt(2, "two", None)),
        pid=9,
        start_ticks=1,
        token_sha256=hashlib.sha256(token).digest(),
    )
    boot(world, session, alive=True)
    world.processes[session.id, 3] = token
    pong = world.report(session.id, m.Ping, state="running", turn_id="t", loop_lag_ms=0)
    welcome = world.hello(session.id, seq=1, turn_id="t")

    assert [type(a) for a in pong] == [m.Pong]  # its boot tells the worker to say hello
    assert [type(a) for a in welcome] == [m.Welcome]  # and prompt 2 waits for the turn that runs
    assert state(world, session.id) == ("live", "running")

    world.report(
        session.id, m.Reply, seq=1, turn_id="t", text="done", stop_reason="completed",
        usage=m.Usage(), pieces=0,
    )  # fmt: skip

    assert world.world.sessions[session.id].turn.seq == 2


def test_a_closed_session_whose_worker_outlived_the_coordinator_is_ended():
    world = Simulated()
    boot(world, stored(closed=True, pid=9, start_ticks=1), alive=True)

    assert world.signals == [(FIRST, 3, "SIGTERM")]


def test_failed_marks_are_committed_again_until_the_store_takes_them():
    world = Simulated(commits_at_once=False)
    world.order_session("a")
    world.settle()
    world.hello(FIRST)
    world.settle()
    world.say(m.Submit(request=2, session="a", idem="k", text="hello", follow=False))
    world.settle()
    world.report(FIRST, m.Started, seq=1, turn_id="t")
    world.settle()
    world.die(FIRST)
    held = [p for p in world.pending if isinstance(p, InsertReply)]
    world.pending.clear()
    world.step(ev.CommitFailed(held[0], "disk full"))
    world.step(ev.Ticked(0))

    assert list(world.pending) == held
