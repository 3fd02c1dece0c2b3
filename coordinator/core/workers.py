"""Facts about worker processes: they say hello, end, crash, fall silent; all of them are drained."""

import hashlib
import hmac
from collections.abc import Iterator

import msgspec

from coordinator.core import closing, endings, governing, memory, observing, renewing, turns
from coordinator.core.effects import (
    BumpEpoch,
    Commit,
    Effect,
    EndWorker,
    Note,
    SaveExit,
    SaveFailed,
    SaveRoster,
    SendWorker,
    SpawnWorker,
    StartTimer,
)
from coordinator.core.events import Outcome, SpawnFailed, WorkerExited, WorkerSpawned, WorkerSpoke
from coordinator.core.lifecycle import Fact, Residency
from coordinator.core.residency import dismiss, end, is_wanted_awake, put_to_sleep, wake
from coordinator.core.session_types import system_of
from coordinator.core.world import Session, World
from protocol.messages import Fenced, Hello, Leave, Renamed, SnapshotWanted, Welcome
from protocol.views import ExitCard

# Silence of a worker's main loop after which it is ended: ten missed heartbeats.
SILENCE_S = 10.0
# How long running turns may go on when the coordinator stops.
DRAIN_S = 5.0
# Ticks come each second; nothing for so long means that this process stood still: deadlines move, nobody dies.
STALL_S = 5.0


# ---- born


def on_epoch(world: World, session: Session, outcome: Outcome, now_s: float) -> Iterator[Effect]:
    """The epoch is durable: start the worker, unless the session was closed or put to sleep meanwhile."""
    session.epoch = outcome.epoch
    session.token_sha256 = outcome.token_sha256
    if session.residency in {Residency.HIBERNATING, Residency.STOPPING}:
        yield from _gone(world, session, now_s)
        return
    session.has_process = True
    session.worker_epoch = session.epoch
    session.is_ending = session.is_enrolled = session.is_leaving = session.is_restored = False
    session.is_snapshot_ordered = session.is_outdated = session.is_last_to_share = False
    yield SpawnWorker(session.id, session.epoch, outcome.token, session.name, session.cwd, session.env)


def on_spawned(world: World, event: WorkerSpawned, now_s: float) -> Iterator[Effect]:
    """The process exists: remember it for the next coordinator, and give it until start_timeout_s to say hello."""
    session = world.sessions.get(event.session)
    if session is None or session.worker_epoch != event.epoch:
        yield EndWorker(event.session, event.epoch, "SIGKILL")
        return
    session.pid = event.pid
    session.heard_s = now_s
    yield Commit(SaveRoster(session.id, event.epoch, event.pid, event.start_ticks))
    yield StartTimer(("start", session.id, event.epoch), world.settings.start_timeout_s)
    if session.residency is Residency.STOPPING or session.is_leaving:
        yield from end(session)


def on_enrolled(world: World, session: Session, roster: SaveRoster, now_s: float) -> Iterator[Effect]:
    """The next coordinator would adopt this worker, so now it may be given work: its reply cannot be fenced off."""
    if roster.epoch == session.epoch:
        session.is_enrolled = True
        yield from turns.deliver_next(world, session, now_s)


def on_hello(world: World, event: WorkerSpoke, hello: Hello, now_s: float) -> Iterator[Effect]:
    """A worker says who it is; only the one of the current epoch with the right token is let in."""
    session = world.sessions.get(hello.session)
    if (
        session is None
        or hello.epoch != session.epoch
        or not session.has_process
        or session.pid not in {None, hello.pid}
        or not hmac.compare_digest(hashlib.sha256(hello.token).digest(), session.token_sha256)
    ):
        yield SendWorker(event.peer, Fenced(reason="There is a newer worker, or no such session."))
        return
    if session.residency is Residency.STOPPING or session.is_leaving:
        session.peer = event.peer
        yield from endings.take_over(world, session, hello, now_s)
        yield SendWorker(event.peer, Leave())
        return
    if session.residency not in {Residency.STARTING, Residency.WAKING, Residency.LIVE, Residency.HIBERNATING}:
        yield SendWorker(event.peer, Fenced(reason=f"The session is {session.residency}."))
        return
    renewing.on_hello(session, hello)
    if renewing.speaks_an_older_protocol(hello) and session.residency is not Residency.HIBERNATING:
        session.peer = event.peer
        yield from endings.take_over(world, session, hello, now_s)
        yield from renewing.let_go(world, session, hello)
        return
    is_back = session.residency not in {Residency.STARTING, Residency.WAKING}
    if session.residency is not Residency.HIBERNATING:
        world.move(session, Fact.SAID_HELLO)
    session.peer = event.peer
    session.pid = hello.pid
    session.heard_s = now_s
    system = system_of(world.settings, session.type, session.system)
    yield SendWorker(event.peer, Welcome(boot=world.boot, name=session.name, type=session.type, system=system))
    if session.residency is Residency.HIBERNATING:
        yield SendWorker(event.peer, SnapshotWanted(n=session.snapshots_wanted))
        return
    if not is_back:
        yield Commit(SaveFailed(session.id, failed=False))
    yield from endings.take_over(world, session, hello, now_s)
    yield from turns.deliver_next(world, session, now_s)


