"""Where a session's worker is, as orders: wake it, put it to sleep, make room, serve the line.

A new session is a hibernated session with an empty history, and recovery is waking up: there is one way to start a
worker, which begins with a committed epoch. What processes then do is in ``workers``; how a worker that is put to sleep
answers is in ``hibernation``.
"""

from collections.abc import Iterator

from coordinator.core.effects import BumpEpoch, Commit, Effect, EndWorker, LeaveLoop, SendWorker, StartTimer
from coordinator.core.lifecycle import Fact, Residency, Work
from coordinator.core.world import Session, World
from protocol.messages import Leave, SnapshotWanted

# From SIGTERM, or from being asked to leave, to SIGKILL.
GRACE_S = 1.5
# A worker that does not say by then what is to be kept does not answer at all: it is ended, and history is enough.
VETO_S = 5.0
# A worker that was busy is not asked again before.
VETO_REST_S = 5.0


def wake(world: World, session: Session) -> Iterator[Effect]:
    """Get the session a worker: now if a slot is free, else in line."""
    if world.is_draining or session.is_deleting:
        return
    if world.has_free_slot and not world.line:
        world.move(session, Fact.WORKER_WANTED)
        yield Commit(BumpEpoch(session.id))
    else:
        world.move(session, Fact.NO_SLOT)
        world.line.append(session.id)


def may_sleep(world: World, session: Session) -> bool:
    """Say whether nothing keeps the session awake: a turn, a prompt, a pin, or a person who looks at it."""
    has_nothing_to_do = session.work is Work.REQUIRES_ACTION or (session.work is Work.IDLE and not session.waiting)
    return (
        session.residency is Residency.LIVE
        and has_nothing_to_do
        and not session.is_pinned
        and not world.is_attached(session.id)
        and world.store_fault is None
        and world.ticked_s >= session.rests_until_s
    )


def sleepers_in_order(world: World) -> list[Session]:
    """Return who may be hibernated, the least recently used first."""
    return sorted((s for s in world.roll.holders if may_sleep(world, s)), key=lambda s: s.recency)


def make_room(world: World) -> Iterator[Effect]:
    """Hibernate idle sessions, one for each in line that has nobody leaving for it."""
    wanted = len(world.line) - world.roll.count(Residency.HIBERNATING) - world.roll.count(Residency.STOPPING)
    if wanted > 0 and not world.is_draining:
        for session in sleepers_in_order(world)[:wanted]:
            yield from put_to_sleep(world, session)


def serve_line(world: World) -> Iterator[Effect]:
    """Give free slots to the sessions in line, first come, first served."""
    while world.line and world.has_free_slot and not world.is_draining:
        session = world.sessions.get(world.line.popleft())
        if session is not None and session.residency is Residency.QUEUED:
            world.move(session, Fact.SLOT_FREE)
            yield Commit(BumpEpoch(session.id))


def rest_idle(world: World, now_s: float) -> Iterator[Effect]:
    """Hibernate what nobody used for ``idle_hibernate_s``."""
    longest_s = world.settings.idle_hibernate_s
    if longest_s and not world.is_draining:
        for session in sleepers_in_order(world):
            if now_s - session.used_s > longest_s:
                yield from put_to_sleep(world, session)


def put_to_sleep(world: World, session: Session) -> Iterator[Effect]:
    """Hibernate: ask the worker for what is to be kept. One that is not let in yet has nothing."""
    if session.residency is not Residency.LIVE or session.peer is None or world.store_fault is not None:
        yield from dismiss(world, session)
        return
    world.move(session, Fact.LEAVE_ORDERED)
    session.snapshots_wanted += 1
    session.is_snapshot_ordered = session.is_leaving = False
    yield SendWorker(session.peer, SnapshotWanted(n=session.snapshots_wanted))
    yield StartTimer(("snapshot", session.id, session.snapshots_wanted), VETO_S)


def dismiss(world: World, session: Session) -> Iterator[Effect]:
    """Hibernate without a question: what is in the store is enough, so the worker only has to leave."""
    if session.residency is not Residency.HIBERNATING:
        world.move(session, Fact.LEAVE_ORDERED)
    session.is_leaving = True
    yield from ask_to_leave(session)


def is_wanted_awake(world: World, session: Session) -> bool:
    """Say whether a session that has no worker should get one."""
    is_wanted = session.wants_worker or session.is_renewing or bool(session.wakers) or bool(session.restarters)
    return is_wanted or world.is_attached(session.id)


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
