"""The governor among sessions: who asks for a permit, who gets it, what is spent, and what people see of it.

``permits`` decides who goes next; here are the facts that it needs, and what its decisions do to the work of sessions.
"""

from collections.abc import Iterator

from coordinator.core import model_names
from coordinator.core.effects import Effect, SendWorker, StartTimer
from coordinator.core.lifecycle import Residency, TurnFact, Work
from coordinator.core.permits import Answer
from coordinator.core.providers import provider_of
from coordinator.core.world import MOST_PERMITS, PermitUse, Session, Turn, World
from protocol.errors import SpendLimit
from protocol.messages import NAMING, Permit, PermitRefused, PermitReturned, PermitWanted, Ping
from protocol.views import ErrorView, GateView, PermitsView, Usage

# Answers with which a provider asks for patience; a busy one (5xx) only when it says for how long.
RATE_LIMITED = frozenset({429, 529})
SERVER_ERRORS = range(500, 600)
SUCCESSES = range(200, 300)


# ---- what workers say


def on_wanted(world: World, session: Session, wanted: PermitWanted, now_s: float) -> Iterator[Effect]:
    """A worker wants to send a request for its turn: now, in line, or not at all."""
    turn, peer = session.turn, session.peer
    if wanted.boot != world.boot or peer is None:
        return  # it will ask this coordinator when it knows it
    if wanted.turn_id == NAMING:
        yield from _on_name(world, session, wanted, now_s)
        return
    if session.residency is not Residency.LIVE or turn is None or turn.is_ending:
        return  # it was told to leave, or its turn is not known yet: it asks again
    if turn.turn_id not in {None, wanted.turn_id}:
        return
    provider = provider_of(world.settings, session.model_in_use)
    answer = world.governor.want(session.id, provider, wanted.call, wanted.barred_s, now_s)
    if answer is Answer.HELD:
        yield SendWorker(peer, Permit(boot=world.boot, call=wanted.call))
    elif answer is Answer.QUEUED:
        yield from serve(world, now_s)
        if world.governor.is_waiting(session.id) and session.work is Work.RUNNING:
            world.turn_fact(session, TurnFact.WAITED)


def _on_name(world: World, session: Session, wanted: PermitWanted, now_s: float) -> Iterator[Effect]:
    """A worker would ask what its session shall be called: at once, or not at all."""
    if not world.governor.holds(session.id, wanted.call) and not model_names.may_go(world, session):
        yield from model_names.refuse(world, session, wanted.call)
        return
    provider = provider_of(world.settings, session.model)
    if world.governor.want(session.id, provider, wanted.call, wanted.barred_s, now_s) is Answer.HELD:
        if session.peer is not None:
            yield SendWorker(session.peer, Permit(boot=world.boot, call=wanted.call))
        return
    yield from serve(world, now_s)
    if world.governor.is_waiting(session.id):  # its provider is closed
        yield from model_names.refuse(world, session, wanted.call)


def on_returned(world: World, session: Session, back: PermitReturned, now_s: float) -> Iterator[Effect]:
    """A request is over: what the answer says of the provider counts for everybody."""
    if back.boot != world.boot:
        return  # meant for an earlier coordinator; its ping tells what it holds
    provider = provider_of(world.settings, session.model_in_use)
    status = back.status or 0
    if status in RATE_LIMITED or (status in SERVER_ERRORS and back.retry_after_s is not None):
        world.governor.refuse(session.id, back.call, provider, back.retry_after_s, now_s)
    if not world.governor.is_over(session.id, back.call):
        _count(world, session, back.usage, now_s)
        if session.turn is not None and session.turn.permits:
            session.turn.permits[-1].over_s = now_s
    world.governor.give_back(session.id, back.call, is_answered=status in SUCCESSES, now_s=now_s)
    yield from serve(world, now_s)


def on_ping(world: World, session: Session, ping: Ping, now_s: float) -> Iterator[Effect]:
    """A worker says what it holds; a return that was lost is known by it."""
    if ping.boot == world.boot and world.governor.settle(session.id, ping.permits_over, ping.permit):
        yield from serve(world, now_s)


def on_piece(world: World, session: Session) -> None:
    """The provider answers."""
    world.governor.succeed(session.id)


def on_death(world: World, session: Session, now_s: float) -> Iterator[Effect]:
    """The process is dead, so what it held is free."""
    world.governor.bury(session.id)
    yield from serve(world, now_s)


# ---- who goes next


