"""One session from outside and inside, for people: a line for each thing, in the order in which one looks."""

import time

from client.core.roster import GLYPHS
from client.output import age, mib, sparkline
from protocol.terminal_safe import clean_line
from protocol.views import ExitCard, Inspection, MemoryPoint, PermitState, SessionView, WorkerView

HISTORY_WIDTH = 40
# Of what the last worker said on standard error.
TAIL_LINES = 5


def inspection_text(found: Inspection) -> str:
    """Return everything about one session."""
    session, worker, conversation = found.session, found.worker, found.conversation
    snapshot = "none" if conversation.snapshot_bytes is None else f"{conversation.snapshot_bytes} bytes"
    lines = [
        f"session       {session.name} ({session.id}), {session.type}, model {session.model}",
        f"state         {_state(session)}",
        (
            f"conversation  {conversation.messages} messages, {conversation.tokens} tokens, snapshot {snapshot}, "
            f"{conversation.buffered_bytes} bytes of the running reply kept"
        ),
        f"inbox         {worker.inbox} prompts wait",
        f"permit        {_permit(worker.permit)}",
        *_process_lines(session, worker),
        f"restarts      {worker.restarts} within the restart window",
        *_exit_lines(worker.exit_card),
    ]
    text = "\n".join(clean_line(line) for line in lines)
    return text if worker.stacks is None else f"{text}\n\n{worker.stacks}"


def _state(session: SessionView) -> str:
    flags = [word for word in ("pinned", "attached", "archived") if getattr(session, word)]
    detail = session.work_detail or {}
    words = [f"{key} {value}" for key, value in detail.items() if value is not None]
    last = f"last active {age(session.last_active_at)}"
    where = "" if session.display == session.residency else f" ({session.residency})"
    return f"{GLYPHS.get(session.display, ' ')} {session.display}{where}; " + ", ".join([*flags, *words, last])


def _permit(permit: PermitState) -> str:
    waited = "" if permit.waited_ms is None else f", waited {permit.waited_ms} ms"
    if permit.position is not None:
        return f"in line, place {permit.position}{waited}"
    return f"held{waited}" if permit.held else "none"


def _process_lines(session: SessionView, worker: WorkerView) -> list[str]:
    if worker.pid is None:
        now = "just being started" if session.residency in {"starting", "waking"} else "none"
        return [f"worker        {now}" + (f"; the last one had epoch {worker.epoch}" if session.epoch else "")]
    started = "" if worker.started_at is None else f", started {_clock(worker.started_at)}, up {worker.uptime_s:.0f} s"
    memory = worker.memory
    parts = (
        ("own (USS)", memory.uss_bytes),
        ("its share (PSS)", memory.pss_bytes),
        ("resident (RSS)", memory.rss_bytes),
        ("swapped", memory.swap_bytes),
        ("own with all below it", memory.tree_uss_bytes),
    )
    sizes = ", ".join(f"{what} {mib(count)}" for what, count in parts if count is not None)
    limits = (("soft", memory.soft_limit_bytes), ("hard", memory.hard_limit_bytes))
    lines = [
        f"worker        pid {worker.pid}, epoch {worker.epoch}{started}",
        (
            f"liveness      heard {_or('?', worker.heartbeat_age_ms)} ms ago, its main loop "
            f"{_or('?', worker.loop_lag_ms)} ms late"
        ),
        (
            f"cpu           {_or('?', worker.cpu_percent)} % of a processor, {_or('?', worker.threads)} threads, "
            f"{_or('?', worker.open_files)} open files"
        ),
        f"memory        {sizes or 'not read yet'}",
        "limits        " + ", ".join(f"{what} {mib(count)}" for what, count in limits if count is not None),
    ]
    if memory.history:
        lines.append(f"history       {_history(memory.history)}")
    lines += [f"child         pid {child.pid}, {child.name}, {mib(child.pss_bytes)}" for child in worker.children]
    return lines


def _history(points: tuple[MemoryPoint, ...]) -> str:
    sizes = [point.uss_bytes for point in points]
    over_s = points[-1].at - points[0].at
    return f"{sparkline(sizes, HISTORY_WIDTH)} own {mib(min(sizes))} to {mib(max(sizes))} over {over_s:.0f} s"


def _exit_lines(card: ExitCard | None) -> list[str]:
    if card is None:
        return []
    signal = f", signal {card.signal}" if card.signal else ""
    oom = ", perhaps for want of memory" if card.oom_suspected else ""
    turn = "" if card.seq_in_flight is None else f", while it answered prompt {card.seq_in_flight}"
    lines = [f"last exit     {_clock(card.at)}: {card.reason}{signal}{oom}{turn}"]
    return lines + [f"              | {line}" for line in card.stderr_tail.splitlines()[-TAIL_LINES:]]


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _or(unknown: str, value: float | None) -> str:
    return unknown if value is None else f"{value:g}"
