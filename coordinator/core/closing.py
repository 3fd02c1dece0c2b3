"""A session is closed for good: asked for, durable, and answered when both that and the end of its process are so."""

from collections.abc import Iterator

from coordinator.core import endings
from coordinator.core.effects import Commit, Effect, SaveActive, SaveClosed, SendClient
from coordinator.core.lifecycle import Fact, Residency
from coordinator.core.residency import ask_to_leave
from coordinator.core.showing import refusal, session_view
from coordinator.core.world import COMMAND_LINE, Session, World
from protocol.errors import ChatCoordError
from protocol.messages import SessionAnswer


def close(world: World, session: Session, asker: tuple[bytes, int], now_s: float) -> Iterator[Effect]:
    """Close for good; the answer goes out when that is durable and the process is dead, so that the slot is free."""
    session.closers.append(asker)
    was_closed = session.is_closed
    world.move(session, Fact.CLOSE_ORDERED)
    if not was_closed:
        yield from endings.cancel_waiting(world, session, now_s)
        yield Commit(SaveClosed(session.id))
        if session.id in world.line:
            world.line.remove(session.id)
        yield from ask_to_leave(session)
        if session.residency is Residency.STOPPED:
            yield from closed(world, session)
    else:
        yield from _tell_closers(world, session)


def on_close_committed(world: World, session: Session) -> Iterator[Effect]:
    """The close is durable: no restart of the coordinator brings the session back."""
    session.is_close_committed = True
    world.roll.release(session)
    yield from _tell_closers(world, session)


def on_close_failed(session: Session, error: ChatCoordError) -> Iterator[Effect]:
    """The store did not take it: the worker ends all the same, but nobody is told that it is for good."""
    yield from (SendClient(peer, refusal(request, error)) for peer, request in session.closers)
    session.closers.clear()


def closed(world: World, session: Session) -> Iterator[Effect]:
    """Nothing runs for it any more."""
    yield from pass_on(world, session)
    yield from _tell_closers(world, session)


def pass_on(world: World, session: Session) -> Iterator[Effect]:
    """Whoever had it as the active session gets another."""
    for client in [c for c, active in world.active.items() if active == session.id]:
        others = [s for s in world.listed() if not s.is_closed and s is not session]
        latest = max(others, key=lambda s: s.recency, default=None)
        if latest is None:
            world.active.pop(client)
        else:
            world.active[client] = latest.id
        if client == COMMAND_LINE:
            yield Commit(SaveActive(client, None if latest is None else latest.id))


def _tell_closers(world: World, session: Session) -> Iterator[Effect]:
    if session.residency is not Residency.STOPPED or not session.is_close_committed:
        return
    for peer, request in session.closers:
        known = world.peers.get(peer)
        view = session_view(world, session, known.client if known else None)
        yield SendClient(peer, SessionAnswer(request=request, session=view))
    session.closers.clear()
