"""What a person asks about workers, and does to them, in one call each."""

from msgspec.structs import replace

from client.asking import get_session
from client.connection import Connection
from client.top_table import Top
from protocol import messages as m
from protocol.errors import ChatCoordError, SessionBusy
from protocol.views import Inspection, SessionView, TopSession


class WorkerAbsent(ChatCoordError):
    """The session has no worker."""

    code = "worker.absent"
    hint = "`chat-coord wake NAME` gives it one; so does its next prompt."


async def inspect(connection: Connection, name: str, *, stacks: bool = False) -> Inspection:
    """Return everything about one session."""
    order = m.Inspect(request=connection.number(), session=name, stacks=stacks)
    return (await connection.ask(order, m.InspectAnswer)).inspection


async def top(connection: Connection) -> Top:
    """Return what all of them use, page after page."""
    sessions: list[TopSession] = []
    while True:
        page = await connection.ask(m.GetTop(request=connection.number(), offset=len(sessions)), m.TopAnswer)
        sessions += page.sessions
        if not page.more or not page.sessions:
            known = [s.cpu_percent for s in sessions if s.cpu_percent is not None]
            totals = replace(page.totals, cpu_percent=round(sum(known), 1) if known else None)
            return Top(sessions=sessions, totals=totals, next_to_hibernate=page.next_to_hibernate)


async def kill(connection: Connection, name: str) -> SessionView:
    """Kill a session's worker and return what became of the session.

    Raises:
        WorkerAbsent: it has none.
    """
    session, pid = await _with_worker(connection, name)
    order = m.Kill(request=connection.number(), session=session.id, pid=pid)
    return _told(await connection.ask(order, m.SessionAnswer))


async def restart_worker(connection: Connection, name: str, *, force: bool) -> SessionView:
    """Put another worker in the place of a session's and return the session, with that one.

    Raises:
        WorkerAbsent: it has none.
        SessionBusy: it kept the one that it had, or the new one is not there yet.
    """
    session, pid = await _with_worker(connection, name)
    order = m.RestartWorker(request=connection.number(), session=session.id, pid=pid, force=force)
    after = _told(await connection.ask(order, m.SessionAnswer))
    if after.residency != "live":
        raise SessionBusy(f"The worker of {after.name!r} is gone, and the session is {after.residency}.")
    return after


def after_kill(session: SessionView) -> str:
    """Return in words what became of a session whose worker was killed."""
    return f"The worker of {session.name!r} is dead; the session is {session.residency}, and its conversation is kept."


async def _with_worker(connection: Connection, name: str) -> tuple[SessionView, int]:
    session = await get_session(connection, name)
    assert session is not None  # noqa: S101 - an unknown name is refused
    if session.pid is None:
        raise WorkerAbsent(f"The session {session.name!r} has no worker: it is {session.residency}.")
    return session, session.pid


def _told(answer: m.SessionAnswer) -> SessionView:
    assert answer.session is not None  # noqa: S101 - such an order is always answered with its session
    return answer.session
