"""Hibernation: asked, answered, durable, gone; what input, vetoes, silence and the store do to it. The core alone."""

import pytest

from coordinator.core import effects as e
from coordinator.core import events as ev
from coordinator.core.residency import VETO_REST_S, VETO_S
from protocol import messages as m
from tests.support.simulated import CLIENT, FIRST, Simulated, live, state

OTHER = b"other client"


def asked(**settings: object) -> tuple[Simulated, str]:
    """A world with a session that a person put to sleep; its worker was asked."""
    world = Simulated(**settings)
    session = world.new("a")
    world.say(m.Hibernate(request=500, session="a"))
    return world, session


def answer_to(world: Simulated, request: int, peer: bytes = CLIENT) -> m.Message | None:
    return next((a for to, a in world.to_clients if to == peer and getattr(a, "request", None) == request), None)


# ---- the way down


def test_hibernation_asks_commits_lets_leave_and_answers_when_the_process_is_gone():
    world, session = asked()
    assert world.to_workers[-1][1] == m.SnapshotWanted(n=1)
    assert answer_to(world, 500) is None

    world.doze(session)
    assert world.to_workers[-1][1] == m.Leave()
    assert world.store.sessions[session]["snapshots"][-1].data == b"snapshot"
    assert answer_to(world, 500) is None

    world.die(session, signal=None, code=0)
    assert state(world, session) == ("hibernated", "idle")
    assert answer_to(world, 500).session.residency == "hibernated"
    assert world.world.sessions[session].exit_card is None


def test_from_the_commit_on_the_worker_is_fenced_and_the_store_says_hibernated():
    world, session = asked()
    world.doze(session)

    assert world.store.sessions[session]["epoch"] == 2
    assert world.store.sessions[session]["pid"] is None
    assert isinstance(world.report(session, m.Ping, 1, state="idle", turn_id=None, loop_lag_ms=0)[-1], m.Fenced)
    world.reboot()
    assert state(world, session) == ("hibernated", "idle")
    assert isinstance(world.hello(session, 1)[-1], m.Fenced)


def test_a_coordinator_that_dies_before_the_commit_adopts_the_worker_again():
    world = live()
    world.say(m.Hibernate(request=500, session="a"))
    world.doze(FIRST)
    world.reboot()
    world.settle()
    world.hello(FIRST)

    assert state(world, FIRST) == ("live", "idle")


# ---- input wins


def test_a_prompt_before_the_commit_keeps_the_session_awake():
    world, session = asked()
    world.submit("a", "one")

    assert state(world, session) == ("live", "running")
    assert world.to_workers[-1][1] == m.Deliver(seq=1, text="one")
    assert answer_to(world, 500).code == "session.busy"

    world.doze(session)  # what it said meanwhile is late
    assert state(world, session) == ("live", "running")
    assert world.store.sessions[session]["snapshots"] == []


def test_a_prompt_after_the_commit_was_ordered_waits_and_wakes():
    world, session = asked()
    world.doze(session)
    world.submit("a", "one")
    assert state(world, session)[0] == "hibernating"

    world.die(session, 1, signal=None, code=0)
    assert state(world, session)[0] == "waking"
    assert world.hello(session)[-1] == m.Deliver(seq=1, text="one")


def test_somebody_who_comes_to_work_on_it_wakes_it_and_keeps_it_awake():
    world, session = asked()
    world.rest(session)
    world.ask(m.Attach, session="a")
    assert state(world, session)[0] == "waking"
    world.hello(session)

    assert world.ask(m.Hibernate, session="a").code == "session.busy"


def test_an_observer_wakes_nothing_and_keeps_nothing_awake():
    world, session = asked()
    world.rest(session)
    shown = world.ask(m.Attach, session="a", observes=True)
    assert (shown.session.residency, shown.session.attached) == ("hibernated", False)

    world.say(m.Wake(request=501, session="a"))
    world.hello(session)
    world.say(m.Hibernate(request=502, session="a"))
    assert state(world, session)[0] == "hibernating"


# ---- the worker's veto


