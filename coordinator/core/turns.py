"""Turns: deliver one prompt at a time, pass the pieces on, commit the reply, then tell everybody.

How turns end whose worker died is in ``endings``.
"""

from collections.abc import Iterator

from coordinator.core import governing, hooks, model_names, observing
from coordinator.core.effects import (
    Commit,
    DropOutbox,
    Effect,
    InsertReply,
    Note,
    SaveSeen,
    SaveStarted,
    SendClient,
    SendContinue,
    SendPrompt,
    SendWorker,
)
from coordinator.core.events import Outcome
from coordinator.core.hibernation import disturb
from coordinator.core.lifecycle import Residency, TurnFact
from coordinator.core.residency import put_to_sleep
from coordinator.core.world import Prompt, Session, Turn, World
from protocol.errors import IllegalTransition
from protocol.limits import REPLY_BYTES, cut
from protocol.messages import (
    CancelTurn,
    Deliver,
    Delta,
    Final,
    Piece,
    Rack,
    Reply,
    Started,
    ToolActivity,
    ToolState,
)
from protocol.views import ErrorView, StopReason, Usage

# A delivery that was neither started nor answered by then is sent again; the worker knows it by its seq.
REDELIVER_S = 1.0

# ---- delivery


def deliver_next(world: World, session: Session, now_s: float) -> Iterator[Effect]:
    """Give the worker the oldest unanswered prompt, one at a time; none while its reply could not be kept."""
    can_begin = session.residency is Residency.LIVE and session.peer is not None and session.is_enrolled
    can_begin = can_begin and world.store_fault is None
    if not can_begin or session.peer is None or not session.wants_worker:
        return
    if session.turn is not None:
        yield from _continue(session, session.peer, session.turn, now_s)
        return
    if session.ending or not session.waiting[0].is_resume_saved:
        return
    prompt = session.waiting.popleft()
    session.turn = Turn(prompt.seq, prompt, now_s, usage=prompt.usage)
    world.turn_fact(session, TurnFact.DELIVERED)
    yield _deliver(session.id, session.peer, prompt)


def _deliver(session: str, peer: bytes, prompt: Prompt) -> Effect:
    """Give the worker a prompt; images are in the store alone."""
    if prompt.has_images:
        return SendPrompt(peer, session, prompt.seq)
    return SendWorker(peer, Deliver(seq=prompt.seq, text=prompt.text))


def _continue(session: Session, peer: bytes, turn: Turn, now_s: float) -> Iterator[Effect]:
    """Give the worker a turn that stopped to ask and has its answers."""
    turn.delivered_s = now_s
    yield SendContinue(peer, session.id, turn.seq, turn.turn_id or "", turn.leg + 1)


def go_on(world: World, session: Session, now_s: float) -> Iterator[Effect]:
    """Give what waits for a worker to the one that is there, or wake one."""
    if session.wants_worker:
        yield from disturb(world, session)
    yield from deliver_next(world, session, now_s)


def redeliver(world: World, now_s: float) -> Iterator[Effect]:
    """Send deliveries again that nobody has confirmed."""
    for session in world.roll.holders:
        turn = session.turn
        if turn is None or turn.is_ending or session.peer is None:
            continue
        if session.residency is not Residency.LIVE:
            continue  # its worker was told to leave
        if now_s - turn.delivered_s <= REDELIVER_S:
            continue
        if turn.cancel is not None:
            turn.delivered_s = now_s
            yield SendWorker(session.peer, CancelTurn(seq=turn.seq))
        elif turn.is_answered:
            if session.is_enrolled and world.store_fault is None:
                yield from _continue(session, session.peer, turn, now_s)
        elif turn.prompt is not None and not turn.turn_id and not turn.is_out_of_hand:
            turn.delivered_s = now_s
            yield _deliver(session.id, session.peer, turn.prompt)


# ---- the worker's side of a turn


def on_started(world: World, session: Session, report: Started, now_s: float) -> Iterator[Effect]:
    """The turn begins; a request to the model may be on its way."""
    take_up(world, session, report.seq, now_s)
    turn = _turn_of(session, report.seq)
    if turn.is_parking or report.leg < turn.leg or (turn.is_parked and report.leg == turn.leg):
        return  # it comes late: that leg has asked something since
    if turn.is_parked and not turn.is_answered:
        raise IllegalTransition(f"Prompt {report.seq} waits for a person and cannot go on.")
    if turn.turn_id not in {None, report.turn_id}:
        raise IllegalTransition(f"Prompt {report.seq} is being answered in another turn.")
    world.turn_fact(session, TurnFact.STARTED)
    turn.turn_id = report.turn_id
    if turn.started_s is None:
        turn.started_s = now_s
    begin_leg(turn, report.leg)
    turn.moved_s = now_s
    yield Commit(SaveStarted(session.id, report.seq, report.turn_id, report.leg))


