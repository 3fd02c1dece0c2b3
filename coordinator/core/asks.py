"""What waits for a person: a turn stops to ask, the answer is committed, and the turn goes on in whatever worker.

Asks belong to the coordinator. When one is stored, the state that its turn goes on with is stored beside it, so neither
hibernation nor any crash touches it, and one path leads on: the answer, a worker, CONTINUE. The first answer counts.
"""

from collections.abc import Iterator
from typing import Literal

from coordinator.core import turns
from coordinator.core.effects import Commit, Effect, InsertAsks, Note, SaveDecision, SendAskFate, SendClient, SendWorker
from coordinator.core.events import StoredLeg
from coordinator.core.lifecycle import Residency, TurnFact, Work
from coordinator.core.residency import put_to_sleep
from coordinator.core.showing import ask_view, refusal
from coordinator.core.world import Ask, Session, Turn, World
from protocol import messages as m
from protocol.errors import AskAmbiguous, AskTaken, ChatCoordError, SessionClosed, ValueIllegal
from protocol.limits import ANSWER_BYTES, PAGE_BYTES, WHY_BYTES
from protocol.views import AskKind, AskView

# Who answers when nobody did in time.
EXPIRY = "ask_expire_s"
IDEM_CHARS = 128
QUESTION: AskKind = "question"
# How much of an id is a beginning of it.
PREFIX_CHARS = 2

# ---- asked


def on_asked(world: World, session: Session, report: m.Asked, now_s: float) -> Iterator[Effect]:
    """A worker's leg ended with a question: keep it with its state, and only then tell the worker to forget them."""
    turns.take_up(world, session, report.seq, now_s)
    turn = session.turn
    if turn is None or turn.seq != report.seq:
        is_open = report.seq in session.ending or any(p.seq == report.seq for p in session.waiting)
        if session.peer is not None and not is_open:  # the turn is over; the worker waits in vain
            yield SendWorker(session.peer, m.Rack(turn_id=report.turn_id))
        return
    yield from stop_to_ask(world, session, turn, report, now_s)
    if session.peer is not None and _is_stored(turn, report):
        yield SendWorker(session.peer, m.AskNoted(turn_id=report.turn_id, leg=report.leg))


def stop_to_ask(world: World, session: Session, turn: Turn, report: m.Asked, now_s: float) -> Iterator[Effect]:
    """Put what a leg of the turn asks into the store, unless that is done or under way."""
    if turn.is_ending or turn.is_parking or _is_stored(turn, report):
        return
    turn.turn_id = report.turn_id
    turn.text, turn.pieces = [report.text], report.pieces
    if turn.cancel is not None or session.is_closed:  # it was to end, and nobody will go on with it
        yield from turns.end_turn(world, session, turn, turns.mark(session, turn.seq, "cancelled", turn), now_s)
        return
    turn.is_parking, turn.is_parked = True, False
    yield Commit(InsertAsks(session.id, report.seq, report, world.wall_s(now_s)))


def _is_stored(turn: Turn, report: m.Asked) -> bool:
    """Say whether the leg's asks are in the store; perhaps they are answered, and the next leg runs."""
    return report.leg < turn.leg or (turn.is_parked and report.leg == turn.leg)


def on_asks_committed(world: World, session: Session, change: InsertAsks, now_s: float) -> Iterator[Effect]:
    """The asks are durable: the worker may forget them, and people are told."""
    report = change.report
    yield from turns.drop_outbox(world, session.id, change.seq)
    if session.peer is not None:
        yield SendWorker(session.peer, m.AskNoted(turn_id=report.turn_id, leg=report.leg))
    turn = session.turn
    if turn is None or turn.seq != change.seq or turn.is_ending or not turn.is_parking:
        return
    turn.is_parking, turn.is_parked, turn.leg = False, True, report.leg
    turn.calls.clear()
    turn.unfinished_tool = None
    turn.asks = [Ask(a.id, a.call, a.kind, a.tool, a.argv, a.text, a.digest, change.at, now_s) for a in report.asks]
    if turn.cancel is not None or session.is_closed:
        yield from turns.end_turn(world, session, turn, turns.mark(session, turn.seq, "cancelled", turn), now_s)
        return
    if session.work is Work.THROTTLED:  # a leg that is over waits for no permit
        world.turn_fact(session, TurnFact.GRANTED)
    world.turn_fact(session, TurnFact.ASKED)
    session.waiting_since = change.at
    for ask in turn.asks:
        world.asks[ask.id] = session.id
        asking = m.Asking(session=session.id, seq=turn.seq, ask=ask_view(session, ask))
        yield from (SendClient(p, asking) for p, known in world.peers.items() if known.sees(session.id, turn.seq))
    if world.is_draining and session.residency is Residency.LIVE:
        yield from put_to_sleep(world, session)


