"""A turn is ended before its time: by a person, or because its time is over. What it said is kept.

The worker that has it in hand closes its request and replies ``cancelled``; one that does not answer is ended. A turn
that nobody has in hand - it waits for a person, or for a worker - ends at once.
"""

from collections.abc import Iterator

from coordinator.core import turns
from coordinator.core.effects import Effect, SendTurnEnd, SendWorker, StartTimer
from coordinator.core.lifecycle import Residency, TurnFact, Work
from coordinator.core.residency import end
from coordinator.core.world import Session, StopCause, Turn, World
from protocol import messages as m
from protocol.errors import NothingToCancel, SessionClosed, TurnNotReady

# A worker that has not ended its turn by then is ended itself.
OBEY_S = 5.0


def cancel(world: World, peer: bytes, order: m.Cancel, now_s: float) -> Iterator[Effect]:
    """A person wants no more of a turn; the answer waits until its end is committed."""
    session = world.find(order.session)
    if session.is_closed:
        raise SessionClosed(f"The session {session.name!r} is closed.")
    turn = session.turn
    waiting = session.waiting[0].seq if session.waiting else 0
    seq = order.seq or (turn.seq if turn is not None else waiting)
    if not seq:
        raise NothingToCancel(f"Nothing runs in {session.name!r}.")
    asker = (seq, peer, order.request)
    if turn is not None and turn.seq == seq:
        _wait_with(session, asker)
        if turn.cancel is None and not turn.is_ending:
            yield from order_end(world, session, turn, "cancelled", now_s)
    elif any(prompt.seq == seq for prompt in session.waiting):
        if session.has_process and session.peer is None:
            raise TurnNotReady(f"The worker of {session.name!r} has not said hello yet.")
        _wait_with(session, asker)
        yield from _end_waiting(world, session, seq, now_s)
    elif seq in session.ending:
        _wait_with(session, asker)
    else:
        yield SendTurnEnd(peer, order.request, session.id, seq)


def _wait_with(session: Session, asker: tuple[int, bytes, int]) -> None:
    if asker not in session.cancellers:
        session.cancellers.append(asker)


def _end_waiting(world: World, session: Session, seq: int, now_s: float) -> Iterator[Effect]:
    prompt = next(p for p in session.waiting if p.seq == seq)
    session.waiting.remove(prompt)
    turn = Turn(seq, prompt, now_s)
    yield from turns.end_turn(world, session, turn, turns.mark(session, seq, "cancelled", turn), now_s)


def order_end(world: World, session: Session, turn: Turn, why: StopCause, now_s: float) -> Iterator[Effect]:
    """Have a turn ended by whoever has it in hand, or at once when nobody has."""
    was_answered = turn.is_answered
    turn.cancel = why
    world.turn_fact(session, TurnFact.CANCEL_ORDERED)
    if turn.is_parking:
        return  # its asks are on their way to the store; it ends when they are there
    # A worker may have begun what was sent to it, or what an earlier coordinator sent.
    may_be_begun = not turn.is_parked or (was_answered and session.has_process)
    if not may_be_begun:
        yield from turns.end_turn(world, session, turn, turns.mark(session, turn.seq, "cancelled", turn), now_s)
        return
    yield from tell_worker(session)
    yield StartTimer(("cancel", session.id, turn.seq), OBEY_S)


def tell_worker(session: Session) -> Iterator[Effect]:
    """Say it to the worker, again and again until it replies."""
    if session.peer is not None and session.turn is not None and session.turn.cancel is not None:
        yield SendWorker(session.peer, m.CancelTurn(seq=session.turn.seq))


def on_deadline(world: World, session: Session, seq: int, now_s: float) -> Iterator[Effect]:
    """The worker did not obey: end it; its death ends the turn."""
    turn = session.turn
    if turn is None or turn.seq != seq or turn.cancel is None or turn.is_ending or turn.is_parking:
        return
    if not session.has_process:
        yield from turns.end_turn(world, session, turn, turns.mark(session, seq, "cancelled", turn), now_s)
    elif not session.is_ending:
        yield from end(session)


def told(session: Session, seq: int) -> Iterator[Effect]:
    """The end of the turn is durable: whoever cancelled it is told how it ended."""
    for asker in [a for a in session.cancellers if a[0] == seq]:
        session.cancellers.remove(asker)
        yield SendTurnEnd(asker[1], asker[2], session.id, seq)


# ---- the clock


def watch(world: World, now_s: float) -> Iterator[Effect]:
    """See how long turns work and when they last moved. A stall is shown and nothing else; a time-out ends the turn."""
    limit_s, stall_s = world.settings.turn_timeout_s, world.settings.stall_after_s
    for session in world.roll.holders:
        turn = session.turn
        if turn is None or turn.is_ending or session.work is not Work.RUNNING or turn.is_out_of_hand:
            continue
        if session.residency is not Residency.LIVE:
            continue
        turn.worked_s += min(1.5, now_s - turn.seen_s) if turn.seen_s else 0.0
        turn.seen_s = now_s
        turn.is_stalled = not turn.calls and now_s - max(turn.moved_s, turn.delivered_s) > stall_s
        if limit_s and turn.worked_s > limit_s and turn.cancel is None:
            yield from order_end(world, session, turn, "timeout", now_s)
