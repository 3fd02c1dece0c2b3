"""Going to sleep in two phases, as a person sees it: asked, answered by the worker, durable, gone.

The worker is asked for a snapshot and may say that it is busy. Its snapshot is committed together with the session's
next epoch: from then on the session is hibernated in the store and that worker fenced, whatever becomes of its process.
Input that comes before wins, and nothing has happened; input that comes after waits and wakes the session again.
"""

from collections.abc import Iterator

from coordinator.core.effects import Commit, Effect, Note, SaveSnapshot, SendClient
from coordinator.core.events import Outcome
from coordinator.core.lifecycle import Fact, Residency, Work
from coordinator.core.residency import VETO_REST_S, ask_to_leave, end, put_to_sleep, wake
from coordinator.core.showing import refusal, session_view
from coordinator.core.world import Session, World
from protocol.errors import CoordinatorStopping, SessionBusy, SessionClosed
from protocol.messages import Busy, Hibernate, Restored, SessionAnswer, SnapshotTaken, Wake

# ---- asked for


def hibernate(world: World, peer: bytes, order: Hibernate, now_s: float) -> Iterator[Effect]:
    """Put a session to sleep; the answer goes out when its process is gone, or when that is not to be.

    Raises:
        SessionBusy: something keeps it awake.
    """
    del now_s
    session = world.find(order.session)
    if session.is_closed:
        raise SessionClosed(f"The session {session.name!r} is closed.")
    if session.residency is Residency.LIVE:
        why = _why_awake(world, session)
        if why is not None:
            raise SessionBusy(f"The session {session.name!r} cannot be hibernated: {why}.")
        session.sleepers.append((peer, order.request))
        yield from put_to_sleep(world, session)
    elif session.residency is Residency.HIBERNATING:
        session.sleepers.append((peer, order.request))
    elif session.residency is Residency.HIBERNATED:
        yield _answer(world, session, peer, order.request)
    elif session.residency is Residency.QUEUED and not session.waiting:
        world.line.remove(session.id)
        world.move(session, Fact.LEAVE_ORDERED)
        yield _answer(world, session, peer, order.request)
    else:
        raise SessionBusy(f"The session {session.name!r} cannot be hibernated: it is {session.residency}.")


def _why_awake(world: World, session: Session) -> str | None:
    """Return in words what keeps a live session awake, when a person wants it to sleep."""
    if session.is_pinned:
        return "it is pinned"
    if world.is_attached(session.id):
        return "a terminal is open on it"
    if session.work not in {Work.IDLE, Work.REQUIRES_ACTION} or (session.work is Work.IDLE and session.waiting):
        return "it is answering"
    return "the store takes no changes now" if world.store_fault is not None else None


def awaken(world: World, peer: bytes, order: Wake, now_s: float) -> Iterator[Effect]:
    """Give a session that sleeps a worker; the answer goes out when that is ready, or in line.

    Raises:
        CoordinatorStopping, SessionClosed: it is not to be.
    """
    session = world.find(order.session)
    if world.is_draining:
        raise CoordinatorStopping("The coordinator is stopping and starts no worker.")
    if session.is_closed or session.is_deleting:
        raise SessionClosed(f"The session {session.name!r} is closed.")
    session.used_s = now_s
    session.wakers.append((peer, order.request))
    yield from disturb(world, session)
    yield from answer_waiting(world, session)


def disturb(world: World, session: Session) -> Iterator[Effect]:
    """Somebody wants the session awake."""
    if session.residency is Residency.HIBERNATING:
        yield from stay_awake(world, session)
    elif session.residency is Residency.FAILED:
        session.restarts.renew()
        yield from wake(world, session)
    elif session.residency is Residency.HIBERNATED:
        yield from wake(world, session)


def stay_awake(world: World, session: Session) -> Iterator[Effect]:
    """Input wins over a hibernation that is not ordered from the store yet; after that it waits, and wakes."""
    is_asking = session.residency is Residency.HIBERNATING and not session.is_snapshot_ordered
    if is_asking and not session.is_leaving and not world.is_draining:
        world.move(session, Fact.INPUT_CAME)
        yield from _give_up(session, "it is wanted")


# ---- answered


