"""Slots: who gets one, who makes room, who waits in line, and how all are given back at a stop. The core alone."""

from coordinator.core import events as ev
from coordinator.core.effects import SaveFailed
from protocol import messages as m
from tests.support.simulated import FIRST, Simulated, state


def sleeping(world: Simulated, *names: str) -> list[str]:
    """Make sessions without workers."""
    sessions = []
    for name in names:
        sessions.append(world.new(name))
        world.die(sessions[-1])
    return sessions


def told(world: Simulated, session: str) -> list[type]:
    peer = world.peer(session, world.world.sessions[session].worker_epoch)
    return [type(message) for to, message in world.to_workers if to == peer]


def test_who_is_busy_or_looked_at_makes_no_room():
    world = Simulated(max_active_sessions=2)
    (old,) = sleeping(world, "old")
    busy, watched = world.new("busy"), world.new("watched")
    world.submit("busy", "one")
    world.ask(m.Attach, session="watched")
    world.submit("old", "wake up")

    assert [state(world, s)[0] for s in (old, busy, watched)] == ["queued", "live", "live"]


def test_who_is_starting_makes_no_room():
    world = Simulated(max_active_sessions=1)
    (old,) = sleeping(world, "old")
    starting = world.create("starting").session.id
    world.submit("old", "wake up")

    assert [state(world, s)[0] for s in (old, starting)] == ["queued", "starting"]


def test_one_session_makes_room_for_each_that_waits_and_no_more():
    world = Simulated(max_active_sessions=3)
    sleeping(world, "one", "two")
    for name in ("a", "b", "c"):
        world.new(name)
    world.submit("one", "wake up")
    once = [s.name for s in world.world.sessions.values() if s.residency.value == "hibernating"]
    world.submit("two", "wake up")
    twice = [s.name for s in world.world.sessions.values() if s.residency.value == "hibernating"]

    assert (once, twice) == (["a"], ["a", "b"])


def test_a_session_that_is_being_closed_makes_room_already():
    world = Simulated(max_active_sessions=2)
    (old,) = sleeping(world, "old")
    closing, idle = world.new("closing"), world.new("idle")
    world.say(m.Close(request=9, session="closing"))
    world.submit("old", "wake up")

    assert state(world, idle)[0] == "live"

    world.die(closing, signal=None, code=0)

    assert state(world, old)[0] == "starting"
    assert (old, 2) in world.processes


def test_who_is_put_to_sleep_is_asked_and_killed_when_it_stays():
    world = Simulated(max_active_sessions=1)
    sleeping(world, "old")
    idle = world.new("idle")
    world.submit("old", "wake up")

    assert told(world, idle)[-1] is m.SnapshotWanted

    world.doze(idle)

    assert told(world, idle)[-1] is m.Leave
    assert world.signals == []

    world.advance(2)

    assert world.signals == [(idle, 1, "SIGKILL")]


def test_a_prompt_to_a_session_that_is_falling_asleep_wakes_it_again():
    world = Simulated(max_active_sessions=2)
    sleeping(world, "old")
    first = world.new("first")
    world.new("second")
    world.ask(m.Attach, session="second")
    world.submit("old", "wake up")
    world.say(m.Close(request=9, session="old"))  # nobody waits for the slot any more
    world.doze(first)
    world.submit("first", "one")
    world.die(first, signal=None, code=0)

    assert state(world, first)[0] == "waking"
    assert world.hello(first)[-1].text == "one"


def test_a_session_that_is_closed_in_line_leaves_the_line():
    world = Simulated(max_active_sessions=1)
    closed, next_one = sleeping(world, "closed", "next one")
    holder = world.new("holder")
    world.submit("holder", "one")
    world.submit("closed", "wake up")
    world.submit("next one", "wake up")
    (answer,) = [a for a in world.say(m.Close(request=9, session="closed")) if isinstance(a, m.SessionAnswer)]
    world.say(m.Close(request=10, session="holder"))
    world.die(holder, signal=None, code=0)

    assert (answer.request, answer.session.display) == (9, "stopped")
    assert [state(world, s)[0] for s in (closed, next_one)] == ["stopped", "starting"]


