"""Which local models are in use: a server that nobody needs is stopped, and the next turn that does starts it again."""

from collections.abc import Iterator

from coordinator.core.effects import Effect, EndModelServers, Note
from coordinator.core.world import Session, World

# Stands for the servers of models that are not configured any more, which an earlier coordinator may have left.
OTHERS = ""


def begin(world: World, now_s: float) -> None:
    """Servers that an earlier coordinator started count as used now."""
    names = [name for name, model in world.settings.all_models().items() if model.provider == "local"]
    world.local_used_s = dict.fromkeys([*names, OTHERS], now_s)


def used(world: World, session: Session, now_s: float) -> None:
    """A session's worker asks where its model is, or answers with it."""
    model = world.settings.all_models().get(session.model_in_use)
    if model is not None and model.provider == "local":
        world.local_used_s[session.model_in_use] = now_s


def on_tick(world: World, now_s: float) -> Iterator[Effect]:
    """End the servers that no turn has used for ``model_idle_s``."""
    for session in world.roll.holders:
        if session.turn is not None:
            used(world, session, now_s)
    idle_s = world.settings.model_idle_s
    expired = [name for name, at_s in world.local_used_s.items() if now_s - at_s > idle_s]
    if expired:
        for name in expired:
            del world.local_used_s[name]
        kept = tuple(sorted(name for name in world.local_used_s if name != OTHERS))
        yield Note("model servers without use are ended", {"kept": kept})
        yield EndModelServers(kept, keeps_others=OTHERS in world.local_used_s)
