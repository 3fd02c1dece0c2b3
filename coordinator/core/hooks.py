"""When a person's own commands are run: a session begins to wait for somebody, gave up, or a turn is over."""

from collections.abc import Iterator

from coordinator.core.effects import Effect, RunHook
from coordinator.core.lifecycle import Residency
from coordinator.core.world import Session, World
from protocol.views import StopReason

# What a turn's end means; one that a person ended means nothing to them.
ENDS: dict[StopReason, str] = {
    "completed": "completed",
    "failed": "failed",
    "poisoned": "failed",
    "interrupted": "failed",
}


def on_change(world: World, session: Session) -> Iterator[Effect]:
    """A session shows another word."""
    if session.display in {"requires_action", "failed"}:
        yield from _run(world, session, session.display)


def on_turn_over(world: World, session: Session, stop_reason: StopReason) -> Iterator[Effect]:
    """The end of a turn is durable. Those that end because their session gave up are told with that."""
    event = ENDS.get(stop_reason)
    if event is not None and session.residency is not Residency.FAILED:
        yield from _run(world, session, event)


def _run(world: World, session: Session, event: str) -> Iterator[Effect]:
    settings = world.settings
    commands = {
        "requires_action": settings.hook_requires_action,
        "failed": settings.hook_failed,
        "completed": settings.hook_completed,
    }
    if commands[event]:
        yield RunHook(event, tuple(commands[event]), session.id, session.name, session.display)
