"""What follows from memory that was read: hibernate, end tools, kill, refuse, shed; and what is told about it.

Four limits, from the mildest: a worker over the soft one sleeps when it is idle; tools over theirs are ended and the
worker stays; a worker over the hard one is killed and comes back as after any crash; and while the budget of all is
spent, or the machine runs short, idle sessions are hibernated in one order and nothing new begins.
"""

from collections import deque
from collections.abc import Iterator

from coordinator.core import eviction
from coordinator.core.effects import Effect, EndTools, EndWorker, Note, SendWorker
from coordinator.core.events import MemorySampled, SystemSampled, WorkerExited, ZygoteLost
from coordinator.core.lifecycle import Residency
from coordinator.core.pressure import mib
from coordinator.core.residency import may_sleep, put_to_sleep, sleepers_in_order
from coordinator.core.world import Session, World
from protocol.errors import MemoryShort
from protocol.launch import EXIT_NO_MEMORY
from protocol.messages import ToolEnded
from protocol.views import Memory, MemoryPoint, StatusMemory, TreeMemory

# Readings kept of each worker that lives, so far apart: ten minutes. One that moved by so much is kept in any case: a
# leak that is over within ten seconds must be seen too.
HISTORY, HISTORY_S, HISTORY_BYTES = 120, 5.0, 8 << 20
# A session that was just used is probably used again: for so long it is not hibernated for its size alone.
SETTLED_S = 2.0
# A SIGKILL that nobody here sent, to a process that was larger than this, may be the kernel's out-of-memory killer.
OOM_SUSPECT_BYTES = 512 << 20
# Of a thousand live sessions nobody reads more.
NEXT_SHOWN = 10

# An idle worker that was not forked has about 60 MiB that others have from the zygote.
UNSHARED_BYTES = 64 << 20
OVER_SOFT = "over memory_soft_bytes"
SHORT = "memory is short"


# ---- read


def on_told(world: World, event: MemorySampled | SystemSampled | ZygoteLost, now_s: float) -> Iterator[Effect]:
    """Memory was read; or workers may have more of their own from now on, because their zygote is gone."""
    match event:
        case MemorySampled():
            yield from on_sampled(world, event, now_s)
        case SystemSampled():
            yield from on_system(world, event, now_s)
        case ZygoteLost():
            for session in world.roll.holders:
                session.is_last_to_share = session.is_last_to_share or session.has_process


def on_sampled(world: World, event: MemorySampled, now_s: float) -> Iterator[Effect]:
    """A worker's memory was read; what was read of an earlier worker counts for nobody."""
    session = world.sessions.get(event.session)
    if session is None or session.worker_epoch != event.epoch or not session.has_process:
        return
    session.memory, session.tree, session.sampled_s = event.memory, event.tree, now_s
    _remember(world, session, now_s)
    yield from _check_tools(world, session)
    yield from _check_hard(world, session)


def _remember(world: World, session: Session, now_s: float) -> None:
    memory = session.memory
    if memory.uss_bytes is None or memory.rss_bytes is None:
        return
    if session.history is None:
        session.history = deque(maxlen=HISTORY)
    at = world.wall_s(now_s)
    if session.history:
        last = session.history[-1]
        if 0 <= at - last.at < HISTORY_S and abs(memory.uss_bytes - last.uss_bytes) < HISTORY_BYTES:
            return
    point = MemoryPoint(
        at=at, rss_bytes=memory.rss_bytes, uss_bytes=memory.uss_bytes, tree_uss_bytes=session.tree.tree_uss_bytes
    )
    session.history.append(point)


def forget(session: Session) -> None:
    """The process is gone, and its memory with it."""
    session.memory, session.tree, session.history, session.doom = Memory(), TreeMemory(), None, ""
    session.loop_lag_ms = None


def on_system(world: World, event: SystemSampled, now_s: float) -> Iterator[Effect]:
    """The machine was looked at."""
    before = world.pressure.why is not None
    workers_pss = sum(s.tree.tree_pss_bytes for s in world.roll.holders)
    world.pressure.take(event, workers_pss, world.settings, now_s)
    why = world.pressure.why
    if (why is not None) != before:
        yield Note("memory is short" if why else "memory is enough again", {"why": why})
    yield from _shed(world)


def on_tick(world: World, now_s: float) -> Iterator[Effect]:
    """Hibernate what is idle and over the soft limit, once it was read after its last use."""
    world.pressure.expire(now_s)
    if world.is_draining:
        return
    for session in world.roll.holders:
        is_fat = (session.memory.uss_bytes or 0) > soft_limit(world, session)
        is_settled = session.used_s < session.sampled_s and now_s - session.used_s >= SETTLED_S
        if is_fat and is_settled and may_sleep(world, session):
            world.touch(session, OVER_SOFT)
            facts = {"session": session.id, "uss_bytes": session.memory.uss_bytes}
            yield Note("hibernated for its size", facts | {"limit_bytes": soft_limit(world, session)})
            yield from put_to_sleep(world, session)