def test_a_worker_that_is_busy_stays_and_is_left_alone_for_a_while():
    world = Simulated(max_active_sessions=1)
    idle = world.new("idle")
    world.create("next")
    assert state(world, idle)[0] == "hibernating"

    world.report(idle, m.Busy, n=1, why="a child lives")
    assert state(world, idle)[0] == "live"

    world.advance(VETO_REST_S - 1)
    assert state(world, idle)[0] == "live"
    for _ in range(3):  # its heartbeats go on
        world.report(idle, m.Ping, state="idle", turn_id=None, loop_lag_ms=0)
        world.advance(1)
    assert state(world, idle)[0] == "hibernating"


def test_the_person_who_asked_hears_what_the_worker_is_busy_with():
    world, session = asked()
    world.report(session, m.Busy, n=1, why="a child lives")

    refused = answer_to(world, 500)
    assert (refused.code, "a child lives" in refused.message) == ("session.busy", True)
    assert state(world, session)[0] == "live"


def test_an_answer_to_an_earlier_question_counts_for_nothing():
    world, session = asked()
    world.submit("a", "one")
    world.answer(session, 1, "done")
    world.say(m.Hibernate(request=501, session="a"))
    world.report(session, m.Busy, n=1, why="late")
    world.report(session, m.SnapshotTaken, n=1, through_seq=0, data=b"late")

    assert state(world, session)[0] == "hibernating"
    assert world.store.sessions[session]["snapshots"] == []


def test_a_worker_that_never_answers_is_ended_and_history_is_enough():
    world, session = asked()
    world.advance(VETO_S)
    assert world.signals[-1] == (session, 1, "SIGTERM")
    world.die(session, signal="SIGTERM")

    assert state(world, session) == ("hibernated", "idle")
    assert answer_to(world, 500).session.residency == "hibernated"


def test_a_worker_that_says_hello_again_is_asked_again():
    world, session = asked()

    assert world.hello(session)[-1] == m.SnapshotWanted(n=1)
    assert state(world, session)[0] == "hibernating"


# ---- the store


def test_a_snapshot_that_the_store_does_not_take_leaves_the_session_awake():
    world = live()
    world.say(m.Hibernate(request=500, session="a"))
    world.doze(FIRST)
    world.step(ev.CommitFailed(world.pending.popleft(), "disk full"))

    assert state(world, FIRST)[0] == "live"
    assert answer_to(world, 500).code == "session.busy"


def test_while_the_store_is_read_only_nobody_is_put_to_sleep():
    world = Simulated(idle_hibernate_s=2)
    session = world.new("a")
    world.step(ev.StoreTurned("disk full"))
    for _ in range(5):
        world.report(session, m.Ping, state="idle", turn_id=None, loop_lag_ms=0)
        world.advance(1)

    assert state(world, session)[0] == "live"
    assert world.ask(m.Hibernate, session="a").code == "session.busy"


# ---- who sleeps by itself


@pytest.mark.parametrize(
    ("keep", "stays"), [("nothing", False), ("pin", True), ("attach", True), ("observe", False), ("prompt", True)]
)
def test_idle_sessions_sleep_after_their_time_unless_something_keeps_them_awake(keep, stays):
    world = Simulated(idle_hibernate_s=3)
    session = world.new("a")
    if keep == "pin":
        world.ask(m.Mark, session="a", mark="pinned", value=True)
    elif keep in {"attach", "observe"}:
        world.ask(m.Attach, session="a", observes=keep == "observe")
    elif keep == "prompt":
        world.submit("a", "one")
    for _ in range(6):
        world.report(session, m.Ping, state="idle", turn_id=None, loop_lag_ms=0)
        world.say(m.ClientPing())
        world.advance(1)

    assert (state(world, session)[0] == "live") == stays


def test_the_time_counts_from_when_a_person_looked_away():
    world = Simulated(idle_hibernate_s=3)
    session = world.new("a")
    world.ask(m.Attach, session="a")
    for second in range(8):
        world.report(session, m.Ping, state="idle", turn_id=None, loop_lag_ms=0)
        world.say(m.ClientPing())
        if second == 5:
            world.ask(m.Attach, session=None)
        world.advance(1)
    assert state(world, session)[0] == "live"

    world.advance(2)
    assert state(world, session)[0] == "hibernating"