def begin_leg(turn: Turn, leg: int) -> None:
    """A worker has it in hand again."""
    turn.leg = leg
    turn.is_parked = False


def on_delta(world: World, session: Session, report: Delta, now_s: float) -> Iterator[Effect]:
    """Pass a piece on to everybody who looks, and keep it for those who come later."""
    turn = session.turn
    if turn is None or turn.turn_id != report.turn_id or turn.is_ending or turn.is_out_of_hand:
        return  # pieces are best effort; those of a turn that has ended, or stopped to ask, are late
    turn.moved_s = now_s
    governing.on_piece(world, session)
    if turn.first_piece_s is None:
        turn.first_piece_s = now_s
    turn.pieces = report.n + 1
    session.pieces_seen += 1
    world.pieces_seen += 1
    turn.text_bytes += len(report.text.encode())
    if turn.text_bytes <= world.settings.buffer_size_bytes:
        turn.text.append(report.text)
    piece = Piece(session=session.id, seq=report.seq, turn_id=report.turn_id, n=report.n, text=report.text)
    for peer, known in world.peers.items():
        if known.sees(session.id, report.seq):
            yield SendClient(peer, piece)


def on_tool(world: World, session: Session, report: ToolState, now_s: float) -> Iterator[Effect]:
    """A tool of the turn begins or ends: show it to everybody who looks."""
    turn = session.turn
    if turn is None or turn.turn_id != report.turn_id or turn.is_ending or turn.is_out_of_hand:
        return
    turn.moved_s = now_s
    (turn.calls.add if report.state == "running" else turn.calls.discard)(report.call)
    activity = ToolActivity(
        session=session.id,
        seq=report.seq,
        turn_id=report.turn_id,
        call=report.call,
        tool=report.tool,
        state=report.state,
        text=report.text,
    )
    yield from (SendClient(p, activity) for p, known in world.peers.items() if known.sees(session.id, report.seq))


def on_reply(world: World, session: Session, report: Reply, now_s: float) -> Iterator[Effect]:
    """The turn is over: commit the reply. A reply that comes twice is confirmed twice and stored once."""
    take_up(world, session, report.seq, now_s)
    turn = session.turn
    if turn is None or turn.seq != report.seq:
        is_open = report.seq in session.ending or any(p.seq == report.seq for p in session.waiting)
        if session.peer is not None and not is_open:  # else nothing of it is durable; the worker asks again
            yield SendWorker(session.peer, Rack(turn_id=report.turn_id))
        return
    if turn.is_ending:
        return  # its commit is under way; the worker asks again until RACK
    turn.turn_id = report.turn_id
    turn.pieces = report.pieces
    turn.left_out = report.left_out
    yield from end_turn(world, session, turn, report, now_s)


def restored_turn(prompt: Prompt, now_s: float) -> Turn:
    """Return the turn of a prompt that an earlier worker had begun, with what it had said when it last asked."""
    turn = Turn(prompt.seq, prompt, now_s, turn_id=prompt.turn_id, leg=prompt.leg, usage=prompt.usage)
    turn.started_s = None if prompt.turn_id is None else now_s
    turn.unfinished_tool, turn.has_used_tools = prompt.unfinished_tool, prompt.has_used_tools
    if prompt.said:
        turn.text = [prompt.said]
    return turn


def take_up(world: World, session: Session, seq: int, now_s: float) -> None:
    """A worker may begin what an earlier coordinator delivered, before this one does: which waits while read-only."""
    prompt = next((p for p in session.waiting if p.seq == seq), None)
    if prompt is not None and session.turn is None:
        session.waiting.remove(prompt)
        session.turn = restored_turn(prompt, now_s)
        world.turn_fact(session, TurnFact.DELIVERED)


def _turn_of(session: Session, seq: int) -> Turn:
    if session.turn is None or session.turn.seq != seq or session.turn.is_ending:
        raise IllegalTransition(f"Prompt {seq} is not being answered by this session now.")
    return session.turn


def drop_outbox(world: World, session: str, seq: int) -> Iterator[Effect]:
    """What a dead worker's outbox said of this prompt is committed: the outbox is not needed any more."""
    epoch = world.imports.pop((session, seq), None)
    if epoch is not None:
        yield DropOutbox(session, epoch)