def tell_name(peer: bytes, session: Session) -> SendWorker:
    """Name the process after its session."""
    return SendWorker(peer, Renamed(name=session.name))


# ---- ended as was ordered


def _gone(world: World, session: Session, now_s: float) -> Iterator[Effect]:
    """Nothing runs for the session any more, as was ordered."""
    world.move(session, Fact.PROCESS_ENDED)
    if session.residency is Residency.STOPPED:
        yield from endings.cancel_waiting(world, session, now_s)
        yield from closing.closed(world, session)
    elif is_wanted_awake(world, session):
        yield from wake(world, session)


# ---- crashed


def on_exit(world: World, event: WorkerExited, now_s: float) -> Iterator[Effect]:
    """A worker is dead. An idle session sleeps; one with work gets a new worker."""
    session = world.sessions.get(event.session)
    if session is None or session.worker_epoch != event.epoch or not session.has_process:
        return
    was_expected = session.residency in {Residency.HIBERNATING, Residency.STOPPING}
    reason = memory.reason(session, event) or _reason(world, event, session)
    is_of_memory = memory.reason(session, event) is not None
    yield from observing.on_exit(world, session, was_expected=was_expected, is_of_memory=is_of_memory)
    is_oom_suspected = memory.is_oom_suspected(world, session, event.signal)
    session.pid = None
    session.peer = None
    session.has_process = False
    memory.forget(session)
    yield from governing.on_death(world, session, now_s)
    yield Note(
        "worker ended",
        {"session": session.id, "epoch": event.epoch, "exit": event.kind, "signal": event.signal}
        | {"exit_code": event.exit_code, "expected": was_expected},
    )
    seq_in_flight = session.turn.seq if session.turn else None
    if event.outbox is not None:
        yield from endings.take_outbox(world, session, event.epoch, event.outbox, now_s)
    elif session.turn is not None and session.turn.is_answered:
        turns.begin_leg(session.turn, session.turn.leg + 1)  # it may have gone on
    elif session.turn is not None and session.turn.turn_id is None:
        session.turn.turn_id = f"unknown-{event.epoch}-{session.turn.seq}"  # it may have begun: not bought again
    if was_expected:
        yield from endings.lose(world, session, now_s)
        yield from _gone(world, session, now_s)
        return
    card = ExitCard(
        reason=reason,
        signal=event.signal,
        exit_code=event.exit_code,
        oom_suspected=is_oom_suspected,
        at=world.wall_s(now_s),
        seq_in_flight=seq_in_flight,
        stderr_tail=event.stderr_tail,
        restarts=session.restarts.count(now_s),
    )
    yield from _crashed(world, session, card, now_s)


def on_spawn_failed(world: World, event: SpawnFailed, now_s: float) -> Iterator[Effect]:
    """The launcher could not start the process."""
    session = world.sessions.get(event.session)
    if session is not None and session.worker_epoch == event.epoch and session.has_process:
        session.has_process = False
        yield from no_process(world, session, event.reason, now_s, is_fatal=event.fatal)


def no_process(world: World, session: Session, reason: str, now_s: float, *, is_fatal: bool) -> Iterator[Effect]:
    """No process came to be: the same as a crash at birth, unless trying again cannot help."""
    if session.residency in {Residency.HIBERNATING, Residency.STOPPING}:
        yield from _gone(world, session, now_s)
        return
    card = ExitCard(reason=reason, at=world.wall_s(now_s), restarts=session.restarts.count(now_s))
    yield from _crashed(world, session, card, now_s, is_fatal=is_fatal)


def _crashed(
    world: World, session: Session, card: ExitCard, now_s: float, *, is_fatal: bool = False
) -> Iterator[Effect]:
    is_idle = session.residency is Residency.LIVE and not session.has_turn_in_hand and not session.wants_worker
    is_idle = is_idle and not (session.turn is not None and session.turn.cancel is not None and session.waiting)
    delay_s, limit = (None, "") if is_fatal or is_idle or world.is_draining else _delay(world, session, now_s)
    session.exit_card = msgspec.structs.replace(card, reason=card.reason + limit)
    yield Commit(SaveExit(session.id, session.epoch, session.exit_card))
    if is_idle:
        world.move(session, Fact.DIED_IDLE)
        yield from endings.lose(world, session, now_s)
        if session.wakers:  # somebody waits for it to be awake, and it was on its way
            yield from wake(world, session)
        return
    world.move(session, Fact.DIED_BUSY)
    yield from endings.blame(world, session, now_s)
    yield from endings.lose(world, session, now_s)
    if world.is_draining:
        world.move(session, Fact.LEAVE_ORDERED)
    elif delay_s is None:
        world.move(session, Fact.LIMIT_REACHED)
        yield Commit(SaveFailed(session.id, failed=True))
        yield from endings.fail_all(world, session, now_s)
    else:
        yield StartTimer(("backoff", session.id, session.epoch), delay_s)


