"""What the core knows of one session for ``inspect``, and of all that use something for ``top``.

Nothing here wakes a session or changes one. What only the operating system knows (a process's files, threads, how busy
it is) the shell puts beside it; what is not known stays None.
"""

from collections.abc import Iterator

from coordinator.core import memory
from coordinator.core.effects import Effect, PassStacks, SendInspection, SendTop, SendWorker
from coordinator.core.governing import permits_view
from coordinator.core.showing import counts, session_view
from coordinator.core.world import Session, World
from protocol.limits import PAGE_SESSIONS, STACKS_BYTES, cut
from protocol.messages import GetTop, Inspect, Ping, Stacks, StacksWanted, TopAnswer
from protocol.views import (
    ConversationView,
    Inspection,
    PermitState,
    SessionView,
    TopSession,
    TopTotals,
    WorkerMemory,
    WorkerView,
)

# Readings of a session's memory that one line of ``top`` has room for.
TOP_HISTORY = 24


# ---- what workers say


def on_ping(session: Session, ping: Ping) -> None:
    """Its main loop turns, so late."""
    session.loop_lag_ms = ping.loop_lag_ms


def on_stacks(session: Session, stacks: Stacks) -> Iterator[Effect]:
    """A worker says where its tasks are: whoever asked gets it."""
    yield PassStacks(session.id, session.worker_epoch, stacks.n, cut(stacks.text, STACKS_BYTES))


# ---- one session


def inspect(world: World, peer: bytes, order: Inspect, now_s: float) -> Iterator[Effect]:
    """Tell everything of one session.

    Raises:
        SessionUnknown: there is none of that name.
    """
    session = world.find(order.session)
    n = 0
    if order.stacks and session.has_process and session.peer is not None:
        session.stacks_wanted += 1
        n = session.stacks_wanted
        yield SendWorker(session.peer, StacksWanted(n=n))
    inspection = Inspection(
        session=session_view(world, session, world.peers[peer].client),
        worker=_worker(world, session, now_s),
        conversation=ConversationView(
            messages=session.messages, tokens=session.tokens, buffered_bytes=_buffered(world, session)
        ),
    )
    yield SendInspection(
        peer, order.request, inspection, session.worker_epoch if session.has_process else None, order.stacks, n
    )


def _worker(world: World, session: Session, now_s: float) -> WorkerView:
    has_words = session.has_process and session.peer is not None
    return WorkerView(
        pid=session.pid,
        epoch=session.worker_epoch or session.epoch,
        heartbeat_age_ms=max(0, round((now_s - session.heard_s) * 1000)) if has_words else None,
        loop_lag_ms=session.loop_lag_ms if has_words else None,
        restarts=session.restarts.count(now_s),
        exit_card=session.exit_card,
        memory=WorkerMemory(
            soft_limit_bytes=memory.soft_limit(world, session),
            hard_limit_bytes=world.settings.memory_hard_bytes,
            history=tuple(session.history or ()),
        ),
        inbox=len(session.waiting),
        permit=_permit(world, session, now_s),
    )


def _buffered(world: World, session: Session) -> int:
    return 0 if session.turn is None else min(session.turn.text_bytes, world.settings.buffer_size_bytes)


def _permit(world: World, session: Session, now_s: float) -> PermitState:
    held, waited_s = world.governor.waited(session.id, now_s)
    place = world.governor.place(session.id, world.foreground(), now_s) if world.governor.waiting else None
    return PermitState(
        held=held,
        position=place[0] if place else None,
        waited_ms=None if waited_s is None else max(0, round(waited_s * 1000)),
    )


# ---- all of them


def top(world: World, peer: bytes, order: GetTop, now_s: float) -> Iterator[Effect]:
    """Tell what the sessions use that have a worker, wait for one, or gave up; sleeping ones use nothing."""
    found = [*world.roll.holders, *(world.sessions[key] for key in world.line if key in world.sessions)]
    found += world.roll.shown("failed")
    found = sorted((s for s in found if s.is_committed), key=lambda s: (s.number, s.created_at, s.id))
    page = found[order.offset : order.offset + PAGE_SESSIONS]
    client = world.peers[peer].client
    overview = memory.overview(world)
    answer = TopAnswer(
        request=order.request,
        sessions=[_row(world, session, session_view(world, session, client), now_s) for session in page],
        more=len(found) > order.offset + PAGE_SESSIONS,
        totals=TopTotals(sessions=counts(world), permits=permits_view(world, now_s), memory=overview),
        next_to_hibernate=overview.next_to_hibernate,
    )
    yield SendTop(peer, answer, tuple(s.worker_epoch if s.has_process else None for s in page))


def _row(world: World, session: Session, view: SessionView, now_s: float) -> TopSession:
    history = list(session.history or ())[-TOP_HISTORY:]
    fields = {name: getattr(view, name) for name in SessionView.__struct_fields__}
    return TopSession(
        **fields,
        tree_uss_bytes=session.tree.tree_uss_bytes if session.memory.uss_bytes is not None else None,
        history=tuple(point.uss_bytes for point in history),
        pieces=session.pieces_seen,
        pieces_per_s=_rate(session, now_s),
        permit=_permit(world, session, now_s),
    )


def _rate(session: Session, now_s: float) -> float | None:
    """Return the pieces per second of the reply that runs; the first one only begins to count the time."""
    turn = session.turn
    if turn is None or turn.first_piece_s is None or turn.is_ending:
        return None
    return round((turn.pieces - 1) / max(1.0, now_s - turn.first_piece_s), 1)
