"""Prompts and replies: commit, then acknowledge; deliver one at a time; end a turn once.

A turn that the worker has STARTED may have cost an API request, so a crash ends it ``interrupted``; one that it has
not started is delivered again to the next worker.
"""

from collections.abc import Iterator

from coordinator.core.effects import (
    Commit,
    Effect,
    InsertPrompt,
    InsertReply,
    Note,
    SaveSeen,
    SaveStarted,
    SendClient,
    SendWorker,
)
from coordinator.core.events import Outcome
from coordinator.core.lifecycle import Residency, TurnFact
from coordinator.core.naming import resolve
from coordinator.core.residency import put_to_sleep, wake
from coordinator.core.world import Prompt, Session, Turn, World
from protocol.errors import (
    CoordinatorStopping,
    IdemConflict,
    IllegalTransition,
    PromptEmpty,
    PromptTooLarge,
    SessionClosed,
    ValueIllegal,
)
from protocol.limits import PROMPT_BYTES, REPLY_BYTES, cut
from protocol.messages import Ack, Deliver, Delta, Final, Hello, Piece, Rack, Refused, Reply, Started, Submit
from protocol.views import ErrorView, StopReason, Usage

IDEM_CHARS = 128
# A delivery that was neither started nor answered by then is sent again; the worker knows it by its seq.
REDELIVER_S = 1.0


# ---- prompts


def submit(world: World, peer: bytes, order: Submit, now_s: float) -> Iterator[Effect]:
    """Check a prompt and put it into the store; the answer waits for the commit."""
    session = resolve(order.session, world.listed())
    if world.is_draining:
        raise CoordinatorStopping("The coordinator is stopping and takes no more prompts.")
    if session.is_closed:
        raise SessionClosed(f"The session {session.name!r} is closed.")
    if not order.text.strip():
        raise PromptEmpty("The prompt is empty.")
    if not 0 < len(order.idem) <= IDEM_CHARS:
        raise ValueIllegal(f"An idempotency key has 1 to {IDEM_CHARS} characters.", hint="Give a shorter --idem.")
    size = len(order.text.encode())
    if size > PROMPT_BYTES:
        raise PromptTooLarge(f"The prompt has {size} bytes; {PROMPT_BYTES} are allowed.", limit=PROMPT_BYTES)
    yield Commit(
        InsertPrompt(session.id, order.idem, order.text, world.wall_s(now_s), peer, order.request, order.follow)
    )


def on_prompt_committed(
    world: World, session: Session, prompt: InsertPrompt, outcome: Outcome, now_s: float
) -> Iterator[Effect]:
    """Acknowledge. A new prompt then waits for its turn, and wakes the session."""
    if outcome.conflict:
        error = IdemConflict("That idempotency key was used for another text.")
        refusal = Refused(request=prompt.request, code=error.code, message=error.message, hint=error.hint)
        yield SendClient(prompt.peer, refusal)
        return
    ack = Ack(request=prompt.request, session=session.id, seq=outcome.seq, answered_by=outcome.answered_by)
    yield SendClient(prompt.peer, ack)
    if prompt.follow and outcome.answered_by is None and prompt.peer in world.peers:
        world.peers[prompt.peer].follows.add((session.id, outcome.seq))
    if not outcome.is_new:
        return
    world.touch(session, "prompt committed")
    session.messages += 1
    session.last_active_at = prompt.at
    session.unread = False
    session.waiting_since = None
    session.waiting.append(Prompt(outcome.seq, prompt.text, now_s))
    if session.is_closed:  # closed between the prompt's arrival and its commit
        yield from cancel_all(world, session, now_s)
    elif session.residency is Residency.FAILED:
        session.restarts.renew()
        yield from wake(world, session)
    elif session.residency is Residency.HIBERNATED:
        yield from wake(world, session)
    else:
        yield from deliver_next(world, session, now_s)


def deliver_next(world: World, session: Session, now_s: float) -> Iterator[Effect]:
    """Give the worker the oldest unanswered prompt, one at a time."""
    if session.residency is not Residency.LIVE or session.peer is None or session.turn or not session.waiting:
        return
    prompt = session.waiting.popleft()
    session.turn = Turn(prompt.seq, prompt, now_s)
    world.turn_fact(session, TurnFact.DELIVERED)
    yield SendWorker(session.peer, Deliver(seq=prompt.seq, text=prompt.text))


def redeliver(world: World, now_s: float) -> Iterator[Effect]:
    """Send deliveries again that nobody has confirmed."""
    for session in world.sessions.values():
        turn = session.turn
        if turn is None or turn.prompt is None or turn.turn_id or turn.is_ending or session.peer is None:
            continue
        if now_s - turn.delivered_s > REDELIVER_S:
            turn.delivered_s = now_s
            yield SendWorker(session.peer, Deliver(seq=turn.seq, text=turn.prompt.text))


# ---- the worker's side of a turn


def on_started(world: World, session: Session, report: Started, now_s: float) -> Iterator[Effect]:
    """The turn begins; a request to the model may be on its way."""
    turn = _turn_of(session, report.seq)
    if turn.turn_id not in {None, report.turn_id}:
        raise IllegalTransition(f"Prompt {report.seq} is being answered in another turn.")
    world.turn_fact(session, TurnFact.STARTED)
    turn.turn_id = report.turn_id
    if turn.started_s is None:
        turn.started_s = now_s
    yield Commit(SaveStarted(session.id, report.seq, report.turn_id))


