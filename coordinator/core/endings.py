"""Turns whose worker died: completed by its outbox, waiting again, interrupted, resumed, poisoned or cancelled.

A turn that has STARTED may have cost an API request, so nothing but the user, or ``resume`` once, runs it again; one
that has not is delivered again to the next worker.
"""

from collections.abc import Iterator

from coordinator.core.asks import stop_to_ask
from coordinator.core.effects import Commit, DropOutbox, Effect, SaveCrashes, SaveResumed
from coordinator.core.lifecycle import TurnFact
from coordinator.core.turns import begin_leg, deliver_next, drop_outbox, end_turn, mark, restored_turn
from coordinator.core.world import Prompt, Session, Turn, World
from protocol.messages import Asked, Hello, Reply, Started, ToolDone, ToolIntent
from protocol.outbox import Record
from protocol.views import ErrorView, StopReason

# So many workers may die with a prompt in hand before it is skipped.
POISON_CRASHES = 3


def lose(world: World, session: Session, now_s: float) -> Iterator[Effect]:
    """The worker is dead: a turn that had begun is over, one that had not waits again."""
    turn = session.turn
    if turn is not None and not turn.is_ending:
        if session.is_closed or (turn.cancel is not None and not turn.is_parking):
            yield from end_turn(world, session, turn, mark(session, turn.seq, "cancelled", turn), now_s)
        elif turn.is_out_of_hand:
            pass  # it is in the store, with all that it needs to go on
        elif turn.turn_id is None and turn.prompt is not None:
            _wait_again(world, session, turn.prompt)
        else:
            yield from _interrupt(world, session, turn, now_s)
    if not session.is_closed:  # a worker of an earlier coordinator may die before it says what it has in hand
        yield from end_orphaned_turns(world, session, now_s)


def _interrupt(world: World, session: Session, turn: Turn, now_s: float) -> Iterator[Effect]:
    """A request may have been sent: mark the turn, or begin it again this once if that is configured."""
    has_acted = turn.leg > 0 or turn.has_used_tools  # what tools did is done; by itself it is not done again
    if world.settings.on_interrupt == "ask" or turn.prompt is None or turn.prompt.resumed or has_acted:
        error = _unfinished(turn)
        yield from end_turn(world, session, turn, mark(session, turn.seq, "interrupted", turn, error), now_s)
        return
    # The worker that says hello now may run it next: what counts is whose outbox it was found in.
    epoch = world.imports.get((session.id, turn.seq), session.epoch)
    turn.prompt.turn_id = None
    turn.prompt.resumed = epoch
    turn.prompt.is_resume_saved = False
    turn.prompt.usage = turn.usage
    yield Commit(SaveResumed(session.id, turn.seq, epoch))
    _wait_again(world, session, turn.prompt)


def _unfinished(turn: Turn) -> ErrorView | None:
    """Return what to say of a tool that had begun when its worker died; None when there was none."""
    if turn.unfinished_tool is None:
        return None
    return ErrorView(
        code="tool.unfinished",
        message=f"A tool had begun when its worker died, and nobody knows what it did: {turn.unfinished_tool}.",
        hint="Look before you retry: it will be asked for and run once more.",
    )


def on_resume_saved(world: World, session: Session, seq: int, now_s: float) -> Iterator[Effect]:
    """It is durable that the turn was begun again: only now may it, or a crash could begin it a third time."""
    yield from drop_outbox(world, session.id, seq)
    for prompt in session.waiting:
        if prompt.seq == seq:
            prompt.is_resume_saved = True
    yield from deliver_next(world, session, now_s)


def _wait_again(world: World, session: Session, prompt: Prompt) -> None:
    if session.turn is not None and session.turn.prompt is prompt:
        session.turn = None
        world.turn_fact(session, TurnFact.LOST)
    session.waiting.appendleft(prompt)


def blame(world: World, session: Session, now_s: float) -> Iterator[Effect]:
    """A worker died with a prompt in hand that had sent no request: after POISON_CRASHES the prompt is skipped."""
    turn = session.turn
    if turn is None or turn.is_ending or turn.turn_id is not None or turn.prompt is None or turn.cancel is not None:
        return
    turn.prompt.crashes += 1
    if turn.prompt.crashes < POISON_CRASHES:
        yield Commit(SaveCrashes(session.id, turn.seq, turn.prompt.crashes))
        return
    text = f"{POISON_CRASHES} workers died with this prompt before they could send it to the model."
    hint = f"See `chat-coord logs {session.name}`; change the prompt, or send it again if the cause is mended."
    error = ErrorView(code="prompt.poisoned", message=text, hint=hint)
    yield from end_turn(world, session, turn, mark(session, turn.seq, "poisoned", turn, error), now_s)


def cancel_waiting(world: World, session: Session, now_s: float) -> Iterator[Effect]:
    """The session is being closed: all that wait end ``cancelled``. The running turn ends with its worker.

    A worker of an earlier coordinator that has not said hello may have one of them in hand, or answered: what waits
    then ends when that worker is dead and its outbox is read.
    """
    if session.has_process and session.peer is None:
        return
    if not session.has_process:
        yield from _end_parked(world, session, "cancelled", None, now_s)
    yield from _end_waiting(world, session, "cancelled", None, now_s)


