"""How workers come in, are sent away and end: what is sent, what is remembered, what the exit card says. The core."""

import pytest

from coordinator.core import events as ev
from coordinator.core.effects import (
    BumpEpoch,
    Commit,
    EndWorker,
    Note,
    SaveExit,
    SendEndpoint,
    SendHistoryBack,
    SpawnWorker,
)
from coordinator.core.session_types import rules_of
from protocol import messages as m
from protocol.views import Memory
from tests.support.simulated import FIRST, Simulated, live, state


def step(world: Simulated, event: ev.Event, kind: type) -> list:
    """Return the orders of a kind that follow from an event; none is carried out."""
    return [effect for effect in world.machine.step(event, world.now_s) if isinstance(effect, kind)]


def test_a_heartbeat_is_answered_and_keeps_a_worker_alive():
    world = Simulated()
    session = world.new("a")
    world.advance(8)
    pong = world.report(session, m.Ping, state="idle", turn_id=None, loop_lag_ms=0)
    world.advance(8)

    assert pong == [m.Pong(boot=1)]
    assert world.signals == []


def test_a_silent_worker_is_told_to_end_once_and_then_killed():
    world = Simulated()
    session = world.new("a")
    world.advance(14)

    assert world.signals == [(session, 1, "SIGTERM"), (session, 1, "SIGKILL")]


def test_the_next_worker_of_a_session_is_watched_like_the_first():
    world = Simulated()
    session = world.new("a")
    world.advance(14)
    world.say(m.ClientHello(client="cli", pid=1))  # silent for too long, as the worker was
    world.die(session)
    world.signals.clear()
    world.submit("a", "one")
    world.hello(session)
    world.advance(14)

    assert world.signals[0] == (session, 2, "SIGTERM")


def test_the_worker_asks_for_an_endpoint_and_for_history_and_both_are_looked_up():
    world = Simulated()
    session = world.new("a")
    peer = world.peer(session)
    endpoint = ev.WorkerSpoke(peer, m.EndpointWanted(session=session, epoch=1))
    history = ev.WorkerSpoke(peer, m.FetchBack(session=session, epoch=1, before_seq=9))

    assert step(world, endpoint, SendEndpoint) == [
        SendEndpoint(peer, "m", rules_of(world.world.settings, "development", None))
    ]
    assert step(world, history, SendHistoryBack) == [SendHistoryBack(peer, session, 9)]


def test_a_worker_of_no_session_is_fenced():
    world = Simulated()
    for message in (
        m.Ping(session="nosuch", epoch=1, state="idle", turn_id=None, loop_lag_ms=0),
        m.Hello(session="nosuch", epoch=1, token=b"", pid=1),
    ):
        world.step(ev.WorkerSpoke(b"stranger", message))

    assert [(to, type(answer)) for to, answer in world.to_workers] == [(b"stranger", m.Fenced)] * 2


def test_a_stranger_with_the_right_epoch_gets_no_answer():
    world = Simulated()
    session = world.new("a")
    world.to_workers.clear()
    ping = m.Ping(session=session, epoch=1, state="idle", turn_id=None, loop_lag_ms=0)
    world.step(ev.WorkerSpoke(b"stranger", ping))

    assert world.to_workers == []


def test_a_worker_that_outlived_its_coordinator_is_heard_only_after_its_hello():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one")
    world.reboot()
    early = world.answer(session, 1, "answer", started=False)
    old = world.report(session, m.Ping, 77, state="idle", turn_id=None, loop_lag_ms=0)
    world.hello(session)
    world.answer(session, 1, "answer", started=False)

    assert early == []
    assert [type(answer) for answer in old] == [m.Fenced]
    assert world.store.messages[session][-1]["text"] == "answer"


def test_a_worker_whose_session_waits_for_its_restart_is_fenced():
    world = Simulated()
    session = world.create("a").session.id
    world.step(ev.SpawnFailed(session, 1, "unsure", fatal=False))

    assert [type(answer) for answer in world.hello(session)] == [m.Fenced]
    assert state(world, session)[0] == "backoff"


