"""A session's model is asked once what the conversation shall be called, if that takes nothing from anybody.

It is one short request after the first turn, in the worker that is there, with a permit that is given only while no
request waits and one is to spare. Until then, and whenever that comes to nothing, the name is of the words of the
prompts (``first_words``). A name that a person gave stays for ever.
"""

from collections.abc import Iterator

from coordinator.core.auto_names import PROMPTS, name_of_model
from coordinator.core.effects import Commit, Effect, SaveName, SendWorker
from coordinator.core.lifecycle import Residency
from coordinator.core.world import Session, World
from protocol.messages import NameGiven, NameWanted, PermitRefused
from protocol.views import ErrorView, StopReason

NOBODY = b""
BUSY = ErrorView(code="permit.busy", message="There is no permit to spare for a name.")


def ask(world: World, session: Session, stop_reason: StopReason) -> Iterator[Effect]:
    """A turn has ended: have the worker ask its model, if nobody needs it for anything else."""
    if stop_reason != "completed" or session.was_asked_for_name or not _is_open(world, session):
        return
    model = world.settings.all_models().get(session.model)
    is_remote = model is not None and model.provider != "local"
    is_at_rest = session.residency is Residency.LIVE and session.turn is None and not session.waiting
    if is_remote and is_at_rest and session.peer is not None and session.messages <= 2 * PROMPTS and is_idle(world):
        session.was_asked_for_name = True
        yield SendWorker(session.peer, NameWanted())


def is_idle(world: World) -> bool:
    """Say whether nobody waits for a permit, and one would be left after this."""
    governor, settings = world.governor, world.settings
    spends_freely = not settings.spend_tokens_session and not settings.spend_tokens_total
    has_room = not governor.waiting and governor.in_use < max(1, governor.limit - 1)
    return has_room and spends_freely and not world.is_draining and world.store_fault is None


def may_go(world: World, session: Session) -> bool:
    """Say whether the request for a name may go out now."""
    is_expected = session.was_asked_for_name and session.turn is None and not session.waiting
    return is_expected and _is_open(world, session) and is_idle(world)


def refuse(world: World, session: Session, call: int) -> Iterator[Effect]:
    """It must not go out: somebody else needs the permit, or the worker."""
    world.governor.withdraw(session.id)
    if session.peer is not None:
        yield SendWorker(session.peer, PermitRefused(call=call, error=BUSY))


def on_given(world: World, session: Session, given: NameGiven) -> Iterator[Effect]:
    """The model has answered: take its words if they are a name and nobody has named the session meanwhile."""
    spent = given.usage.input_tokens + given.usage.output_tokens
    session.tokens += spent
    world.tokens_spent += spent
    if not _is_open(world, session) or not session.was_asked_for_name or world.store_fault is not None:
        return

    def is_taken(name: str) -> bool:
        owner = world.roll.owner_of(name)
        return owner is not None and owner is not session

    name = name_of_model(given.text, is_taken, world.settings.name_max_length)
    session.naming = name or session.name
    world.roll.reserve(session.naming, session.id)
    is_final = True if name is not None or session.is_named else None
    yield Commit(SaveName(session.id, session.naming, NOBODY, 0, is_auto=True, is_final=is_final, usage=given.usage))


def _is_open(world: World, session: Session) -> bool:
    """Say whether the session still looks for a name."""
    settings = world.settings
    has_own = session.is_named and not session.has_words_for_name
    is_being_named = session.naming is not None or session.renaming is not None
    wants = settings.auto_names and settings.auto_names_by_model
    return wants and not has_own and not is_being_named and not session.is_closed and not session.is_deleting
