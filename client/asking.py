"""What a client asks of the coordinator, in one call each: find, list, make and pick sessions."""

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from client.connection import Connection
from client.starting import connect
from protocol import messages as m
from protocol.errors import ValueIllegal
from protocol.ids import new_id
from protocol.limits import SEARCH_BYTES
from protocol.paths import Home
from protocol.settings import Settings, load_settings
from protocol.views import AskView, SessionView

# What a session gets of its client's environment, besides LC_* and pass_env.
USUAL_ENV = ("PATH", "HOME", "LANG", "TZ", "VIRTUAL_ENV")


@contextlib.asynccontextmanager
async def connected(home: Home, client: str = "cli", *, start: bool = False) -> AsyncIterator[Connection]:
    """A connection for the length of a command."""
    connection = await connect(home, client, start=start)
    try:
        yield connection
    finally:
        await connection.close()


async def get_session(connection: Connection, session: str | None) -> SessionView | None:
    """Return one session by name, number or id; the active one for None."""
    answer = await connection.ask(m.GetSession(request=connection.number(), session=session), m.SessionAnswer)
    return answer.session


async def search(connection: Connection, text: str, limit: int = 50) -> m.Found:
    """Return the messages that have every word of a text, the newest first.

    Raises:
        ValueIllegal: it is longer than a search may be; nothing was sent.
    """
    plain = text.encode(errors="replace")
    if len(plain) > SEARCH_BYTES:
        raise ValueIllegal(
            f"A search of {len(plain)} bytes is too long; {SEARCH_BYTES} are allowed.", hint="Shorten it."
        )
    order = m.Search(request=connection.number(), text=plain.decode(), limit=limit)
    return await connection.ask(order, m.Found)


async def all_sessions(
    connection: Connection, *, waiting: bool, everything: bool, group: str | None = None
) -> list[SessionView]:
    """Return the list, page after page; of one group alone, if any."""
    sessions: list[SessionView] = []
    while True:
        order = m.ListSessions(
            request=connection.number(), offset=len(sessions), waiting=waiting, everything=everything, group=group
        )
        page = await connection.ask(order, m.SessionsAnswer)
        sessions += page.sessions
        if not page.more:
            return sessions


async def all_asks(connection: Connection) -> list[AskView]:
    """Return everything that waits for a person, page after page."""
    asks: list[AskView] = []
    while True:
        order = m.ListAsks(request=connection.number(), offset=len(asks))
        page = await connection.ask(order, m.AsksAnswer)
        asks += page.asks
        if not page.more:
            return asks


async def decide(
    connection: Connection, ask: str, *, approve: bool, why: str = "", answer: str | None = None
) -> m.Decided:
    """Answer an ask; when this returns it is committed.

    Args:
        connection: an open one.
        ask: its id, or the beginning of it.
        approve: yes, or no.
        why: the reason of a no.
        answer: the words that a question wants.

    Raises:
        RemoteError: there is none, it wants something else, or somebody answered it before.
    """
    order = m.Decide(request=connection.number(), ask=ask, approve=approve, idem=new_id(), why=why, answer=answer)
    return await connection.ask(order, m.Decided)


async def cancel(connection: Connection, name: str) -> m.Cancelled:
    """End a session's turn; when this returns its end is committed.

    Raises:
        RemoteError: there is no such session, or nothing runs in it.
    """
    session = await get_session(connection, name)
    detail = (session.work_detail or {}) if session is not None else {}
    seq = detail.get("seq")  # named, so that an order that is sent again ends no later turn
    order = m.Cancel(request=connection.number(), session=name, seq=seq if isinstance(seq, int) else 0)
    return await connection.ask(order, m.Cancelled)


async def create(
    connection: Connection,
    home: Home,
    *,
    name: str | None = None,
    session_type: str | None = None,
    model: str | None = None,
    system: str | None = None,
    cwd: str | None = None,
    temperature: float | None = None,
    queue: bool = True,
    group: str | None = None,
    template: str | None = None,
    key: str | None = None,
) -> SessionView:
    """Make a session; when this returns it is committed.

    With ``queue`` it waits in line when no slot is free. ``key`` is its id, when that had to be known before.
    """
    order = m.Create(
        request=connection.number(),
        id=key or new_id(),
        name=name,
        type=session_type or "",
        model=model,
        system=system,
        cwd=cwd or str(Path.cwd()),
        env=session_env(load_settings(home.config)),
        queue=queue,
        group=group,
        template=template,
        temperature=temperature,
    )
    answer = await connection.ask(order, m.SessionAnswer)
    assert answer.session is not None  # noqa: S101 - a create is always answered with its session
    return answer.session


async def pick_session(connection: Connection, home: Home, name: str | None) -> SessionView:
    """Return the session to open: the named one, else the one used last, else a new one."""
    if name is not None:
        named = await get_session(connection, name)
        assert named is not None  # noqa: S101 - an unknown name is refused
        return named
    sessions = await all_sessions(connection, waiting=False, everything=False)
    if not sessions:
        return await create(connection, home)
    return max(sessions, key=lambda s: s.last_active_at)


def session_env(settings: Settings) -> dict[str, str]:
    """Return the part of this environment that a session gets; never keys."""
    names = {*USUAL_ENV, *settings.pass_env, *(name for name in os.environ if name.startswith("LC_"))}
    found = {name: os.environ[name] for name in sorted(names) if name in os.environ}
    return {name: value for name, value in found.items() if value.isprintable()}