@pytest.mark.parametrize("is_closed", [True, False])
def test_a_worker_that_says_hello_when_it_has_to_go_is_told_to_leave(*, is_closed: bool):
    world = Simulated()
    session = world.create("a").session.id
    world.step(ev.StopAsked(now=True))
    if is_closed:
        world.say(m.Close(request=9, session="a"))

    assert world.hello(session) == [m.Leave()]
    assert state(world, session)[0] == ("stopping" if is_closed else "hibernating")


def test_a_process_of_an_old_epoch_or_of_no_session_is_killed_at_birth():
    world = Simulated()
    session = world.new("a")
    old, nobody = ev.WorkerSpawned(session, 9, 1, 1), ev.WorkerSpawned("nosuch", 1, 1, 1)

    assert step(world, old, EndWorker) == [EndWorker(session, 9, "SIGKILL")]
    assert step(world, nobody, EndWorker) == [EndWorker("nosuch", 1, "SIGKILL")]
    assert world.world.sessions[session].pid == 101


def test_a_close_between_the_order_and_the_birth_of_a_worker_ends_it_when_it_is_born():
    world = Simulated(commits_at_once=False)
    world.order_session("a")
    world.step_one()  # committed; the worker is ordered
    world.say(m.Close(request=9, session="a"))
    before = list(world.signals)
    world.settle()

    assert (before, world.signals) == ([], [(FIRST, 1, "SIGTERM")])

    world.advance(2)

    assert world.signals[-1] == (FIRST, 1, "SIGKILL")


def test_a_close_is_answered_once_to_each_who_asked_when_the_process_is_dead():
    world = Simulated()
    session = world.new("a")
    first = world.say(m.Close(request=8, session="a"))
    second = world.say(m.Close(request=9, session="a"))
    leaves = [message for _, message in world.to_workers if isinstance(message, m.Leave)]
    answered = len(world.heard(m.SessionAnswer))
    world.die(session, signal=None, code=0)
    answers = world.heard(m.SessionAnswer)[answered:]

    assert (first, second, len(leaves)) == ([], [], 1)
    assert [(a.request, a.session.display, a.session.active) for a in answers] == [
        (8, "stopped", False),
        (9, "stopped", False),
    ]
    assert world.store.sessions[session]["closed"]

    again = world.say(m.Close(request=10, session="a"))

    assert [a.request for a in again] == [10]


def test_when_the_last_session_is_closed_none_is_active():
    world = Simulated()
    session = world.new("a")
    world.say(m.Close(request=8, session="a"))
    world.die(session, signal=None, code=0)

    assert (world.world.active, world.store.active) == ({}, {})


def test_the_session_that_takes_over_as_active_is_saved():
    world = Simulated()
    session, other = world.new("a"), world.new("b")
    world.say(m.Close(request=8, session="a"))
    world.die(session, signal=None, code=0)

    assert world.store.active == {"cli": other}


def test_a_spawn_that_fails_while_the_session_is_being_closed_answers_the_close():
    world = Simulated(commits_at_once=False)
    world.order_session("a")
    world.step_one()
    world.pending.clear()  # the process never came to be
    world.say(m.Close(request=9, session="a"))
    world.step(ev.SpawnFailed(FIRST, 1, "fork: no memory", fatal=False))
    world.settle()  # the close is durable

    assert state(world, FIRST)[0] == "stopped"
    assert world.heard(m.SessionAnswer)[-1].request == 9


def test_a_spawn_that_fails_during_a_stop_lets_the_coordinator_leave():
    world = Simulated(commits_at_once=False)
    world.order_session("a")
    world.step_one()
    world.pending.clear()
    world.step(ev.StopAsked(now=False))
    world.step(ev.SpawnFailed(FIRST, 1, "fork: no memory", fatal=False))

    assert state(world, FIRST)[0] == "hibernated"
    assert world.left


def test_the_failure_of_an_old_spawn_or_of_no_session_changes_nothing():
    world = Simulated()
    session = world.new("a")
    world.step(ev.SpawnFailed(session, 9, "old", fatal=True))
    world.step(ev.SpawnFailed("nosuch", 1, "old", fatal=True))

    assert state(world, session) == ("live", "idle")


