"""Waiting until a session is idle, waiting or done, also over a restart of the coordinator."""

import asyncio
import contextlib

from client.asking import get_session
from client.connection import Back, Connection, Pushed
from client.core.waiting import Verdict, verdict
from protocol import messages as m
from protocol.errors import ChatCoordError, CoordinatorAbsent, CoordinatorSilent, RemoteError
from protocol.views import SessionView

# What is pushed tells when to look; in case it never comes, this does.
LOOK_S = 5.0
# Without a coordinator for so long, there is nothing to wait for.
ABSENT_S = 60.0


class NeverSo(ChatCoordError):
    """What is waited for cannot come any more without a person."""

    code = "wait.never"


async def wait_until(
    connection: Connection, name: str, until: str, pushed: asyncio.Queue[Pushed] | None = None
) -> SessionView:
    """Return the session when it is so. Listen first, then look: so no change can come in between unseen.

    Args:
        connection: an open one.
        name: which session.
        until: idle, waiting or done.
        pushed: what the connection hears; its own queue when None.

    Raises:
        NeverSo: it cannot be so any more.
        CoordinatorAbsent: there has been none for a minute.
    """
    loop = asyncio.get_running_loop()
    heard_s = loop.time()
    is_listening = False
    key = name
    while True:
        try:
            if not is_listening:
                await connection.ask(m.Listen(request=connection.number()), m.Done)
            is_listening = True
            session = await _look(connection, key, is_first=key == name)
        except (CoordinatorAbsent, CoordinatorSilent):
            if loop.time() - heard_s > ABSENT_S:
                raise
            is_listening = False
            continue
        heard_s, key = loop.time(), session.id
        found = verdict(session, until)
        if found is Verdict.SO:
            return session
        if found is Verdict.NEVER:
            raise NeverSo(f"The session {session.name!r} is {session.display} and will not be {until} by itself.")
        is_listening = await _news(connection.pushed if pushed is None else pushed, session.id)


async def _look(connection: Connection, key: str, *, is_first: bool) -> SessionView:
    try:
        session = await get_session(connection, key)
    except RemoteError as error:
        if is_first or error.remote_code != "session.unknown":
            raise
        raise NeverSo("The session was deleted.") from error
    assert session is not None  # noqa: S101 - an unknown name is refused
    return session


async def _news(queue: asyncio.Queue[Pushed], session: str) -> bool:
    """Wait until there is reason to look again; False when there may be another coordinator, to be listened to."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LOOK_S):
            while True:
                pushed = await queue.get()
                if isinstance(pushed, Back):
                    return False
                if isinstance(pushed, m.Changed) and pushed.session == session:
                    return True
    return True