def soft_limit(world: World, session: Session) -> int:
    """Return from which size on an idle worker is hibernated.

    What workers share with a zygote does not count; where there is none, each has it for itself, and would come back
    with it: without this an idle session slept, woke, and slept again. When its zygote is gone, with an earlier
    coordinator or by itself, a worker may be the last that has those pages.
    """
    settings = world.settings
    is_unshared = settings.launcher == "spawn" or session.is_last_to_share
    return settings.memory_soft_bytes + (UNSHARED_BYTES if is_unshared else 0)


# ---- one session


def _check_tools(world: World, session: Session) -> Iterator[Effect]:
    limit, tools = world.pressure.tool_limit_bytes, session.tree.tools_bytes
    if not limit or tools <= limit or not session.tree.children:
        return
    largest = max(session.tree.children, key=lambda child: child.pss_bytes)
    reason = (
        f"What the session started had {mib(tools)} of memory, {largest.name} (pid {largest.pid}) the most of it, "
        f"{mib(largest.pss_bytes)}; tool_memory_bytes allows {mib(limit)}. It was ended."
    )
    yield Note("tools ended for their size", {"session": session.id, "bytes": tools, "limit_bytes": limit})
    if session.peer is not None:  # first the reason, so that who waits for the tool knows it when the tool is gone
        yield SendWorker(session.peer, ToolEnded(reason=reason))
    yield EndTools(session.id, session.worker_epoch)


def _check_hard(world: World, session: Session) -> Iterator[Effect]:
    limit, uss = world.settings.memory_hard_bytes, session.memory.uss_bytes or 0
    if uss <= limit or session.is_ending:
        return
    session.is_ending = True
    session.doom = f"it had {mib(uss)} of memory of its own, and memory_hard_bytes allows {mib(limit)}"
    yield Note("worker killed for its size", {"session": session.id, "uss_bytes": uss, "limit_bytes": limit})
    yield EndWorker(session.id, session.worker_epoch, "SIGKILL")


def reason(session: Session, event: WorkerExited) -> str | None:
    """Return the reason of a death that memory was; None when it was not, or nobody knows."""
    if event.exit_code == EXIT_NO_MEMORY:
        return "the kernel gave it no more memory (memory_hard_bytes and a reserve), and it left"
    return session.doom or None


def is_oom_suspected(world: World, session: Session, signal: str | None) -> bool:
    """Say whether the kernel may have killed it for want of memory: nobody here did, it was large, or memory short."""
    was_large = (session.memory.rss_bytes or 0) > OOM_SUSPECT_BYTES
    return signal == "SIGKILL" and not session.is_ending and (was_large or world.pressure.is_machine_short)


# ---- all of them


def _shed(world: World) -> Iterator[Effect]:
    """Hibernate idle sessions while memory is short: as many as free what is too much, or one at each look."""
    pressure = world.pressure
    if world.is_draining or pressure.why is None:
        return
    leaving = [s for s in world.roll.holders if s.residency is Residency.HIBERNATING]
    excess = pressure.excess_bytes - sum(s.tree.tree_pss_bytes for s in leaving)
    wants_one = pressure.is_machine_short and not leaving
    for session in sleepers_in_order(world):
        if excess <= 0 and not wants_one:
            return
        wants_one = False
        excess -= session.tree.tree_pss_bytes
        world.touch(session, SHORT)
        yield Note("hibernated because memory is short", {"session": session.id, "why": pressure.why})
        yield from put_to_sleep(world, session)


def check_room(world: World) -> None:
    """Refuse a new session while memory is short.

    Raises:
        MemoryShort: says why, with the numbers.
    """
    if not world.has_memory:
        pressure = world.pressure
        text = f"Memory is short: {pressure.why}."
        available = pressure.system.available_bytes if pressure.system else 0
        raise MemoryShort(text, total=pressure.total_pss_bytes, limit=pressure.limit_bytes, available=available)


def overview(world: World) -> StatusMemory:
    """Return what ``status`` shows."""
    pressure, system = world.pressure, world.pressure.system
    known = [s.memory.uss_bytes for s in world.roll.holders if s.memory.uss_bytes is not None]
    return StatusMemory(
        coordinator_rss_bytes=system.coordinator_rss_bytes if system else None,
        workers_uss_bytes=sum(known) if known else None,
        zygote_rss_bytes=system.zygote_rss_bytes if system else None,
        model_server_rss_bytes=system.model_server_rss_bytes if system else None,
        total_pss_bytes=pressure.total_pss_bytes if system else None,
        limit_bytes=pressure.limit_bytes if system else None,
        tool_limit_bytes=pressure.tool_limit_bytes if system else None,
        machine_bytes=system.machine_bytes if system else None,
        available_bytes=system.available_bytes if system else None,
        pressure_percent=system.pressure_percent if system else None,
        short=pressure.why,
        next_to_hibernate=eviction.next_to_hibernate(world)[:NEXT_SHOWN],
    )