def test_a_process_that_could_not_be_started_ends_no_second_time():
    world = Simulated()
    session = world.create("a").session.id
    world.step(ev.SpawnFailed(session, 1, "unsure", fatal=False))
    world.die(session)

    assert state(world, session)[0] == "backoff"
    assert world.world.sessions[session].restarts.count(world.now_s) == 1


def test_an_epoch_that_the_store_does_not_take_waits_for_it_and_no_restart_is_spent():
    world = Simulated(commits_at_once=False)
    world.order_session("a")
    world.settle()
    world.hello(FIRST)
    world.settle()
    world.die(FIRST)
    world.settle()
    world.say(m.Submit(request=2, session="a", idem="k", text="one", follow=False))
    world.step_one()  # the prompt; the epoch is ordered
    for _ in range(20):
        world.step(ev.CommitFailed(world.pending.popleft(), "disk full"))
        assert state(world, FIRST)[0] == "waking"
        world.step(ev.Ticked(1.0))

    assert world.world.sessions[FIRST].restarts.count(world.now_s) == 0

    world.settle()
    world.hello(FIRST)
    world.settle()

    assert state(world, FIRST) == ("live", "running")


def test_an_epoch_that_the_store_can_never_take_fails_the_session_with_the_reason():
    world = live()
    world.die(FIRST)
    world.settle()
    world.say(m.Submit(request=2, session="a", idem="k", text="one", follow=False))
    world.step_one()
    world.step(ev.CommitFailed(world.pending.popleft(), "no such row", is_final=True))

    assert state(world, FIRST)[0] == "failed"
    assert "no such row" in world.world.sessions[FIRST].exit_card.reason


@pytest.mark.parametrize("order", ["close", "stop"])
def test_a_session_whose_epoch_waits_for_the_store_can_be_closed_and_stopped(order: str):
    world = live()
    world.die(FIRST)
    world.settle()
    world.say(m.Submit(request=2, session="a", idem="k", text="one", follow=False))
    world.step_one()
    world.step(ev.CommitFailed(world.pending.popleft(), "disk full"))
    world.step(ev.StopAsked(now=False)) if order == "stop" else world.say(m.Close(request=3, session="a"))
    world.step(ev.Ticked(1.0))
    for change in [p for p in world.pending if isinstance(p, BumpEpoch)]:
        world.pending.remove(change)
        world.step(ev.CommitFailed(change, "disk full"))

    assert state(world, FIRST)[0] == ("hibernated" if order == "stop" else "stopped")
    assert world.left == (order == "stop")


@pytest.mark.parametrize(
    ("signal", "code", "reason"),
    [
        ("SIGSEGV", None, "killed by SIGSEGV"),
        (None, 0, "left with exit code 0"),
        (None, 4, "left with exit code 4"),
        (None, None, "ended while no coordinator watched"),
    ],
)
def test_the_exit_card_says_how_the_worker_ended_and_the_store_has_it(
    signal: str | None, code: int | None, reason: str
):
    world = Simulated()
    session = world.new("a")
    world.die(session, signal=signal, code=code)
    card = world.store.sessions[session]["card"]

    assert (card.reason, card.signal, card.exit_code, card.seq_in_flight) == (reason, signal, code, None)


def test_the_exit_card_of_a_worker_that_hung_says_so_and_names_the_prompt():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one")
    world.advance(14)
    world.die(session)
    card = world.world.sessions[session].exit_card

    assert (card.reason, card.seq_in_flight, card.oom_suspected) == ("its main loop stopped answering", 1, False)


def test_the_next_worker_is_not_blamed_for_the_one_that_hung():
    world = Simulated()
    session = world.new("a")
    world.advance(14)
    world.say(m.ClientHello(client="cli", pid=1))
    world.die(session)
    world.submit("a", "one")
    world.hello(session)
    world.die(session)

    assert world.world.sessions[session].exit_card.reason == "killed by SIGKILL"


def test_a_small_worker_or_one_of_unknown_size_was_not_killed_for_its_memory():
    world = Simulated()
    session = world.new("a")
    world.step(ev.MemorySampled(session, 1, Memory(rss_bytes=1 << 20)))
    world.die(session)

    assert not world.world.sessions[session].exit_card.oom_suspected