def serve(world: World, now_s: float) -> Iterator[Effect]:
    """Let requests go that may, and come back when the next one might."""
    governor = world.governor
    if not governor.waiting:
        return
    yield from _refuse_spenders(world)
    for holder, call in governor.grant(world.foreground(), now_s):
        session = world.session(holder)
        if session.work is Work.THROTTLED:
            world.turn_fact(session, TurnFact.GRANTED)
        if session.turn is not None and len(session.turn.permits) < MOST_PERMITS:
            waited_s = governor.waited(holder, now_s)[1] or 0.0
            session.turn.permits.append(PermitUse(now_s - waited_s, now_s))
        if session.peer is not None:
            yield SendWorker(session.peer, Permit(boot=world.boot, call=call))
    next_s = governor.next_s(now_s)
    if next_s is not None and (world.permits_due_s is None or next_s < world.permits_due_s):
        world.permits_due_s = next_s
        yield StartTimer(("permits", "", 0), max(0.0, next_s - now_s))


def on_due(world: World, now_s: float) -> Iterator[Effect]:
    """A gate or a budget may be open again."""
    world.permits_due_s = None
    yield from serve(world, now_s)


# ---- what is spent


def _count(world: World, session: Session, usage: Usage, now_s: float) -> None:
    spent = usage.input_tokens + usage.output_tokens
    if spent:
        world.governor.count_tokens(provider_of(world.settings, session.model_in_use), spent, now_s)
        if session.turn is not None:
            known = session.turn.usage
            session.turn.usage = Usage(
                input_tokens=known.input_tokens + usage.input_tokens,
                output_tokens=known.output_tokens + usage.output_tokens,
            )


def settle_usage(world: World, session: Session, turn: Turn, told: Usage, now_s: float) -> Usage:
    """Return what a turn cost: what it says at its end, or what its requests were seen to cost if that is more."""
    seen = turn.usage
    rest = told.input_tokens + told.output_tokens - seen.input_tokens - seen.output_tokens
    if rest < 0:
        return seen
    world.governor.count_tokens(provider_of(world.settings, session.model_in_use), rest, now_s)
    return told


def _refuse_spenders(world: World) -> Iterator[Effect]:
    settings = world.settings
    if not settings.spend_tokens_session and not settings.spend_tokens_total:
        return
    running = sum(_seen(session) for session in world.roll.holders)
    for holder in world.governor.waiting:
        session = world.session(holder)
        error = _beyond(world, session, world.tokens_spent + running)
        call = world.governor.withdraw(holder) if error is not None else None
        if error is not None and call is not None and session.peer is not None:
            yield SendWorker(session.peer, PermitRefused(call=call, error=error))


def _beyond(world: World, session: Session, spent_by_all: int) -> ErrorView | None:
    """Return why the session may not spend more; None when it may."""
    settings = world.settings
    checks = (
        ("spend_tokens_session", settings.spend_tokens_session, session.tokens + _seen(session), "This session"),
        ("spend_tokens_total", settings.spend_tokens_total, spent_by_all, "All sessions together"),
    )
    for key, limit, spent, who in checks:
        if limit and spent >= limit:
            error = SpendLimit(f"{who} spent {spent} tokens of the {limit} that {key} allows.")
            hint = (
                f"Raise it: `chat-coord config set {key} NUMBER`, `chat-coord restart`, then `chat-coord retry NAME`."
            )
            return ErrorView(code=error.code, message=error.message, hint=hint)
    return None


def _seen(session: Session) -> int:
    """Return what the requests of the running turn are known to have cost."""
    return 0 if session.turn is None else session.turn.usage.input_tokens + session.turn.usage.output_tokens


# ---- what people see


def work_detail(world: World, session: Session) -> dict[str, str | int | float | None] | None:
    """Return why a session waits for a permit, and how long; None when it does not."""
    now_s = world.stepped_s or 0.0
    place = world.governor.place(session.id, world.foreground(), now_s)
    if place is None or session.turn is None:
        return None
    position, why, until_s, wait_s = place
    return {
        "seq": session.turn.seq,
        "turn_id": session.turn.turn_id,
        "why": why,
        "position": position,
        "until": None if until_s is None else world.wall_s(until_s),
        "expected_wait_s": None if wait_s is None else round(wait_s, 1),
    }


def permits_view(world: World, now_s: float) -> PermitsView:
    """Return the permits at a glance."""
    governor = world.governor
    return PermitsView(
        in_use=governor.in_use,
        limit=governor.limit,
        waiting=len(governor.waiting),
        gates=[
            GateView(provider=who, why=why, until=None if s is None else world.wall_s(s), allowed=allowed)
            for who, why, s, allowed in governor.gates(now_s)
        ],
    )