def test_zero_means_that_nobody_sleeps_for_being_idle():
    world = Simulated(idle_hibernate_s=0)
    session = world.new("a")
    for _ in range(5):
        world.report(session, m.Ping, state="idle", turn_id=None, loop_lag_ms=0)
        world.advance(1)

    assert state(world, session)[0] == "live"


def test_a_pinned_session_makes_no_room_and_an_idle_one_that_was_used_later_does():
    world = Simulated(max_active_sessions=2)
    pinned, idle = world.new("pinned"), world.new("idle")
    world.ask(m.Mark, session="pinned", mark="pinned", value=True)
    world.create("next")

    assert (state(world, pinned)[0], state(world, idle)[0]) == ("live", "hibernating")


# ---- the way up


def test_wake_answers_when_the_worker_has_its_conversation():
    world, session = asked()
    world.rest(session)
    world.say(m.Wake(request=501, session="a"))
    world.hello(session)
    assert answer_to(world, 501) is None

    world.report(session, m.Restored, source="snapshot", exchanges=0)
    assert answer_to(world, 501).session.residency == "live"


def test_wake_at_the_cap_answers_with_the_place_in_line():
    world = Simulated(max_active_sessions=1)
    world.new("a")
    world.ask(m.Mark, session="a", mark="pinned", value=True)
    world.create("b")
    world.say(m.Hibernate(request=7, session="b"))
    answer = world.ask(m.Wake, session="b")

    assert (answer.session.residency, answer.session.work_detail) == ("queued", {"position": 1})


def test_a_worker_asks_for_its_snapshot_and_gets_what_the_store_has():
    world = live()
    effects = world.machine.step(
        ev.WorkerSpoke(world.peer(FIRST), m.RestoreWanted(session=FIRST, epoch=1, skip=1)), world.now_s
    )

    assert effects == [e.SendRestore(world.peer(FIRST), FIRST, 1)]


# ---- a new session at the cap


def test_a_new_session_at_the_cap_waits_with_its_place_and_starts_when_a_slot_is_free():
    world = Simulated(max_active_sessions=1)
    busy = world.new("busy")
    world.submit("busy", "one")
    first, second = world.create("first").session, world.create("second").session
    assert (first.residency, first.work_detail, first.epoch) == ("queued", {"position": 1}, 0)
    assert second.work_detail == {"position": 2}

    world.answer(busy, 1, "done")
    world.rest(busy)
    assert [state(world, s.id)[0] for s in (first, second)] == ["starting", "queued"]
    assert world.world.sessions[first.id].epoch == 1


def test_a_session_in_line_can_be_closed():
    world = Simulated(max_active_sessions=1)
    world.new("busy")
    world.submit("busy", "one")
    queued = world.create("queued").session
    world.say(m.Close(request=9, session="queued"))

    assert state(world, queued.id)[0] == "stopped"
    assert list(world.world.line) == []


def test_a_session_that_waits_in_line_still_waits_after_a_crash_of_the_coordinator_when_it_has_a_prompt():
    world = Simulated(max_active_sessions=1)
    world.new("busy")
    world.submit("busy", "one")
    queued = world.create("queued").session
    world.submit("queued", "two")
    world.reboot()

    assert state(world, queued.id)[0] == "queued"


# ---- a stop


def test_a_stop_keeps_what_workers_have_to_say_and_a_stop_now_does_not_ask():
    for now in (False, True):
        world = Simulated()
        session = world.new("a")
        world.step(ev.StopAsked(now=now))
        if not now:
            world.doze(session)
        assert world.to_workers[-1][1] == m.Leave()
        world.die(session, 1, signal=None, code=0)
        assert world.left
        assert len(world.store.sessions[session]["snapshots"]) == (0 if now else 1)


def test_a_worker_that_says_nothing_does_not_hold_up_a_stop():
    world, session = asked()
    world.step(ev.StopAsked(now=False))
    world.advance(7)
    assert world.signals[-1][2] in {"SIGTERM", "SIGKILL"}
    world.die(session, 1)

    assert world.left
