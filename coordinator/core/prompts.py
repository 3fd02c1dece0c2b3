"""Prompts on their way in: check, commit, then acknowledge. What becomes of them is in ``turns`` and ``endings``."""

from collections.abc import Iterator

from coordinator.core import first_words
from coordinator.core.effects import Commit, Effect, InsertPrompt, InsertRetry, SendClient
from coordinator.core.endings import cancel_waiting
from coordinator.core.events import Outcome
from coordinator.core.hibernation import disturb
from coordinator.core.lifecycle import Work
from coordinator.core.showing import refusal
from coordinator.core.turns import deliver_next
from coordinator.core.world import Prompt, Session, World
from protocol.errors import (
    CoordinatorStopping,
    IdemConflict,
    ImagesNotTaken,
    NothingToRetry,
    PromptEmpty,
    PromptTooLarge,
    SessionClosed,
    ValueIllegal,
)
from protocol.limits import IMAGES_BYTES, PROMPT_BYTES
from protocol.messages import Ack, Retry, Submit

IDEM_CHARS = 128


def submit(world: World, peer: bytes, order: Submit, now_s: float) -> Iterator[Effect]:
    """Check a prompt and put it into the store; the answer waits for the commit."""
    session = _open_session(world, order.session, order.idem)
    if not order.text.strip():
        raise PromptEmpty("The prompt is empty.")
    size = len(order.text.encode())
    if size > PROMPT_BYTES:
        raise PromptTooLarge(f"The prompt has {size} bytes; {PROMPT_BYTES} are allowed.", limit=PROMPT_BYTES)
    if order.images:
        _check_images(world, session, order)
    images = tuple(order.images)
    yield Commit(
        InsertPrompt(session.id, order.idem, order.text, world.wall_s(now_s), peer, order.request, order.follow, images)
    )


def _check_images(world: World, session: Session, order: Submit) -> None:
    size = sum(len(image.data) for image in order.images)
    if size > IMAGES_BYTES:
        text = f"The images have {size} bytes; {IMAGES_BYTES} are allowed together."
        raise PromptTooLarge(text, limit=IMAGES_BYTES, hint="Make them smaller.")
    model = world.settings.all_models().get(session.model)
    if model is not None and not model.takes_images:
        raise ImagesNotTaken(f"The model {session.model!r} of the session {session.name!r} takes no images.")


def _open_session(world: World, name: str, idem: str) -> Session:
    """Return the session that a prompt is for, if it takes one."""
    session = world.find(name)
    if world.is_draining:
        raise CoordinatorStopping("The coordinator is stopping and takes no more prompts.")
    if session.is_closed or session.is_deleting:
        raise SessionClosed(f"The session {session.name!r} is closed.")
    if not 0 < len(idem) <= IDEM_CHARS:
        raise ValueIllegal(f"An idempotency key has 1 to {IDEM_CHARS} characters.", hint="Give a shorter --idem.")
    world.check_writable()
    return session


def retry(world: World, peer: bytes, order: Retry, now_s: float) -> Iterator[Effect]:
    """Run the last turn again if it did not complete: the same prompt, committed once more under a key of its own."""
    session = _open_session(world, order.session, order.idem)
    yield Commit(InsertRetry(session.id, order.idem, world.wall_s(now_s), peer, order.request, order.follow))


def on_prompt_committed(
    world: World, session: Session, prompt: InsertPrompt | InsertRetry, outcome: Outcome, now_s: float
) -> Iterator[Effect]:
    """Acknowledge. A new prompt then waits for its turn, and wakes the session."""
    if outcome.seq == 0:
        nothing = NothingToRetry(f"The last turn of {session.name!r} completed, or there was none.")
        yield SendClient(prompt.peer, refusal(prompt.request, nothing))
        return
    if outcome.conflict:
        error = IdemConflict("That idempotency key was used for another text.")
        yield SendClient(prompt.peer, refusal(prompt.request, error))
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
    session.used_s = now_s
    session.unread = False
    if session.work is not Work.REQUIRES_ACTION:
        session.waiting_since = None
    text = prompt.text if isinstance(prompt, InsertPrompt) else outcome.text
    has_images = bool(prompt.images) if isinstance(prompt, InsertPrompt) else outcome.has_images
    session.waiting.append(Prompt(outcome.seq, text, now_s, has_images=has_images))
    yield from first_words.heed(world, session, text)
    if session.is_closed:  # closed between the prompt's arrival and its commit
        yield from cancel_waiting(world, session, now_s)
    elif session.turn is None:
        yield from disturb(world, session)
        yield from deliver_next(world, session, now_s)
