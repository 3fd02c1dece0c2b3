"""What workers say, once they are known: who handles it. How they become known is in ``workers``."""

from collections.abc import Iterator

from coordinator.core import (
    asks,
    governing,
    hibernation,
    inspecting,
    local_use,
    model_names,
    session_types,
    steering,
    turns,
    writes,
)
from coordinator.core.effects import Effect, SendEndpoint, SendHistoryBack, SendRestore, SendWorker
from coordinator.core.world import Session, World
from protocol import messages as m


def on_report(world: World, session: Session, peer: bytes, message: m.WorkerSays, now_s: float) -> Iterator[Effect]:
    """Take in a message of the session's worker.

    Raises:
        IllegalTransition: it does not go with what the session does.
    """
    match message:
        case m.Ping():
            yield SendWorker(peer, m.Pong(boot=world.boot))
            inspecting.on_ping(session, message)
            yield from governing.on_ping(world, session, message, now_s)
        case m.Stacks():
            yield from inspecting.on_stacks(session, message)
        case m.Restored():
            yield from hibernation.on_restored(world, session, message)
            yield from steering.answer_waiting(world, session)
        case m.FetchBack():
            yield SendHistoryBack(peer, session.id, message.before_seq)
        case m.RestoreWanted():
            yield SendRestore(peer, session.id, message.skip)
        case m.SnapshotTaken():
            yield from hibernation.on_snapshot(world, session, message, now_s)
        case m.NameGiven():
            yield from model_names.on_given(world, session, message)
        case m.Busy():
            yield from hibernation.on_busy(world, session, message, now_s)
        case _:
            yield from _on_turn(world, session, peer, message, now_s)


def _on_turn(world: World, session: Session, peer: bytes, message: m.WorkerSays, now_s: float) -> Iterator[Effect]:
    match message:
        case m.Started():
            yield from turns.on_started(world, session, message, now_s)
        case m.Delta():
            yield from turns.on_delta(world, session, message, now_s)
        case m.Reply():
            yield from turns.on_reply(world, session, message, now_s)
        case m.Asked():
            yield from asks.on_asked(world, session, message, now_s)
        case m.ToolState():
            yield from turns.on_tool(world, session, message, now_s)
        case m.WriteWanted():
            yield from writes.on_write_wanted(world, session, message, now_s)
        case m.EndpointWanted():
            if session.turn is not None:
                session.turn.model = session.model_in_use
            local_use.used(world, session, now_s)
            rules = session_types.rules_of(world.settings, session.type, session.template)
            yield SendEndpoint(peer, session.model_in_use, rules, session.temperature)
        case m.PermitWanted():
            yield from governing.on_wanted(world, session, message, now_s)
        case m.PermitReturned():
            yield from governing.on_returned(world, session, message, now_s)