def test_a_worker_that_dies_idle_gives_its_slot_to_the_line():
    world = Simulated(max_active_sessions=1)
    (old,) = sleeping(world, "old")
    holder = world.new("holder")
    world.ask(m.Attach, session="holder")
    world.submit("old", "wake up")
    world.die(holder)

    assert [state(world, s)[0] for s in (old, holder)] == ["starting", "hibernated"]


def test_a_session_that_gives_up_gives_its_slot_to_the_line_and_the_store_knows():
    world = Simulated(max_active_sessions=1, restart_limit=0)
    (old,) = sleeping(world, "old")
    holder = world.new("holder")
    world.submit("holder", "one")
    world.submit("old", "wake up")
    world.die(holder)

    assert [state(world, s)[0] for s in (old, holder)] == ["starting", "failed"]
    assert world.store.sessions[holder]["failed"]


def test_a_worker_that_comes_up_after_a_failure_makes_the_store_forget_it():
    world = Simulated(restart_limit=0)
    session = world.create("a").session.id
    world.die(session)
    world.submit("a", "one")
    world.hello(session)

    assert not world.store.sessions[session]["failed"]


def test_a_worker_that_only_reconnects_saves_nothing():
    world = Simulated(commits_at_once=False)
    world.order_session("a")
    world.settle()
    world.hello(FIRST)
    first = [change for change in world.pending if isinstance(change, SaveFailed)]
    world.settle()
    again = world.hello(FIRST)

    assert ([type(answer) for answer in again], len(first)) == ([m.Welcome], 1)
    assert not world.pending


def test_a_prompt_to_a_failed_session_renews_its_restarts():
    world = Simulated(restart_limit=1)
    session = world.create("a").session.id
    world.die(session)
    world.advance(1)
    world.die(session)
    failed = state(world, session)[0]
    world.submit("a", "one")
    world.die(session)

    assert (failed, state(world, session)[0]) == ("failed", "backoff")


# ---- the stop


def test_a_stop_with_nobody_there_leaves_at_once():
    world = Simulated()
    sleeping(world, "a")
    world.step(ev.StopAsked(now=False))

    assert world.left


def test_nobody_leaves_without_a_stop():
    world = Simulated()
    sleeping(world, "a")

    assert not world.left


def test_a_client_that_orders_a_stop_is_answered_and_the_stop_begins():
    world = Simulated()
    world.new("a")

    assert isinstance(world.ask(m.ShutDown, now=True), m.Done)
    assert world.world.is_draining


def test_a_stop_serves_nobody_in_line_and_wakes_nobody():
    world = Simulated(max_active_sessions=1)
    queued, asleep = sleeping(world, "queued", "asleep")
    holder = world.new("holder")
    world.submit("holder", "one")
    world.submit("queued", "wake up")
    world.step(ev.StopAsked(now=True))
    world.die(holder, signal=None, code=0)

    assert [state(world, s)[0] for s in (queued, asleep, holder)] == ["hibernated"] * 3
    assert world.left
    assert not world.processes


def test_a_prompt_that_is_committed_during_a_stop_wakes_nobody_and_waits_for_the_next_coordinator():
    world = Simulated(commits_at_once=False)
    world.order_session("a")
    world.settle()
    world.hello(FIRST)
    world.settle()
    world.die(FIRST)
    world.settle()
    world.say(m.Submit(request=2, session="a", idem="k", text="one", follow=False))
    world.step(ev.StopAsked(now=False))
    world.settle()

    assert state(world, FIRST)[0] == "hibernated"
    assert world.left

    world.reboot()
    world.settle()

    assert state(world, FIRST)[0] == "waking"


def test_a_stop_while_a_session_waits_for_its_restart_restarts_nothing():
    world = Simulated()
    session = world.create("a").session.id
    world.die(session)
    world.step(ev.StopAsked(now=False))

    assert state(world, session)[0] == "hibernated"
    assert world.left

    world.advance(5)

    assert not world.processes


