"""A person ends a worker by force, or puts another in its place.

Both name the process that they mean, by its pid: an order that is sent again, because its answer was lost, finds
another one there and leaves it alone. What follows a kill is what follows any death; a restart hibernates and wakes.
"""

from collections.abc import Iterator

from coordinator.core.effects import Effect, EndWorker, Note, SendClient
from coordinator.core.hibernation import disturb
from coordinator.core.lifecycle import Residency, Work
from coordinator.core.residency import dismiss, put_to_sleep
from coordinator.core.showing import session_view
from coordinator.core.world import BY_HAND, Session, World
from protocol.errors import CoordinatorStopping, SessionBusy, SessionClosed
from protocol.messages import Kill, RestartWorker, SessionAnswer

# Where a session gets no worker by itself any more, or not now.
SETTLED = frozenset({Residency.QUEUED, Residency.BACKOFF, Residency.FAILED, Residency.STOPPED})


def kill(world: World, peer: bytes, order: Kill, now_s: float) -> Iterator[Effect]:
    """Kill a worker; the answer goes out when it is dead, with what became of its session."""
    del now_s
    session = world.find(order.session)
    if not session.has_process or session.pid != order.pid:
        yield _answer(world, session, peer, order.request)
        return
    asker = (peer, order.request, order.pid)
    if asker not in session.killers:
        session.killers.append(asker)
        session.is_ending = True
        session.doom = BY_HAND
        yield Note("worker killed by hand", {"session": session.id, "epoch": session.worker_epoch, "pid": order.pid})
        yield EndWorker(session.id, session.worker_epoch, "SIGKILL")


def restart(world: World, peer: bytes, order: RestartWorker, now_s: float) -> Iterator[Effect]:
    """Hibernate a session and wake it; the answer goes out when it has another worker, or when that is not to be.

    Raises:
        SessionBusy: a turn runs, or its worker is just coming or going.
        CoordinatorStopping, SessionClosed, StoreReadOnly: it is not to be.
    """
    session = world.find(order.session)
    asker = (peer, order.request, order.pid)
    if asker in session.restarters:
        return
    if world.is_draining:
        raise CoordinatorStopping("The coordinator is stopping and starts no worker.")
    if session.is_closed or session.is_deleting:
        raise SessionClosed(f"The session {session.name!r} is closed.")
    world.check_writable()
    if session.has_process and session.pid == order.pid:
        yield from _send_away(world, session, is_forced=order.force)
    session.used_s = now_s
    session.restarters.append(asker)
    if session.residency is Residency.HIBERNATED:  # sent again to another coordinator: it was on its way
        yield from disturb(world, session)
    yield from answer_waiting(world, session)


def _send_away(world: World, session: Session, *, is_forced: bool) -> Iterator[Effect]:
    """Let the worker say what is to be kept, and leave; with force it leaves at once, and its turn is interrupted."""
    if session.residency is Residency.HIBERNATING:
        return  # it is on its way, and who asks wakes it again
    if session.residency is not Residency.LIVE:
        raise SessionBusy(f"The worker of {session.name!r} cannot be restarted: the session is {session.residency}.")
    is_answering = session.work is not Work.REQUIRES_ACTION and (session.work is not Work.IDLE or session.waiting)
    if is_answering and not is_forced:
        hint = "Wait for its reply; or use --force, which interrupts the turn."
        raise SessionBusy(f"The worker of {session.name!r} cannot be restarted: it is answering.", hint=hint)
    yield Note("worker restarted by hand", {"session": session.id, "epoch": session.worker_epoch, "force": is_forced})
    yield from dismiss(world, session) if is_forced else put_to_sleep(world, session)


def answer_waiting(world: World, session: Session) -> Iterator[Effect]:
    """Answer those whose worker is dead, and those whose session has another one."""
    if session.killers:
        over = [asker for asker in session.killers if session.pid != asker[2]]
        session.killers = [asker for asker in session.killers if session.pid == asker[2]]
        yield from (_answer(world, session, peer, request) for peer, request, _ in over)
    if session.restarters:
        is_awake = session.residency is Residency.LIVE and session.is_restored
        over = [a for a in session.restarters if session.residency in SETTLED or (is_awake and session.pid != a[2])]
        session.restarters = [asker for asker in session.restarters if asker not in over]
        yield from (_answer(world, session, peer, request) for peer, request, _ in over)


def _answer(world: World, session: Session, peer: bytes, request: int) -> SendClient:
    known = world.peers.get(peer)
    view = session_view(world, session, known.client if known else None)
    return SendClient(peer, SessionAnswer(request=request, session=view))
