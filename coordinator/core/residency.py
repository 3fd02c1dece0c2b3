"""Where a session's worker is, as orders: wake it, put it to sleep, make room, serve the line.

A new session is a hibernated session with an empty history, and recovery is waking up: there is one way to start a
worker, which begins with a committed epoch. What processes then do is in ``workers``.
"""

from collections.abc import Iterator

from coordinator.core.effects import BumpEpoch, Commit, Effect, EndWorker, LeaveLoop, SendWorker, StartTimer
from coordinator.core.lifecycle import Fact, Residency, Work
from coordinator.core.world import Session, World
from protocol.messages import Leave

# From SIGTERM, or from being asked to leave, to SIGKILL.
GRACE_S = 1.5


def wake(world: World, session: Session) -> Iterator[Effect]:
    """Get the session a worker: now if a slot is free, else in line."""
    if world.is_draining:
        return
    if world.has_free_slot and not world.line:
        world.move(session, Fact.WORKER_WANTED)
        yield Commit(BumpEpoch(session.id))
    else:
        world.move(session, Fact.NO_SLOT)
        world.line.append(session.id)


def make_room(world: World) -> Iterator[Effect]:
    """Hibernate the idle session that was used least recently, one for each in line that has nobody leaving for it."""
    if not world.line:
        return
    leaving = world.roll.count(Residency.HIBERNATING) + world.roll.count(Residency.STOPPING)
    idle = [
        s
        for s in world.roll.holders
        if s.residency is Residency.LIVE and s.work is Work.IDLE and not s.waiting and not world.is_attached(s.id)
    ]
    idle.sort(key=lambda s: s.recency)
    for session in idle[: max(0, len(world.line) - leaving)]:
        yield from put_to_sleep(world, session)


def serve_line(world: World) -> Iterator[Effect]:
    """Give free slots to the sessions in line, first come, first served."""
    while world.line and world.has_free_slot and not world.is_draining:
        session = world.sessions.get(world.line.popleft())
        if session is not None and session.residency is Residency.QUEUED:
            world.move(session, Fact.SLOT_FREE)
            yield Commit(BumpEpoch(session.id))


def put_to_sleep(world: World, session: Session) -> Iterator[Effect]:
    """Hibernate: everything is in the store, so the worker only has to leave."""
    world.move(session, Fact.LEAVE_ORDERED)
    yield from ask_to_leave(session)


def ask_to_leave(session: Session) -> Iterator[Effect]:
    """Ask the worker to leave; one that does not is killed."""
    if session.peer is not None:
        yield SendWorker(session.peer, Leave())
        yield StartTimer(("kill", session.id, session.worker_epoch), GRACE_S)
    elif session.pid is not None:
        yield from end(session)


def end(session: Session) -> Iterator[Effect]:
    """SIGTERM now, SIGKILL after the grace."""
    session.is_ending = True
    yield EndWorker(session.id, session.worker_epoch, "SIGTERM")
    yield StartTimer(("kill", session.id, session.worker_epoch), GRACE_S)


def hand_over(world: World) -> Iterator[Effect]:
    """Leave as after a crash, but with everything committed: workers and their turns go on without us."""
    world.has_left = True
    yield from (Commit(change) for change in world.unsaved.values())
    yield LeaveLoop(keeps_workers=True)


def tend(world: World) -> Iterator[Effect]:
    """After every step: serve the line, make room for it, and leave when draining is done."""
    yield from serve_line(world)
    yield from make_room(world)
    if world.is_draining and world.roll.slots_held == 0 and not world.has_left:
        world.has_left = True
        yield from (Commit(change) for change in world.unsaved.values())
        yield LeaveLoop()