def end_turn(world: World, session: Session, turn: Turn, report: Reply, now_s: float) -> Iterator[Effect]:
    """Commit the end of a turn, once. What was cancelled left no answer that somebody still has to see."""
    turn.is_ending = True
    session.ending.add(turn.seq)
    stop_reason, error, text = report.stop_reason, report.error, report.text
    if stop_reason == "cancelled":
        text = text or "".join(turn.text)  # a worker that had not begun it knows of nothing
        if turn.cancel == "timeout":
            limit_s = world.settings.turn_timeout_s
            stop_reason = "failed"
            error = ErrorView(
                code="turn.timeout",
                message=f"The turn worked for more than {limit_s:g} s and was ended.",
                hint="Raise turn_timeout_s, or ask for less at once.",
            )
    usage = governing.settle_usage(world, session, turn, report.usage, now_s)
    yield Commit(
        InsertReply(
            session=session.id,
            reply_to=turn.seq,
            turn_id=report.turn_id,
            text=cut(text, REPLY_BYTES),
            stop_reason=stop_reason,
            usage=usage,
            error=error,
            unread=stop_reason != "cancelled" and not world.is_watched(session.id, turn.seq),
            at=world.wall_s(now_s),
            model=session.model_in_use,
        )
    )


def mark(session: Session, seq: int, stop_reason: StopReason, turn: Turn, error: ErrorView | None = None) -> Reply:
    """A turn's end that no worker reported, with the text that had come by then."""
    return Reply(
        session=session.id,
        epoch=session.epoch,
        seq=seq,
        turn_id=turn.turn_id or f"{stop_reason}-{session.epoch}-{seq}",
        text="".join(turn.text),
        stop_reason=stop_reason,
        usage=Usage(),
        pieces=turn.pieces,
        error=error,
    )


def on_reply_committed(
    world: World, session: Session, reply: InsertReply, outcome: Outcome, now_s: float
) -> Iterator[Effect]:
    """The end of the turn is durable: tell the worker and everybody who looks, then go on with the next prompt."""
    yield from drop_outbox(world, session.id, reply.reply_to)
    session.ending.discard(reply.reply_to)
    session.messages += outcome.is_new
    if outcome.is_new:
        session.tokens += reply.usage.input_tokens + reply.usage.output_tokens
        world.tokens_spent += reply.usage.input_tokens + reply.usage.output_tokens
    session.last_active_at = reply.at
    session.used_s = now_s
    if session.peer is not None:
        yield SendWorker(session.peer, Rack(turn_id=reply.turn_id))
    turn = session.turn
    if turn is None or turn.seq != reply.reply_to:
        turn = Turn(reply.reply_to, None, now_s)
    else:
        session.turn = None
        world.turn_fact(session, TurnFact.ENDED)
    world.touch(session, TurnFact.ENDED.value)
    session.unread = reply.unread and not world.is_watched(session.id, reply.reply_to)
    session.waiting_since = reply.at if session.unread else None
    if reply.unread and not session.unread:  # somebody came to look while it was being committed
        yield Commit(SaveSeen(session.id))
    final = _final(session, turn, reply, outcome, now_s)
    for peer, known in world.peers.items():
        if known.sees(session.id, reply.reply_to):
            yield SendClient(peer, final)
            known.follows.discard((session.id, reply.reply_to))
    yield Note(
        "turn ended",
        {"session": session.id, "seq": reply.reply_to, "turn": reply.turn_id, "stop_reason": reply.stop_reason}
        | {"duration_ms": final.duration_ms, "error": reply.error.code if reply.error else None},
    )
    if outcome.is_new:
        yield from hooks.on_turn_over(world, session, reply.stop_reason)
        yield from observing.on_turn_over(world, session, turn, reply, now_s)
    if world.is_draining and session.residency is Residency.LIVE:
        yield from put_to_sleep(world, session)
    yield from go_on(world, session, now_s)
    if outcome.is_new:
        yield from model_names.ask(world, session, reply.stop_reason)


def _final(session: Session, turn: Turn, reply: InsertReply, outcome: Outcome, now_s: float) -> Final:
    since_s = turn.prompt.committed_s if turn.prompt else turn.delivered_s

    def ms(at_s: float | None) -> int | None:
        return None if at_s is None else max(0, round((at_s - since_s) * 1000))

    return Final(
        session=session.id,
        seq=reply.reply_to,
        reply_seq=outcome.seq,
        turn_id=reply.turn_id,
        stop_reason=reply.stop_reason,
        usage=reply.usage,
        pieces=turn.pieces,
        queued_ms=ms(turn.started_s),
        first_piece_ms=ms(turn.first_piece_s),
        duration_ms=ms(now_s) or 0,
        error=reply.error,
        left_out=turn.left_out,
    )
