"""What a person notes on a session: pinned, archived, a draft, type, model, temperature; that it is to be no more."""

from collections.abc import Iterator

from coordinator.core.closing import pass_on
from coordinator.core.effects import Commit, DeleteSession, DropFiles, Effect, SaveMark, SendClient, SendWorker
from coordinator.core.lifecycle import Residency
from coordinator.core.providers import check_model
from coordinator.core.session_types import system_of
from coordinator.core.showing import session_view, tell
from coordinator.core.world import Session, World
from protocol.errors import PromptTooLarge, SessionBusy, SessionClosed, ValueIllegal
from protocol.limits import MOST_TEMPERATURE, PROMPT_BYTES
from protocol.messages import Changed, Delete, Done, Mark, Retyped, SessionAnswer
from protocol.views import SESSION_TYPES

# Where a session may be deleted: nothing runs for it.
AT_REST = frozenset({Residency.HIBERNATED, Residency.FAILED, Residency.STOPPED})
# The word that listeners hear of a session that is deleted.
GONE = "gone"


def mark(world: World, peer: bytes, order: Mark, now_s: float) -> Iterator[Effect]:
    """Note it; the answer waits for the commit.

    Raises:
        ValueIllegal, PromptTooLarge, ModelUnknown: the mark cannot have that value.
    """
    del now_s
    session = world.find(order.session)
    if not _is_possible(order):
        raise ValueIllegal(f"The mark {order.mark!r} cannot be {order.value!r:.64}.")
    if order.mark == "model":
        check_model(world.settings, str(order.value))
    elif isinstance(order.value, str) and len(order.value.encode()) > PROMPT_BYTES:
        raise PromptTooLarge(f"A draft can have {PROMPT_BYTES} bytes.", limit=PROMPT_BYTES)
    world.check_writable()
    yield Commit(SaveMark(session.id, order.mark, order.value, peer, order.request))


def _is_possible(order: Mark) -> bool:
    """Say whether the mark may have such a value at all."""
    value = order.value
    match order.mark:
        case "temperature":
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return value is None or (is_number and 0 <= float(value) <= MOST_TEMPERATURE)
        case "type":
            return value in SESSION_TYPES
        case "draft" | "model":
            return isinstance(value, str)
        case _:
            return isinstance(value, bool)


def on_marked(world: World, session: Session, change: SaveMark) -> Iterator[Effect]:
    """It is durable."""
    if change.mark == "pinned":
        session.is_pinned = bool(change.value)
    elif change.mark == "archived":
        session.is_archived = bool(change.value)
        world.touch(session, "archived" if change.value else "taken out of the archive")
    elif change.mark == "model":
        session.model = str(change.value)
    elif change.mark == "temperature":
        session.temperature = None if change.value is None else float(change.value)
    elif change.mark == "draft":
        session.draft = str(change.value)
    elif change.mark == "proposed_type":
        if not session.is_type_chosen:
            session.proposed_type = str(change.value)
        return
    else:
        session.type, session.proposed_type, session.is_type_chosen = str(change.value), None, True
        if session.peer is not None:
            system = system_of(world.settings, session.type, session.system)
            yield SendWorker(session.peer, Retyped(type=session.type, system=system))
    known = world.peers.get(change.peer)
    view = session_view(world, session, known.client if known else None)
    yield SendClient(change.peer, SessionAnswer(request=change.request, session=view))


def delete(world: World, peer: bytes, order: Delete, now_s: float) -> Iterator[Effect]:
    """Remove everything of a session; the answer waits for the commit.

    Raises:
        SessionBusy: it has a worker, or is about to get one.
    """
    del now_s
    session = world.find(order.session)
    if session.residency not in AT_REST or session.waiting or session.ending:
        hint = f"End it first: `chat-coord close {session.name}`."
        raise SessionBusy(f"The session {session.name!r} is {session.residency} and cannot be deleted.", hint=hint)
    if session.turn is not None:
        hint = f"Answer it, or end its turn: `chat-coord cancel {session.name}`."
        raise SessionBusy(f"The session {session.name!r} waits for an answer and cannot be deleted.", hint=hint)
    if session.residency is Residency.STOPPED and not session.is_close_committed:
        raise SessionBusy(f"The session {session.name!r} is still being closed.", hint="Try again.")
    if session.is_deleting:
        raise SessionClosed(f"The session {session.name!r} is being deleted.")
    world.check_writable()
    session.is_deleting = True
    yield Commit(DeleteSession(session.id, peer, order.request))


def on_deleted(world: World, session: Session, change: DeleteSession, now_s: float) -> Iterator[Effect]:
    """Nothing of it is in the store: forget it, and what its workers left in files."""
    yield from pass_on(world, session)
    for known in world.peers.values():
        if known.attached == session.id:
            known.attached = None
    before = session.display
    world.remove(session)
    world.changes += 1
    yield from tell(
        world,
        Changed(
            seq=world.changes,
            at=world.wall_s(now_s),
            session=session.id,
            name=session.name,
            before=before,
            after=GONE,
            cause="deleted",
        ),
    )
    yield DropFiles(session.id)
    yield SendClient(change.peer, Done(request=change.request))