def fail_all(world: World, session: Session, now_s: float) -> Iterator[Effect]:
    """The session gave up: what waits ends ``failed``, with the reason, so that nobody waits for ever."""
    reason = session.exit_card.reason if session.exit_card else "its worker could not be started"
    hint = "Mend that, then send again; a new prompt tries to start the session again."
    error = ErrorView(code="session.failed", message=f"The session gave up: {reason}.", hint=hint)
    if session.turn is not None and session.turn.is_answered:  # one that is not waits for a person, who wakes it
        yield from _end_parked(world, session, "failed", error, now_s)
    yield from _end_waiting(world, session, "failed", error, now_s)


def _end_parked(
    world: World, session: Session, stop_reason: StopReason, error: ErrorView | None, now_s: float
) -> Iterator[Effect]:
    turn = session.turn
    if turn is not None and turn.is_parked and not turn.is_ending:
        yield from end_turn(world, session, turn, mark(session, turn.seq, stop_reason, turn, error), now_s)


def _end_waiting(
    world: World, session: Session, stop_reason: StopReason, error: ErrorView | None, now_s: float
) -> Iterator[Effect]:
    while session.waiting:
        prompt = session.waiting.popleft()
        turn = Turn(prompt.seq, prompt, now_s)
        yield from end_turn(world, session, turn, mark(session, prompt.seq, stop_reason, turn, error), now_s)


# ---- what dead workers and dead coordinators leave behind


def take_outbox(
    world: World, session: Session, epoch: int, records: tuple[Record, ...], now_s: float
) -> Iterator[Effect]:
    """Take in what a dead worker noted: its reply ends the turn, its start has begun it, whether it was heard or not.

    The outbox goes when what follows from it is committed (``world.imports``), or at once when nothing does.
    """
    is_needed = False
    for record in records:
        turn = _turn_of(session, record.seq, now_s)
        if turn is None:
            continue  # it is answered
        if turn.prompt is not None and epoch <= turn.prompt.resumed:
            continue  # of the attempt that was interrupted before
        if _is_of_a_stored_leg(record, turn):
            continue
        is_needed = True
        world.imports[session.id, record.seq] = epoch
        if turn.is_ending or turn.is_parking:
            continue  # it was heard of, and its commit is under way
        if isinstance(record, Started):
            turn.turn_id = record.turn_id
            begin_leg(turn, record.leg)
            if turn.prompt is not None:
                turn.prompt.turn_id, turn.prompt.leg = record.turn_id, record.leg
        elif isinstance(record, ToolIntent | ToolDone):
            _note_tool(turn, record)
        else:
            _take_out(world, session, turn, stays=isinstance(record, Asked))
            turn.pieces = record.pieces
            if isinstance(record, Asked):
                yield from stop_to_ask(world, session, turn, record, now_s)
            else:
                yield from end_turn(world, session, turn, record, now_s)
    if not is_needed:
        yield DropOutbox(session.id, epoch)


def _turn_of(session: Session, seq: int, now_s: float) -> Turn | None:
    """Return the turn of a prompt that is not answered: the session's own, or one that was begun and waits."""
    if session.turn is not None and session.turn.seq == seq:
        return session.turn
    prompt = next((p for p in session.waiting if p.seq == seq), None)
    return None if prompt is None else restored_turn(prompt, now_s)


def _is_of_a_stored_leg(record: Record, turn: Turn) -> bool:
    """Say whether the record is of a leg that has asked since: that is in the store, so the record says nothing new."""
    if isinstance(record, Started | Asked):
        return record.leg < turn.leg or (turn.is_parked and record.leg == turn.leg)
    return turn.is_parked and not isinstance(record, Reply)


def _note_tool(turn: Turn, record: ToolIntent | ToolDone) -> None:
    tool = f"{record.tool}: {record.text}" if isinstance(record, ToolIntent) else None
    turn.unfinished_tool, turn.has_used_tools = tool, True
    if turn.prompt is not None:
        turn.prompt.unfinished_tool, turn.prompt.has_used_tools = tool, True


def _take_out(world: World, session: Session, turn: Turn, *, stays: bool) -> None:
    """It waits no more: it ends, or it stops to ask and is the session's turn then."""
    if turn is not session.turn and turn.prompt is not None:
        session.waiting.remove(turn.prompt)
        if stays:
            session.turn = turn
            world.turn_fact(session, TurnFact.DELIVERED)


def take_over(world: World, session: Session, hello: Hello, now_s: float) -> Iterator[Effect]:
    """A worker of an earlier coordinator may come with a turn in it: go on where it is.

    Prompts that were started in another worker have lost their turn.
    """
    turn = session.turn
    if turn is not None and turn.is_answered and turn.seq == hello.seq and hello.leg > turn.leg:
        begin_leg(turn, hello.leg)  # an earlier coordinator had sent the answers
    for prompt in list(session.waiting):
        if prompt.seq == hello.seq and session.turn is None:
            session.waiting.remove(prompt)
            session.turn = restored_turn(prompt, now_s)
            session.turn.turn_id, session.turn.leg = hello.turn_id, hello.leg
            session.turn.started_s = now_s  # or before that, under the coordinator that it was started for
            world.turn_fact(session, TurnFact.DELIVERED)
        elif prompt.turn_id is not None:
            session.waiting.remove(prompt)
            yield from _interrupt(world, session, restored_turn(prompt, now_s), now_s)


def end_orphaned_turns(world: World, session: Session, now_s: float) -> Iterator[Effect]:
    """The coordinator starts and the worker is gone: turns that had been started end ``interrupted``."""
    if session.has_turn_in_hand and not session.has_process and session.turn is not None:
        yield from _interrupt(world, session, session.turn, now_s)  # it had gone on after an ask
    nobody = Hello(session=session.id, epoch=session.epoch, token=b"", pid=0)
    yield from take_over(world, session, nobody, now_s)
