"""Who wrote which file lately, so that two sessions that write the same one are told. A word of advice, not a lock."""

from collections.abc import Iterator

from coordinator.core.effects import Effect, SendWorker
from coordinator.core.world import Session, World
from protocol.messages import WriteKnown, WriteWanted

# After so long another's work on a file is history.
LATELY_S = 3_600.0
FILES = 5_000
HOLDERS = 8


def on_write_wanted(world: World, session: Session, report: WriteWanted, now_s: float) -> Iterator[Effect]:
    """Note who writes the file, and say who else did."""
    writers = world.writers.pop(report.path, {})
    recent = {key: at_s for key, at_s in writers.items() if now_s - at_s < LATELY_S and key in world.sessions}
    others = [world.sessions[key] for key in recent if key != session.id]
    recent.pop(session.id, None)
    recent[session.id] = now_s
    world.writers[report.path] = dict(list(recent.items())[-HOLDERS:])
    while len(world.writers) > FILES:
        del world.writers[next(iter(world.writers))]
    if session.peer is not None:
        names = [other.name for other in others if not other.is_closed]
        yield SendWorker(session.peer, WriteKnown(path=report.path, holders=names))