# ---- answered


def decide(world: World, peer: bytes, order: m.Decide, now_s: float) -> Iterator[Effect]:
    """A person says yes or no, or answers a question; the answer to that waits for the commit.

    Raises:
        ChatCoordError: there is nothing to answer, or not so.
    """
    if not 0 < len(order.idem) <= IDEM_CHARS:
        raise ValueIllegal(f"An idempotency key has 1 to {IDEM_CHARS} characters.", hint="Give a shorter one.")
    if len(order.why.encode()) > WHY_BYTES:
        raise ValueIllegal(f"A reason has at most {WHY_BYTES} bytes.", hint="Shorten it.")
    if order.answer is not None and not 0 < len(order.answer.strip().encode()) <= ANSWER_BYTES:
        raise ValueIllegal(f"An answer has 1 to {ANSWER_BYTES} bytes.", hint="Write something, or shorten it.")
    found = find(world, order.ask)
    if found is None:  # answered long ago, or never there: the store knows
        yield SendAskFate(peer, order.request, order.ask, order.idem)
        return
    session, turn, ask = found
    if session.is_closed:
        raise SessionClosed(f"The session {session.name!r} is closed.")
    if ask.deciding == order.idem:
        return  # its answer comes with the commit
    if ask.deciding is not None or turn.cancel is not None:
        why = "its turn is being cancelled" if turn.cancel else "another client is just answering it"
        raise AskTaken(f"The ask {ask.id} is not to be answered: {why}.")
    _check_kind(ask, order)
    world.check_writable()
    ask.deciding = order.idem
    known = world.peers[peer]
    by = f"{known.client} (pid {known.pid})"
    yield Commit(
        SaveDecision(
            session.id, turn.seq, ask.id, order.approve, order.why if order.answer is None else order.answer, by,
            order.idem, world.wall_s(now_s), peer, order.request, order.answer is not None,
        )
    )  # fmt: skip


def _check_kind(ask: Ask, order: m.Decide) -> None:
    """A question wants words, and everything else a yes or a no."""
    if ask.kind == QUESTION and order.approve and order.answer is None:
        hint = f'Answer it: `chat-coord answer {ask.id} "…"`; or `chat-coord deny {ask.id}`.'
        raise ValueIllegal(f"The ask {ask.id} is a question.", hint=hint)
    if order.answer is not None and not order.approve:
        raise ValueIllegal("A no has no answer.", hint="Say why instead.")
    if ask.kind != QUESTION and order.answer is not None:
        hint = f"`chat-coord approve {ask.id}`, or `chat-coord deny {ask.id}`."
        raise ValueIllegal(f"The ask {ask.id} is no question: it wants a yes or a no.", hint=hint)


def find(world: World, text: str) -> tuple[Session, Turn, Ask] | None:
    """Return the open ask with that id, or the one whose id begins so.

    Raises:
        AskAmbiguous: several begin so.
    """
    if text in world.asks:
        ids = [text]
    else:
        ids = [key for key in world.asks if len(text) >= PREFIX_CHARS and key.startswith(text)]
    if len(ids) > 1:
        raise AskAmbiguous(f"{len(ids)} asks begin with {text[:32]!r}: {', '.join(ids[:8])}.", candidates=ids)
    for key in ids:
        session = world.sessions[world.asks[key]]
        for ask in session.turn.asks if session.turn is not None else []:
            if session.turn is not None and ask.id == key:
                return session, session.turn, ask
    return None


def on_decided(world: World, session: Session, change: SaveDecision, now_s: float) -> Iterator[Effect]:
    """The decision is durable: tell who gave it and who else looks on, and go on when nothing is left to ask."""
    turn = session.turn
    ask = next((a for a in turn.asks if a.id == change.ask), None) if turn is not None else None
    if turn is None or ask is None:  # the turn ended while it was being committed
        if change.peer is not None:
            yield SendAskFate(change.peer, change.request, change.ask, change.idem)
        return
    ask.approved, ask.by = change.approved, change.by
    world.asks.pop(ask.id, None)
    if change.peer is not None:
        yield SendClient(
            change.peer,
            m.Decided(request=change.request, ask=ask.id, session=session.id, tool=ask.tool, approved=change.approved),
        )
    yield from _tell(world, session, turn.seq, ask, change.by, but=change.peer)
    yield Note("ask answered", {"session": session.id, "ask": ask.id, "approved": change.approved, "by": change.by})
    if turn.is_answered and turn.cancel is None and session.work is Work.REQUIRES_ACTION:
        world.turn_fact(session, TurnFact.ANSWERED)
        session.waiting_since = None
        session.used_s = now_s
        yield from turns.go_on(world, session, now_s)


