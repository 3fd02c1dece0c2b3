"""Sessions and refusals as peers see them."""

from collections.abc import Iterator

import msgspec

from coordinator.core.effects import SendClient
from coordinator.core.governing import work_detail
from coordinator.core.lifecycle import Residency, Work
from coordinator.core.world import Ask, Session, World
from protocol import messages as m
from protocol.errors import ChatCoordError
from protocol.limits import ASK_TEXT_BYTES, cut
from protocol.views import AskView, SessionCounts, SessionView


def session_view(world: World, session: Session, client: str | None) -> SessionView:
    """Return the session as the client sees it; whether it is active depends on who asks."""
    return SessionView(
        id=session.id,
        name=session.name,
        number=session.number,
        active=client is not None and world.active.get(client) == session.id,
        type=session.type,
        model=session.model,
        node=world.node if session.pid is not None else None,
        cwd=session.cwd,
        residency=session.residency.value,
        work=session.work.value,
        work_detail=_work_detail(world, session),
        display=session.display,
        unread=session.unread,
        pinned=session.is_pinned,
        attached=world.is_attached(session.id),
        archived=session.is_archived,
        messages=session.messages,
        tokens=session.tokens,
        pid=session.pid,
        epoch=session.epoch,
        waiting_since=session.waiting_since,
        ask=_first_ask(session),
        exit_card=session.exit_card,
        memory=session.memory,
        created_at=session.created_at,
        last_active_at=session.last_active_at,
        unanswered=session.unanswered,
        parent=session.parent,
        origin=session.origin,
        group=session.group,
        template=session.template,
        proposed_type=session.proposed_type,
        temperature=session.temperature,
    )


def ask_view(session: Session, ask: Ask) -> AskView:
    """Return an ask whole, as a person must see it before saying yes."""
    return AskView(
        id=ask.id,
        session=session.id,
        name=session.name,
        kind=ask.kind,
        tool=ask.tool,
        argv=ask.argv,
        text=ask.text,
        since=ask.since,
    )


def _first_ask(session: Session) -> AskView | None:
    """Return the first ask of a session that waits, its text cut for a list; its argv is whole."""
    if session.turn is None or not session.turn.is_parked:
        return None
    for ask in session.turn.asks:
        if ask.approved is None:
            view = ask_view(session, ask)
            return msgspec.structs.replace(view, text=cut(view.text, ASK_TEXT_BYTES, " […]"))
    return None


def _work_detail(world: World, session: Session) -> dict[str, str | int | float | bool | None] | None:
    if session.residency is Residency.QUEUED and session.id in world.line:
        place: dict[str, str | int | float | None] = {"position": world.line.index(session.id) + 1}
        return place if world.has_memory else place | {"why": f"memory is short: {world.pressure.why}"}
    if session.work is Work.THROTTLED:
        waits = work_detail(world, session)
        if waits is not None:
            return waits
    turn = session.turn
    if turn is None:
        return None
    asks = sum(ask.approved is None for ask in turn.asks) if turn.is_parked else 0
    detail: dict[str, str | int | float | bool | None] = {
        "seq": turn.seq,
        "turn_id": turn.turn_id,
        "prompts_waiting": len(session.waiting),
    }
    return detail | {"asks": asks, "stalled": turn.is_stalled and session.work is Work.RUNNING}


def tell(world: World, change: m.Changed | m.StoreState) -> Iterator[SendClient]:
    """Push a change to everybody who listens."""
    return (SendClient(peer, change) for peer, known in world.peers.items() if known.listens)


def counts(world: World) -> SessionCounts:
    """Return how many sessions there are, by where they are; live counts those that hold a slot."""
    return SessionCounts(
        live=world.roll.slots_held,
        queued=world.roll.count(Residency.QUEUED),
        hibernated=world.roll.count(Residency.HIBERNATED),
        total=len(world.sessions),
        max_active=world.settings.max_active_sessions,
    )


def refusal(request: int | None, error: ChatCoordError) -> m.Refused:
    """Return the message that carries an error to a peer."""
    return m.Refused(request=request, code=error.code, message=error.message, hint=error.hint)
