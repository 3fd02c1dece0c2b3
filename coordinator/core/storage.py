"""A store that cannot write: nothing new is acknowledged, nothing finished is dropped, nobody is blamed for it.

What a person waits for is refused with the reason. What only has to become durable is kept and offered again with each
tick: a finished reply, and also the epoch of a worker to be started, so that a full disk spends no restarts. When the
store tells that it takes changes again, everything goes on by itself.
"""

from collections.abc import Iterator

from coordinator.core import asks, closing, hibernation, turns, workers
from coordinator.core.effects import (
    BumpEpoch,
    Change,
    Commit,
    DeleteSession,
    Effect,
    InsertFork,
    InsertImported,
    InsertPrompt,
    InsertRetry,
    InsertSession,
    Note,
    SaveActive,
    SaveClosed,
    SaveDecision,
    SaveMark,
    SaveName,
    SaveSnapshot,
    SendClient,
    StageRows,
)
from coordinator.core.events import CommitFailed, StoreTurned
from coordinator.core.lifecycle import Residency
from coordinator.core.showing import refusal, tell
from coordinator.core.world import World
from protocol.errors import ChatCoordError, StoreFailed, StoreReadOnly
from protocol.messages import StoreState


def on_turned(world: World, event: StoreTurned, now_s: float) -> Iterator[Effect]:
    """The store stopped taking changes, or takes them again: tell who listens, and go on where things waited."""
    world.store_fault, world.store_hint = event.reason, event.hint
    yield Note("store is read-only" if event.reason else "store takes changes again", {"reason": event.reason})
    world.changes += 1
    yield from tell(world, state(world, now_s))
    if event.reason is None:
        yield from offer_again(world)
        for session in world.roll.holders:
            yield from turns.deliver_next(world, session, now_s)


def state(world: World, now_s: float) -> StoreState:
    """Return what listeners are told of the store."""
    reason = world.store_fault
    at = world.wall_s(now_s)
    return StoreState(seq=world.changes, at=at, writable=reason is None, reason=reason, hint=world.store_hint)


def on_commit_failed(world: World, event: CommitFailed, now_s: float) -> Iterator[Effect]:
    """A change is not in the store: say so to who waits for it; keep what has to get there."""
    change = event.change
    error: StoreFailed | StoreReadOnly = StoreFailed(f"The database did not take the change: {event.reason}.")
    if world.store_fault is not None:
        error = world.read_only()
    if isinstance(change, SaveActive):
        world.unsaved[subject(change)] = change
        return
    if isinstance(change, StageRows):
        yield SendClient(change.peer, refusal(change.request, error))
        return
    if change.session not in world.sessions:  # it was deleted meanwhile, so what was asked of it is refused
        if isinstance(change, InsertPrompt | InsertRetry | SaveName | SaveMark | DeleteSession) and change.peer:
            yield SendClient(change.peer, refusal(change.request, error))
        return
    match change:
        case InsertSession() | InsertFork() | InsertImported():
            world.remove(world.session(change.session))
            yield SendClient(change.peer, refusal(change.request, error))
        case InsertPrompt() | InsertRetry():
            yield SendClient(change.peer, refusal(change.request, error))
        case SaveName():
            yield from _name_failed(world, change, error)
        case BumpEpoch():
            session = world.session(change.session)
            if event.is_final or session.residency in {Residency.HIBERNATING, Residency.STOPPING}:
                yield from workers.no_process(world, session, error.message, now_s, is_fatal=True)
            else:
                world.unsaved[subject(change)] = change
        case SaveDecision():
            asks.on_decision_failed(world, world.session(change.session), change)
            yield from asks.refuse_decision(change, error)
        case SaveSnapshot():
            yield from hibernation.on_snapshot_failed(world, world.session(change.session), now_s)
        case SaveMark(mark="proposed_type"):
            pass  # the next prompt may say it again
        case SaveMark() | DeleteSession():
            world.session(change.session).is_deleting = False
            yield SendClient(change.peer, refusal(change.request, error))
        case SaveClosed():
            world.unsaved[subject(change)] = change
            yield from closing.on_close_failed(world.session(change.session), error)
        case _:
            world.unsaved[subject(change)] = change


def _name_failed(world: World, change: SaveName, error: ChatCoordError) -> Iterator[Effect]:
    session = world.session(change.session)
    if change.is_auto:
        session.naming = None
    else:
        session.renaming = None
    if change.name not in {session.name, session.naming, session.renaming}:
        world.roll.unreserve(change.name, session.id)
    if not change.is_auto:
        yield SendClient(change.peer, refusal(change.request, error))


def offer_again(world: World) -> Iterator[Effect]:
    """Commit what the store did not take; what it refuses again comes back with the next tick."""
    unsaved, world.unsaved = world.unsaved, {}
    yield from (Commit(change) for change in unsaved.values())


def subject(change: Change) -> tuple[object, ...]:
    """Return what a change is about: of several about the same, only the last is worth committing again."""
    about = getattr(change, "session", None)
    if isinstance(change, SaveActive):
        about = change.client
    return type(change), about, getattr(change, "reply_to", None), getattr(change, "seq", None)
