"""Workers that a person kills or replaces, and what may come in between."""

import pytest

from coordinator.core.lifecycle import Work
from protocol import messages as m
from tests.support.simulated import CLIENT, Simulated, state


def kill(world: Simulated, session: str, pid: int | None = None, request: int = 50) -> list[m.Message]:
    return world.say(m.Kill(request=request, session=session, pid=pid or world.world.sessions[session].pid))


def restart(world: Simulated, session: str, *, force: bool = False, request: int = 60, pid: int | None = None) -> list:
    order = m.RestartWorker(request=request, session=session, pid=pid or world.world.sessions[session].pid, force=force)
    return world.say(order)


def answers(world: Simulated, request: int) -> list[m.Message]:
    return [x for to, x in world.to_clients if to == CLIENT and getattr(x, "request", None) == request]


def awake(world: Simulated, session: str) -> None:
    world.hello(session)
    world.report(session, m.Restored, source="snapshot", exchanges=0)


# ---- kill


def test_a_kill_is_answered_when_the_process_is_dead_and_an_idle_session_sleeps():
    world = Simulated()
    a = world.new("a")
    assert kill(world, a) == []
    assert world.signals == [(a, 1, "SIGKILL")]
    world.die(a)
    [answer] = answers(world, 50)

    assert (answer.session.residency, answer.session.pid) == ("hibernated", None)
    card = answer.session.exit_card
    assert (card.reason, card.signal, card.oom_suspected) == ("killed by hand", "SIGKILL", False)


def test_a_kill_that_is_sent_again_kills_once_and_leaves_the_next_worker_alone():
    world = Simulated()
    a = world.new("a")
    pid = world.world.sessions[a].pid
    kill(world, a, pid)
    kill(world, a, pid)
    assert len(world.signals) == 1
    world.die(a)
    world.say(m.Wake(request=5, session=a))
    world.hello(a)
    [again] = kill(world, a, pid)

    assert len(world.signals) == 1
    assert again.session.pid != pid
    assert state(world, a) == ("live", "idle")


def test_a_kill_in_the_middle_of_a_turn_is_a_crash_like_any_other():
    world = Simulated()
    a = world.new("a")
    world.submit(a, "x")
    world.report(a, m.Started, seq=1, turn_id="t")
    kill(world, a)
    world.die(a)

    assert answers(world, 50)[0].session.residency == "backoff"
    world.advance(30)
    assert world.epoch(a) == 2
    assert world.store.messages[a][1]["stop_reason"] == "interrupted"


def test_the_next_death_is_not_taken_for_a_kill():
    world = Simulated()
    a = world.new("a")
    kill(world, a)
    world.die(a)
    world.say(m.Wake(request=5, session=a))
    world.hello(a)
    world.die(a, signal="SIGSEGV")

    assert world.world.sessions[a].exit_card.reason == "killed by SIGSEGV"


# ---- restart


def test_a_restart_is_a_snapshot_a_leave_and_a_wake_and_answered_when_the_next_worker_is_ready():
    world = Simulated()
    a = world.new("a")
    world.report(a, m.Restored, source="history", exchanges=0)
    pid = world.world.sessions[a].pid
    assert restart(world, a) == []
    world.doze(a)
    world.die(a, signal=None, code=0)
    assert world.store.sessions[a]["snapshots"] != []
    assert answers(world, 60) == []
    awake(world, a)
    [answer] = answers(world, 60)

    assert answer.session.residency == "live"
    assert answer.session.pid != pid
    assert answer.session.exit_card is None


def test_a_restart_that_is_sent_again_restarts_once():
    world = Simulated()
    a = world.new("a")
    pid = world.world.sessions[a].pid
    restart(world, a)
    restart(world, a, pid=pid)
    world.rest(a)
    awake(world, a)
    epoch = world.epoch(a)
    [again] = restart(world, a, pid=pid, request=61)

    assert again.session.residency == "live"
    assert world.epoch(a) == epoch
    assert len(answers(world, 60)) == 1


