"""What operators' own tools are told: how much there is just now, and how each turn and each worker's end went.

Nothing here is decided by, and nothing names, what a person wrote: sessions are told by id, in traces alone.
"""

from collections import Counter
from collections.abc import Iterator

from coordinator.core import memory
from coordinator.core.effects import Effect, ExitCause, Figures, InsertReply, ObserveExit, ObserveTurn, TellFigures
from coordinator.core.events import Scraped
from coordinator.core.governing import permits_view
from coordinator.core.lifecycle import Residency, Work
from coordinator.core.showing import counts
from coordinator.core.world import BY_HAND, Session, Turn, World


def is_wanted(world: World) -> bool:
    """Say whether anybody is told."""
    return bool(world.settings.metrics_port or world.settings.trace_endpoint)


# ---- how much there is


def on_scraped(world: World, event: Scraped, now_s: float) -> Iterator[Effect]:
    """Somebody asks how much there is."""
    holders = world.roll.holders
    works = Counter(session.work.value for session in holders)
    own = [session.memory.uss_bytes for session in holders if session.memory.uss_bytes is not None]
    heard = [now_s - s.heard_s for s in holders if s.residency is Residency.LIVE and s.peer is not None]
    lags = [session.loop_lag_ms for session in holders if session.loop_lag_ms is not None]
    in_line = [world.sessions[key] for key in world.line if key in world.sessions]
    yield TellFigures(
        event.n,
        Figures(
            sessions=counts(world),
            residencies={residency.value: world.roll.count(residency) for residency in Residency},
            works={work.value: works[work.value] for work in Work},
            prompts_unanswered=sum(session.unanswered for session in (*holders, *in_line)),
            asks_waiting=len(world.asks),
            permits=permits_view(world, now_s),
            memory=memory.overview(world),
            largest_worker_bytes=max(own, default=0),
            longest_silence_s=max(heard, default=0.0),
            largest_lag_s=max(lags, default=0) / 1000,
            clients=len(world.peers),
            pieces=world.pieces_seen,
            is_store_writable=world.store_fault is None,
        ),
    )


# ---- what happened


def on_turn_over(world: World, session: Session, turn: Turn, reply: InsertReply, now_s: float) -> Iterator[Effect]:
    """The end of a turn is durable."""
    if is_wanted(world):
        yield ObserveTurn(
            session=session.id,
            seq=reply.reply_to,
            turn_id=reply.turn_id,
            model=reply.model or session.model,
            stop_reason=reply.stop_reason,
            error=reply.error.code if reply.error else None,
            usage=reply.usage,
            pieces=turn.pieces,
            committed_s=turn.prompt.committed_s if turn.prompt else turn.delivered_s,
            started_s=turn.started_s,
            first_piece_s=turn.first_piece_s,
            ended_s=now_s,
            permits=tuple((use.asked_s, use.granted_s, use.over_s) for use in turn.permits),
        )


def on_exit(world: World, session: Session, *, was_expected: bool, is_of_memory: bool) -> Iterator[Effect]:
    """A worker is dead; why it died is still known."""
    if is_wanted(world):
        causes: dict[ExitCause, bool] = {
            "ordered": was_expected,
            "by_hand": session.doom == BY_HAND,
            "memory": is_of_memory,
            "silent": session.is_ending,
        }
        yield ObserveExit(next((cause for cause, is_so in causes.items() if is_so), "crash"))