def test_a_sample_of_memory_counts_for_the_worker_that_runs_and_for_no_other():
    world = Simulated()
    session = world.new("a")
    for late in (ev.MemorySampled(session, 9, Memory(rss_bytes=1)), ev.MemorySampled("nosuch", 1, Memory(rss_bytes=1))):
        world.step(late)
    before = world.ask(m.GetSession, session="a").session.memory
    world.step(ev.MemorySampled(session, 1, Memory(rss_bytes=2)))
    during = world.ask(m.GetSession, session="a").session.memory
    world.die(session)
    world.step(ev.MemorySampled(session, 1, Memory(rss_bytes=3)))
    after = world.ask(m.GetSession, session="a").session.memory

    assert [view.rss_bytes for view in (before, during, after)] == [None, 2, None]


def test_the_end_of_a_worker_is_noted_and_whether_it_was_expected():
    world = Simulated()
    crashed, closed = world.new("crashed"), world.new("closed")
    world.say(m.Close(request=9, session="closed"))
    notes = [
        note.facts["expected"]
        for session in (crashed, closed)
        for note in step(world, ev.WorkerExited(session, 1, "exited", None, 0, ""), Note)
    ]

    assert notes == [False, True]


def test_an_exit_of_an_old_epoch_or_of_no_session_changes_nothing():
    world = Simulated()
    session = world.new("a")
    world.step(ev.WorkerExited(session, 9, "exited", None, 0, ""))
    world.step(ev.WorkerExited("nosuch", 1, "exited", None, 0, ""))

    assert state(world, session) == ("live", "idle")


def test_a_timer_of_an_old_worker_does_nothing_to_the_next():
    world = Simulated()
    session = world.create("a").session.id
    world.die(session)
    world.advance(1)
    for kind in ("start", "kill", "backoff"):
        world.step(ev.TimerFired((kind, session, 1)))
        world.step(ev.TimerFired((kind, "nosuch", 1)))

    assert world.signals == []
    assert state(world, session)[0] == "starting"
    assert world.epoch(session) == 2


def test_a_restart_delay_of_an_earlier_crash_does_not_shorten_the_next():
    world = Simulated()
    session = world.create("a").session.id
    world.die(session)
    world.advance(1)
    world.die(session)
    world.step(ev.TimerFired(("backoff", session, 1)))

    assert state(world, session)[0] == "backoff"


def test_a_worker_that_is_up_is_not_ended_by_its_start_deadline():
    world = Simulated(start_timeout_s=5)
    world.new("a")
    world.step(ev.TimerFired(("start", FIRST[:-2] + "01", 1)))

    assert world.signals == []


def test_nobody_is_killed_who_is_dead_already():
    world = Simulated()
    session = world.new("a")
    world.say(m.Close(request=9, session="a"))
    world.die(session, signal=None, code=0)
    world.advance(3)

    assert world.signals == []


def test_a_session_is_started_where_and_as_it_was_ordered():
    world = Simulated(commits_at_once=False)
    order = m.Create(request=1, id=FIRST, name="a", type="debug", model=None, system="s", cwd="/x", env={"A": "b"})
    world.say(order)
    change = world.pending.popleft()
    (spawn,) = step(world, ev.Committed(change, world.store.apply(change)), SpawnWorker)

    assert (spawn.session, spawn.epoch, spawn.name, spawn.cwd, spawn.env) == (FIRST, 1, "a", "/x", {"A": "b"})


def test_a_card_that_the_store_does_not_take_is_offered_again():
    world = Simulated(commits_at_once=False)
    world.order_session("a")
    world.settle()
    world.hello(FIRST)
    world.settle()
    exited = ev.WorkerExited(FIRST, 1, "exited", None, 0, "")
    (held,) = [order.change for order in step(world, exited, Commit) if isinstance(order.change, SaveExit)]
    world.step(ev.CommitFailed(held, "disk full"))
    world.step(ev.Ticked(0))
    world.step(ev.Ticked(0))

    assert list(world.pending) == [held]