def on_snapshot(world: World, session: Session, taken: SnapshotTaken, now_s: float) -> Iterator[Effect]:
    """The worker says what is to be kept: make that durable."""
    if session.residency is not Residency.HIBERNATING or session.is_snapshot_ordered or session.is_leaving:
        return  # input won, or it is late
    if taken.n == session.snapshots_wanted:
        session.is_snapshot_ordered = True
        yield Commit(SaveSnapshot(session.id, session.worker_epoch, taken.through_seq, taken.data, world.wall_s(now_s)))


def on_busy(world: World, session: Session, busy: Busy, now_s: float) -> Iterator[Effect]:
    """The worker has something to do that we do not see."""
    is_asking = session.residency is Residency.HIBERNATING and not session.is_snapshot_ordered
    if is_asking and not session.is_leaving and busy.n == session.snapshots_wanted:
        yield from _stay(world, session, busy.why[:200], now_s)


def on_veto_over(session: Session, n: int) -> Iterator[Effect]:
    """The worker never answered: end it. What it should have said, history says too."""
    is_asking = session.residency is Residency.HIBERNATING and not session.is_snapshot_ordered
    if is_asking and not session.is_leaving and n == session.snapshots_wanted:
        yield Note("worker does not say what is to be kept", {"session": session.id, "epoch": session.worker_epoch})
        session.is_leaving = True
        yield from end(session)


# ---- durable


def on_snapshot_committed(session: Session, outcome: Outcome) -> Iterator[Effect]:
    """The session is hibernated in the store: its process has to go."""
    session.epoch = outcome.epoch
    session.token_sha256 = outcome.token_sha256
    if session.has_process:
        yield from ask_to_leave(session)


def on_snapshot_failed(world: World, session: Session, now_s: float) -> Iterator[Effect]:
    """The store did not take it: the session stays awake, unless everything is leaving."""
    session.is_snapshot_ordered = False
    if session.residency is not Residency.HIBERNATING or not session.has_process:
        return
    if world.is_draining:
        session.is_leaving = True
        yield from ask_to_leave(session)
    else:
        yield from _stay(world, session, "the store did not take its snapshot", now_s)


def _stay(world: World, session: Session, why: str, now_s: float) -> Iterator[Effect]:
    if world.is_draining:
        return  # it gets the time that running turns get
    world.move(session, Fact.VETOED)
    session.rests_until_s = now_s + VETO_REST_S
    yield Note("session stays awake", {"session": session.id, "reason": why})
    yield from _give_up(session, why)


def _give_up(session: Session, why: str) -> Iterator[Effect]:
    session.is_renewing = False
    error = SessionBusy(f"The session {session.name!r} cannot be hibernated: {why}.")
    yield from (SendClient(peer, refusal(request, error)) for peer, request in session.sleepers)
    session.sleepers.clear()
    error = SessionBusy(f"The worker of {session.name!r} cannot be restarted: {why}.")
    yield from (SendClient(peer, refusal(request, error)) for peer, request, _ in session.restarters)
    session.restarters.clear()


# ---- told


def on_restored(world: World, session: Session, restored: Restored) -> Iterator[Effect]:
    """The worker has its conversation: whoever waits for it to be awake is told."""
    session.is_restored = True
    facts = {"session": session.id, "epoch": session.epoch, "source": restored.source}
    yield Note("session awake", facts | {"exchanges": restored.exchanges})
    yield from answer_waiting(world, session)


def answer_waiting(world: World, session: Session) -> Iterator[Effect]:
    """Answer those who asked for a session to sleep or to wake, when it is so."""
    is_awake = session.residency is Residency.LIVE and session.is_restored
    if session.wakers and (is_awake or session.residency in {Residency.QUEUED, Residency.FAILED, Residency.STOPPED}):
        yield from (_answer(world, session, peer, request) for peer, request in session.wakers)
        session.wakers.clear()
    if session.sleepers and session.residency in {Residency.HIBERNATED, Residency.STOPPED}:
        yield from (_answer(world, session, peer, request) for peer, request in session.sleepers)
        session.sleepers.clear()


def _answer(world: World, session: Session, peer: bytes, request: int) -> SendClient:
    known = world.peers.get(peer)
    return SendClient(
        peer, SessionAnswer(request=request, session=session_view(world, session, known.client if known else None))
    )
