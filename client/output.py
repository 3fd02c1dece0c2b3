"""Everything that a command prints goes through here: cleaned text for people, JSON for programs.

JSON is escaped to ASCII, so that it cannot steer a terminal either.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar

import msgspec

from client.core.roster import GLYPHS, state_word
from protocol.errors import HINT, ChatCoordError
from protocol.messages import Found, StoreState
from protocol.terminal_safe import clean, clean_line
from protocol.views import AskView, GateView, HistoryRow, SessionView, Spent, Status, StatusMemory, UsageReport

# Who would be hibernated next, in the text of `status`; the document has more.
NEXT_SHOWN = 3
# From nothing to the most.
BARS = ".▁▂▃▄▅▆▇█"


# Who hears what a task says to a person, and whether it is a complaint; None: this process's own output. A terminal
# that draws the whole screen sets it for the commands that it runs.
hearer: ContextVar[Callable[[str, bool], None] | None] = ContextVar("hearer", default=None)


def say(text: str, *, end: str = "\n", to_error: bool = False) -> None:
    """Print text for a person, cleaned, at once."""
    heard = hearer.get()
    if heard is not None:
        heard(clean(text) + end, to_error)
        return
    stream = sys.stderr if to_error else sys.stdout
    stream.write(clean(text) + end)
    stream.flush()


def dump(document: object) -> None:
    """Print one JSON document."""
    sys.stdout.write(json.dumps(msgspec.to_builtins(document), indent=2) + "\n")
    sys.stdout.flush()


def complain(error: ChatCoordError) -> None:
    """Say on standard error what is wrong, in one sentence, and what to do."""
    say(clean_line(error.message), to_error=True)
    if error.hint:
        say(f"{HINT}{clean_line(error.hint)}", to_error=True)


def session_table(sessions: list[SessionView]) -> str:
    """Return the list for people."""
    rows = [("", "#", "NAME", "STATE", "TYPE", "MODEL", "PID", "MESSAGES", "ACTIVE")]
    rows += [
        (
            ">" if s.active else "",
            "" if s.number is None else str(s.number),
            s.name,
            f"{GLYPHS.get(s.display, ' ')} {state_word(s)}",
            s.type,
            s.model,
            "" if s.pid is None else str(s.pid),
            str(s.messages),
            age(s.last_active_at),
        )
        for s in sessions
    ]
    return table(rows)


def ask_text(ask: AskView) -> str:
    """Return an ask for people: who wants what, whole, and how to answer."""
    is_question = ask.kind == "question"
    head = f"{ask.id}  {ask.name} {'asks you' if is_question else f'wants {ask.tool}'}, {age(ask.since)}"
    body = "\n".join(f"    {line}" for line in clean(ask.text).splitlines())
    how = f'answer {ask.id} "…"' if is_question else f"approve {ask.id}"
    return f"{clean_line(head)}\n{body}\n  chat-coord {clean_line(how)}"


def found_text(found: Found) -> str:
    """Return what a search found, for people."""
    lines = [
        f"{clean_line(row.name)}  {row.seq}  {age(row.at)}  {'you' if row.role == 'user' else 'model'}: "
        f"{clean_line(row.snippet)}"
        for row in found.rows
    ]
    more = ["There is more; look for more words."] if found.more else []
    return "\n".join(
        [*lines, *more, *(["The index is still being made: not all is found yet."] if found.partial else [])]
    )


def usage_table(report: UsageReport) -> str:
    """Return what sessions cost, for people."""
    rows = [("NAME", "MODEL", "TURNS", "IN", "OUT", "COST")]
    for session in report.sessions:
        rows += [(session.name, spent.model, *_spent(spent)) for spent in session.models]
    if report.more:
        rows.append(("…", "", "", "", "", ""))
    rows.append(("total", "", *_spent(report.total)))
    return table(rows)


def _spent(spent: Spent) -> tuple[str, str, str, str]:
    cost = "" if spent.cost is None else f"{spent.cost:.4f}"
    if cost and spent.unpriced_tokens:
        cost += f" and {spent.unpriced_tokens} tokens without a price"
    return str(spent.turns), str(spent.input_tokens), str(spent.output_tokens), cost


def place(session: SessionView) -> str:
    """Return in words where a session is, with its place when it waits in line."""
    position = (session.work_detail or {}).get("position")
    return (
        f"in line for a worker (place {position})" if position and session.residency == "queued" else session.residency
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows, the first of them the header, as columns of cleaned text."""
    widths = [max(len(clean_line(row[i])) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(clean_line(cell).ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def status_text(status: Status) -> str:
    """Return the coordinator at a glance, for people."""
    count, model, store = status.sessions, status.model, status.store
    slept = f"{count.hibernated} hibernated, {count.queued} in line"
    server = f", server pid {model.server_pid}" if model.server_pid else ""
    permits = status.permits
    gates = "".join(f"; {gate_words(gate)}" for gate in permits.gates)
    lines = (
        f"coordinator  pid {status.pid}, up {status.uptime_s:.0f} s, version {status.version}, start {status.boot}",
        f"home         {status.home}",
        f"sessions     {count.live} of {count.max_active} slots held, {slept}, {count.total} in all",
        f"workers      started by the launcher {status.launcher}",
        f"model        {model.name} ({model.provider}{server})",
        f"permits      {permits.in_use} of {permits.limit} in use, {permits.waiting} in line{gates}",
        *_memory_lines(status.memory),
        f"store        {store.bytes / 1e6:.1f} MB, {'writable' if store.writable else f'READ ONLY: {store.fault}'}",
        *([f"             {store.notice}"] if store.notice else []),
        f"rejected     {status.rejected_frames} frames",
        *(
            f"{what:<12} {seen.address}" + (f" NOT: {seen.fault}" if seen.fault else "")
            for what, seen in (("metrics", status.metrics), ("traces", status.traces))
            if seen is not None
        ),
    )
    return "\n".join(lines)


def gate_words(gate: GateView) -> str:
    """Return in words what a provider does not take now."""
    if gate.until is None:
        return f"{gate.provider} is tried again, {gate.allowed} at once"
    why = "its budget is spent" if gate.why == "budget" else "it wants to be left alone"
    return f"{gate.provider} takes none for {max(0.0, gate.until - time.time()):.0f} s: {why}"


def _memory_lines(memory: StatusMemory) -> list[str]:
    """Return how much there is, who is short of it, and who would be hibernated first."""
    parts = (
        ("coordinator", memory.coordinator_rss_bytes),
        ("zygote", memory.zygote_rss_bytes),
        ("workers' own", memory.workers_uss_bytes),
        ("model server", memory.model_server_rss_bytes),
    )
    lines = ["memory       " + ", ".join(f"{what} {mib(count)}" for what, count in parts if count is not None)]
    if memory.total_pss_bytes is not None and memory.limit_bytes is not None and memory.available_bytes is not None:
        total = f"{mib(memory.total_pss_bytes)} of {mib(memory.limit_bytes)} in all"
        stalls = (
            "" if memory.pressure_percent is None else f", tasks waited for it {memory.pressure_percent:g} % of 10 s"
        )
        lines.append(f"             {total}; the machine has {mib(memory.available_bytes)} left{stalls}")
    if memory.short is not None:
        lines.append(f"             SHORT: {memory.short}")
    lines += [f"next to go   {n.name}: {n.why}" for n in memory.next_to_hibernate[:NEXT_SHOWN]]
    return lines


def mib(count: int) -> str:
    """Return bytes in words."""
    return f"{count / (1 << 20):.1f} MiB" if count < 10 << 30 else f"{count / (1 << 30):.1f} GiB"


def sparkline(values: Sequence[float], width: int) -> str:
    """Return the last values as a row of bars, the highest of them full; next to nothing is a dot."""
    last = list(values)[-width:]
    most = max(last, default=0)
    if most <= 0:
        return "." * len(last)
    return "".join(BARS[round(max(0.0, value) / most * (len(BARS) - 1))] for value in last)


def store_words(state: StoreState) -> str:
    """Return in words that the store stopped taking changes, or takes them again."""
    if state.writable:
        return "The store takes changes again."
    return f"The store takes no changes now: {state.reason}. {state.hint}"


def age(at: float) -> str:
    """Return how long ago a time was, in words."""
    seconds = max(0, int(time.time() - at))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit} ago"
    return f"{seconds}s ago"


def render(row: HistoryRow) -> str:
    """Return a message for people, with its mark when the turn did not end as it should."""
    who = "you" if row.role == "user" else "model"
    mark = "" if row.stop_reason in {None, "completed"} else f" [{row.stop_reason}]"
    error = f"\n  ({row.error.message})" if row.error else ""
    return f"{who}{mark}: {row.text}{error}"