def test_a_restart_that_comes_again_to_the_next_coordinator_wakes_what_was_on_its_way():
    world = Simulated()
    a = world.new("a")
    pid = world.world.sessions[a].pid
    restart(world, a)
    world.doze(a)
    world.processes.clear()
    world.reboot()
    assert state(world, a) == ("hibernated", "idle")
    restart(world, a, pid=pid)
    awake(world, a)

    assert answers(world, 60)[-1].session.residency == "live"


def test_while_a_turn_runs_a_restart_is_refused_and_with_force_interrupts_it():
    world = Simulated()
    a = world.new("a")
    world.submit(a, "x")
    world.report(a, m.Started, seq=1, turn_id="t")
    [refused] = restart(world, a)
    assert (refused.code, "it is answering" in refused.message) == ("session.busy", True)
    assert "--force" in refused.hint
    assert world.world.sessions[a].restarters == []

    restart(world, a, force=True, request=61)
    assert isinstance(world.to_workers[-1][1], m.Leave)
    world.die(a, signal=None, code=0)
    awake(world, a)

    assert world.store.messages[a][1]["stop_reason"] == "interrupted"
    assert answers(world, 61)[0].session.residency == "live"


def test_pinned_and_looked_at_sessions_are_restarted_too():
    world = Simulated()
    a = world.new("a")
    world.say(m.Mark(request=5, session=a, mark="pinned", value=True))
    world.say(m.Attach(request=6, session=a))
    restart(world, a)
    world.rest(a)
    awake(world, a)

    assert answers(world, 60)[0].session.residency == "live"


def test_a_session_that_waits_for_a_person_is_restarted_and_goes_on_waiting():
    world = Simulated()
    a = world.new("a")
    world.submit(a, "x")
    world.report(a, m.Started, seq=1, turn_id="t")
    world.world.touch(world.world.sessions[a], "asked")
    world.world.sessions[a].work = Work.REQUIRES_ACTION
    assert restart(world, a) == []
    assert state(world, a) == ("hibernating", "requires_action")


@pytest.mark.parametrize("how", ["a prompt", "the worker's veto"])
def test_what_keeps_it_awake_is_said_to_who_wanted_the_restart(how):
    world = Simulated()
    a = world.new("a")
    restart(world, a)
    if how == "a prompt":
        world.submit(a, "x")
    else:
        world.report(a, m.Busy, n=1, why="a process that it started still runs")
    [refused] = answers(world, 60)

    assert refused.code == "session.busy"
    assert "cannot be restarted" in refused.message
    assert state(world, a)[0] == "live"
    assert world.world.sessions[a].restarters == []


def test_a_worker_that_does_not_answer_is_ended_and_replaced():
    world = Simulated()
    a = world.new("a")
    restart(world, a)
    world.advance(6)
    assert ("SIGTERM" in str(world.signals), state(world, a)[0]) == (True, "hibernating")
    world.die(a)
    awake(world, a)

    assert answers(world, 60)[0].session.residency == "live"


def test_a_restart_whose_slot_goes_to_the_line_is_told_so():
    world = Simulated(max_active_sessions=1)
    a = world.new("a")
    restart(world, a)
    world.create("b")
    world.rest(a)

    assert answers(world, 60)[0].session.residency == "queued"


@pytest.mark.parametrize(
    ("how", "code"), [("starting", "session.busy"), ("closed", "session.closed"), ("draining", "coordinator.stopping")]
)
def test_a_restart_is_refused_where_no_worker_would_come(how, code):
    world = Simulated()
    a = world.create("a").session.id
    pid = world.world.sessions[a].pid
    if how != "starting":
        world.hello(a)
    if how == "closed":
        world.say(m.Close(request=5, session=a))
    if how == "draining":
        world.say(m.ShutDown(request=5, now=False))
    [refused] = restart(world, a, pid=pid)

    assert refused.code == code
