"""What the first prompts of a session say: a name for one that was given none, and the type that it looks like."""

from collections.abc import Iterator

from coordinator.core.auto_names import PROMPTS, name_for
from coordinator.core.effects import Commit, Effect, SaveMark, SaveName
from coordinator.core.session_types import proposed_type
from coordinator.core.world import Session, World

NOBODY = b""


def heed(world: World, session: Session, text: str) -> Iterator[Effect]:
    """Take in a prompt that was just committed. Nobody waits for what comes of it."""
    if session.is_closed or session.messages >= 2 * PROMPTS or world.store_fault is not None:
        return
    if not session.is_named and world.settings.auto_names and session.naming is None and session.renaming is None:
        name = name_for(text, lambda n: world.roll.owner_of(n) is not None, world.settings.name_max_length)
        if name is not None:
            session.naming = name
            world.roll.reserve(name, session.id)
            yield Commit(SaveName(session.id, name, NOBODY, 0, is_auto=True, is_final=False))
    if not session.is_type_chosen and session.proposed_type is None:
        proposed = proposed_type(text)
        if proposed is not None and proposed != session.type:
            yield Commit(SaveMark(session.id, "proposed_type", proposed, NOBODY, 0))