def test_a_stop_ends_a_worker_that_is_being_started():
    world = Simulated()
    session = world.create("a").session.id
    world.step(ev.StopAsked(now=False))

    assert state(world, session)[0] == "hibernating"
    assert world.signals == [(session, 1, "SIGTERM")]


def test_a_stop_ends_a_worker_that_is_being_woken():
    world = Simulated()
    (session,) = sleeping(world, "a")
    world.submit("a", "one")
    world.step(ev.StopAsked(now=False))

    assert state(world, session)[0] == "hibernating"

    world.die(session, signal="SIGTERM")

    assert world.left


def test_a_stop_between_the_order_and_the_birth_of_a_worker_ends_it_when_it_is_born():
    world = Simulated(commits_at_once=False)
    world.order_session("a")
    world.step_one()  # committed; the worker is ordered
    world.step(ev.StopAsked(now=False))
    before = list(world.signals)
    world.settle()

    assert before == []
    assert world.signals == [(FIRST, 1, "SIGTERM")]


def test_a_stop_before_the_commit_of_the_epoch_starts_no_worker():
    world = Simulated(commits_at_once=False)
    world.order_session("a")
    world.step(ev.StopAsked(now=False))
    world.settle()

    assert not world.processes
    assert world.left


def test_a_crash_during_a_stop_is_not_restarted():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one")
    world.step(ev.StopAsked(now=False))
    world.die(session)

    assert state(world, session) == ("hibernated", "idle")
    assert world.left
    assert world.store.unanswered(session)  # the next coordinator delivers it


def test_an_urgent_stop_ends_a_started_turn_and_keeps_one_that_was_not():
    world = Simulated()
    begun, fresh = world.new("begun"), world.new("fresh")
    world.submit("begun", "one")
    world.submit("fresh", "one")
    world.report(begun, m.Started, seq=1, turn_id="t")
    world.step(ev.StopAsked(now=True))

    assert [told(world, s)[-1] for s in (begun, fresh)] == [m.Leave, m.Leave]

    world.die(begun, signal=None, code=0)
    world.die(fresh, signal=None, code=0)

    assert world.store.messages[begun][-1]["stop_reason"] == "interrupted"
    assert [prompt["seq"] for prompt in world.store.unanswered(fresh)] == [1]


def test_a_turn_that_has_not_begun_when_the_stop_is_over_waits_for_the_next_coordinator():
    world = Simulated()
    session = world.new("a")
    world.submit("a", "one")
    world.step(ev.StopAsked(now=False))
    world.advance(6)

    assert state(world, session)[0] == "hibernating"
    assert m.Leave in told(world, session)

    world.die(session, signal=None, code=0)

    assert state(world, session) == ("hibernated", "idle")
    assert world.store.unanswered(session)


def test_the_place_in_line_counts_nobody_who_was_closed():
    world = Simulated(max_active_sessions=1)
    sleeping(world, "closed", "next one")
    world.new("holder")
    world.submit("holder", "one")
    world.submit("closed", "wake up")
    world.submit("next one", "wake up")
    world.say(m.Close(request=9, session="closed"))

    assert world.ask(m.GetSession, session="next one").session.work_detail == {"position": 1}


def test_a_worker_may_take_as_long_to_start_as_is_set_and_is_then_heard_from_its_hello_on():
    world = Simulated(start_timeout_s=60)
    session = world.create("a").session.id
    world.advance(12)
    world.hello(session)
    world.advance(1)

    assert world.signals == []


def test_clients_that_left_before_the_answer_are_not_missed():
    world = Simulated(commits_at_once=False)
    world.say(m.ClientHello(client="tty", pid=2), b"tty")
    world.order_session("a")
    world.say(m.ClientBye())
    world.settle()
    world.hello(FIRST)
    world.settle()
    world.say(m.Close(request=9, session="a"), b"tty")
    world.say(m.ClientBye(), b"tty")
    active = dict(world.world.active)
    world.die(FIRST, signal=None, code=0)
    world.settle()

    assert active == {"cli": FIRST}
    assert world.heard(m.SessionAnswer, b"tty")[-1].session.display == "stopped"