def _delay(world: World, session: Session, now_s: float) -> tuple[float | None, str]:
    """Return the seconds until the restart; None and the reason in words when a limit is reached."""
    settings = world.settings
    delay_s = session.restarts.spend(now_s)
    if delay_s is None:
        return None, f"; {settings.restart_limit} restarts within {settings.restart_window_s:g} s were not enough"
    if world.restarts.spend(now_s) is None:
        most = settings.restart_limit_total
        return None, f"; all sessions together were restarted {most} times within {settings.restart_window_s:g} s"
    return delay_s, ""


def _reason(world: World, event: WorkerExited, session: Session) -> str:
    if session.is_ending and session.residency in {Residency.STARTING, Residency.WAKING}:
        return f"it did not say hello within {world.settings.start_timeout_s:g} s"
    if session.is_ending:
        return "its main loop stopped answering"
    if event.signal:
        return f"killed by {event.signal}"
    if event.exit_code is not None:
        return f"left with exit code {event.exit_code}"
    return "ended while no coordinator watched"


def on_backoff_over(world: World, session: Session, epoch: int) -> Iterator[Effect]:
    """Restart, unless something else happened to the session since."""
    if session.residency is Residency.BACKOFF and session.epoch == epoch:
        world.move(session, Fact.DELAY_OVER)
        yield Commit(BumpEpoch(session.id))


def on_start_deadline(world: World, session: Session, epoch: int, now_s: float) -> Iterator[Effect]:
    """A worker that never said hello is ended; its exit is the crash."""
    if session.epoch != epoch or session.residency not in {Residency.STARTING, Residency.WAKING}:
        return
    if world.resumed_s is not None and now_s - world.resumed_s < STALL_S:
        yield StartTimer(("start", session.id, epoch), STALL_S)  # its hello may wait behind this timer
    elif session.has_process:
        yield from end(session)


def on_grace_over(session: Session, epoch: int) -> Iterator[Effect]:
    """Still there after being asked: kill it."""
    if session.worker_epoch == epoch and session.has_process:
        yield EndWorker(session.id, epoch, "SIGKILL")


def notice_stall(world: World, now_s: float) -> None:
    """After a stall of our own (SIGSTOP, a sleeping machine) everybody gets that time back, once."""
    gap_s = 0.0 if world.stepped_s is None else now_s - world.stepped_s
    world.stepped_s = now_s
    if gap_s > STALL_S:
        world.resumed_s = now_s
        for session in world.roll.holders:
            session.heard_s = min(now_s, session.heard_s + gap_s)
            if session.turn is not None:
                session.turn.moved_s = min(now_s, session.turn.moved_s + gap_s)
        for peer in world.peers.values():
            peer.heard_s = min(now_s, peer.heard_s + gap_s)


def check_heartbeats(world: World, now_s: float) -> Iterator[Effect]:
    """End workers whose main loop fell silent."""
    for session in world.roll.holders:
        is_silent = session.residency is Residency.LIVE and now_s - session.heard_s > SILENCE_S
        if is_silent and session.has_process and not session.is_ending:
            yield from end(session)


# ---- the end of the coordinator


def start_drain(world: World, *, is_urgent: bool) -> Iterator[Effect]:
    """Put every session to sleep. Running turns get DRAIN_S, or nothing when urgent; then they are lost."""
    world.is_draining = True
    for session in (*world.roll.holders, *(world.sessions[key] for key in world.line if key in world.sessions)):
        is_at_work = session.turn is not None and not session.turn.is_parked
        may_finish = session.residency is Residency.LIVE and is_at_work and not is_urgent
        if session.residency in {Residency.QUEUED, Residency.BACKOFF}:
            world.move(session, Fact.LEAVE_ORDERED)
        elif session.residency is Residency.HIBERNATING and is_urgent and not session.is_snapshot_ordered:
            yield from dismiss(world, session)
        elif session.residency in {Residency.STARTING, Residency.WAKING, Residency.LIVE} and not may_finish:
            yield from dismiss(world, session) if is_urgent else put_to_sleep(world, session)
    world.line.clear()
    yield StartTimer(("drain", "", 0), DRAIN_S)


def on_drain_over(world: World) -> Iterator[Effect]:
    """Time is up for running turns, and for workers that did not say what is to be kept."""
    for session in world.roll.holders:
        is_asking = session.residency is Residency.HIBERNATING and not session.is_snapshot_ordered
        if session.residency is Residency.LIVE or (is_asking and not session.is_leaving):
            yield from dismiss(world, session)