def on_decision_failed(world: World, session: Session, change: SaveDecision) -> None:
    """The store did not take it: the ask waits on."""
    for ask in session.turn.asks if session.turn is not None else []:
        if ask.id == change.ask and ask.id in world.asks:
            ask.deciding = None


def over(world: World, session: Session, turn: Turn) -> Iterator[Effect]:
    """The turn has ended: what it still asked needs no answer."""
    for ask in turn.asks:
        if ask.approved is None and world.asks.pop(ask.id, None) is not None:
            yield from _tell(world, session, turn.seq, ask, "the end of its turn", but=None)


def _tell(world: World, session: Session, seq: int, ask: Ask, by: str, *, but: bytes | None) -> Iterator[Effect]:
    outcome: Literal["approved", "answered", "denied", "cancelled"] = "cancelled"
    if ask.approved is not None:
        outcome = "denied" if not ask.approved else "answered" if ask.kind == QUESTION else "approved"
    told = m.AskResolved(
        session=session.id, seq=seq, name=session.name, ask=ask.id, tool=ask.tool, outcome=outcome, by=by
    )
    for peer, known in world.peers.items():
        if peer != but and (known.listens or known.sees(session.id, seq)):
            yield SendClient(peer, told)


# ---- the clock, and birth


def expire(world: World, now_s: float) -> Iterator[Effect]:
    """Nobody answered in time: that is a no."""
    limit_s = world.settings.ask_expire_s
    if not limit_s or world.store_fault is not None:
        return
    now = world.wall_s(now_s)
    for key in list(world.asks):
        found = find(world, key)
        if found is None:
            continue
        session, turn, ask = found
        if now_s - ask.asked_s > limit_s and ask.deciding is None and turn.cancel is None and not session.is_closed:
            ask.deciding = EXPIRY
            why = f"nobody answered within {limit_s:g} s"
            yield Commit(SaveDecision(session.id, turn.seq, ask.id, False, why, EXPIRY, EXPIRY, now, None, 0))


def restore(world: World, session: Session, leg: StoredLeg, now_s: float) -> None:
    """After a start of the coordinator a turn that stopped to ask is where it was."""
    prompt = next((p for p in session.waiting if p.seq == leg.seq), None)
    if prompt is None:
        return
    prompt.leg, prompt.said, prompt.usage = leg.leg, leg.said, leg.usage
    if leg.has_begun:  # as any turn that a worker had begun; its text is kept for the mark
        return
    session.waiting.remove(prompt)
    session.turn = turn = Turn(leg.seq, prompt, now_s, turn_id=leg.turn_id, started_s=now_s, leg=leg.leg)
    turn.is_parked = True
    turn.text, turn.pieces, turn.usage = [leg.said], leg.pieces, leg.usage
    now = world.wall_s(now_s)
    turn.asks = [
        Ask(
            a.id,
            a.call,
            a.kind,
            a.tool,
            a.argv,
            a.text,
            a.digest,
            a.since,
            now_s - max(0.0, now - a.since),
            None,
            a.approved,
            a.by,
        )
        for a in leg.asks
    ]
    world.turn_fact(session, TurnFact.DELIVERED)
    if not turn.is_answered:
        world.turn_fact(session, TurnFact.ASKED)
        session.waiting_since = min(a.since for a in turn.asks)
        for ask in turn.asks:
            if ask.approved is None:
                world.asks[ask.id] = session.id


# ---- shown


def list_asks(world: World, peer: bytes, order: m.ListAsks, now_s: float) -> Iterator[Effect]:
    """Answer with a page of what waits, oldest first."""
    del now_s
    views: list[AskView] = []
    size = 0
    more = False
    for key in list(world.asks)[order.offset :]:
        found = find(world, key)
        if found is None or found[0].is_closed:
            continue
        view = ask_view(found[0], found[2])
        size += len(view.text.encode()) + sum(len(word.encode()) for word in view.argv)
        if views and size > PAGE_BYTES:
            more = True
            break
        views.append(view)
    yield SendClient(peer, m.AsksAnswer(request=order.request, asks=views, more=more))


def refuse_decision(change: SaveDecision, error: ChatCoordError) -> Iterator[Effect]:
    """Tell the client that its decision is not in the store."""
    if change.peer is not None:
        yield SendClient(change.peer, refusal(change.request, error))