def on_delta(world: World, session: Session, report: Delta, now_s: float) -> Iterator[Effect]:
    """Pass a piece on to everybody who looks, and keep it for those who come later."""
    turn = session.turn
    if turn is None or turn.turn_id != report.turn_id or turn.is_ending:
        return  # pieces are best effort; those of a turn that has ended are late
    if turn.first_piece_s is None:
        turn.first_piece_s = now_s
    turn.pieces = report.n + 1
    turn.text_bytes += len(report.text.encode())
    if turn.text_bytes <= world.settings.buffer_size_bytes:
        turn.text.append(report.text)
    piece = Piece(session=session.id, seq=report.seq, turn_id=report.turn_id, n=report.n, text=report.text)
    for peer, known in world.peers.items():
        if known.sees(session.id, report.seq):
            yield SendClient(peer, piece)


def on_reply(world: World, session: Session, report: Reply, now_s: float) -> Iterator[Effect]:
    """The turn is over: commit the reply. A reply that comes twice is confirmed twice and stored once."""
    turn = session.turn
    if turn is None or turn.seq != report.seq:
        if session.peer is not None:
            yield SendWorker(session.peer, Rack(turn_id=report.turn_id))
        return
    if turn.is_ending:
        return  # its commit is under way; the worker asks again until RACK
    turn.turn_id = report.turn_id
    turn.pieces = report.pieces
    yield from _end(world, session, turn, report, now_s)


def _turn_of(session: Session, seq: int) -> Turn:
    if session.turn is None or session.turn.seq != seq or session.turn.is_ending:
        raise IllegalTransition(f"Prompt {seq} is not being answered by this session now.")
    return session.turn


def _end(world: World, session: Session, turn: Turn, report: Reply, now_s: float) -> Iterator[Effect]:
    turn.is_ending = True
    yield Commit(
        InsertReply(
            session=session.id,
            reply_to=turn.seq,
            turn_id=report.turn_id,
            text=cut(report.text, REPLY_BYTES),
            stop_reason=report.stop_reason,
            usage=report.usage,
            error=report.error,
            unread=not world.is_watched(session.id, turn.seq),
            at=world.wall_s(now_s),
        )
    )


def on_reply_committed(
    world: World, session: Session, reply: InsertReply, outcome: Outcome, now_s: float
) -> Iterator[Effect]:
    """The end of the turn is durable: tell the worker and everybody who looks, then go on with the next prompt."""
    session.messages += outcome.is_new
    session.tokens += reply.usage.input_tokens + reply.usage.output_tokens
    session.last_active_at = reply.at
    if session.peer is not None:
        yield SendWorker(session.peer, Rack(turn_id=reply.turn_id))
    turn = session.turn
    if turn is None or turn.seq != reply.reply_to:
        turn = Turn(reply.reply_to, None, now_s)
    else:
        session.turn = None
        world.turn_fact(session, TurnFact.ENDED)
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
    if world.is_draining and session.residency is Residency.LIVE:
        yield from put_to_sleep(world, session)
    yield from deliver_next(world, session, now_s)


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
    )


# ---- turns that end without a reply


def lose(world: World, session: Session, now_s: float) -> Iterator[Effect]:
    """The worker is gone, or must go: a started turn ends ``interrupted``, one that was not started waits again."""
    turn = session.turn
    if turn is None or turn.is_ending:
        return
    if turn.turn_id is None and turn.prompt is not None:
        session.turn = None
        world.turn_fact(session, TurnFact.LOST)
        session.waiting.appendleft(turn.prompt)
        return
    yield from _end(world, session, turn, _mark(session, turn.seq, "interrupted", turn), now_s)


def cancel_all(world: World, session: Session, now_s: float) -> Iterator[Effect]:
    """The session is being closed: the running turn and all that wait end ``cancelled``."""
    if session.turn is not None and not session.turn.is_ending:
        mark = _mark(session, session.turn.seq, "cancelled", session.turn)
        yield from _end(world, session, session.turn, mark, now_s)
    yield from _end_waiting(world, session, "cancelled", None, now_s)


def fail_all(world: World, session: Session, now_s: float) -> Iterator[Effect]:
    """The session gave up: what waits ends ``failed``, with the reason, so that nobody waits for ever."""
    reason = session.exit_card.reason if session.exit_card else "its worker could not be started"
    hint = "Mend that, then send again; a new prompt tries to start the session again."
    error = ErrorView(code="session.failed", message=f"The session gave up: {reason}.", hint=hint)
    yield from _end_waiting(world, session, "failed", error, now_s)


def _end_waiting(
    world: World, session: Session, stop_reason: StopReason, error: ErrorView | None, now_s: float
) -> Iterator[Effect]:
    while session.waiting:
        prompt = session.waiting.popleft()
        turn = Turn(prompt.seq, prompt, now_s)
        yield from _end(world, session, turn, _mark(session, prompt.seq, stop_reason, turn, error), now_s)


def _mark(session: Session, seq: int, stop_reason: StopReason, turn: Turn, error: ErrorView | None = None) -> Reply:
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


def take_over(world: World, session: Session, hello: Hello, now_s: float) -> Iterator[Effect]:
    """A worker of an earlier coordinator may come with a turn in it: go on where it is.

    Prompts that were started in another worker have lost their turn.
    """
    for prompt in [p for p in session.waiting if p.turn_id is not None]:
        session.waiting.remove(prompt)
        turn = Turn(prompt.seq, prompt, now_s, turn_id=prompt.turn_id, started_s=now_s)
        if prompt.seq == hello.seq and session.turn is None:
            session.turn = turn
            world.turn_fact(session, TurnFact.DELIVERED)
        else:
            yield from _end(world, session, turn, _mark(session, prompt.seq, "interrupted", turn), now_s)


def end_orphaned_turns(world: World, session: Session, now_s: float) -> Iterator[Effect]:
    """The coordinator starts and the worker is gone: turns that had been started end ``interrupted``."""
    nobody = Hello(session=session.id, epoch=session.epoch, token=b"", pid=0)
    yield from take_over(world, session, nobody, now_s)
