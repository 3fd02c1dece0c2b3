"""``chat-coord wait``."""

import asyncio
import contextlib

import click

from client.asking import connected, get_session
from client.commands.common import home_of, run, show_session
from client.connection import Back, Connection
from client.core.waiting import UNTIL, Verdict, verdict
from client.options import home_option, json_option, more_help, session_argument
from protocol import messages as m
from protocol.errors import ChatCoordError, CoordinatorAbsent, CoordinatorSilent, RemoteError, TimedOut
from protocol.paths import Home
from protocol.views import SessionView

# What is pushed tells when to look; in case it never comes, this does.
LOOK_S = 5.0
# Without a coordinator for so long, there is nothing to wait for.
ABSENT_S = 60.0


class NeverSo(ChatCoordError):
    """What is waited for cannot come any more without a person."""

    code = "wait.never"


@click.command(
    epilog=more_help(
        'chat-coord send code "run the tests" --no-wait && chat-coord wait code --until done --timeout 600',
        "chat-coord wait code --until waiting --json | jq .ask",
        codes="0 it is so, 1 no such session, or it failed, was closed or deleted, so that it can never be so, "
        "3 no coordinator runs, or none for a minute, 4 timed out.",
    )
)
@session_argument
@click.option(
    "--until",
    type=click.Choice(UNTIL),
    required=True,
    help="idle: no turn runs. done: and no prompt and no question waits. "
    "waiting: it has a question, or an answer that nobody saw.",
)
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S", help="Seconds to wait at most.")
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, name: str, until: str, timeout: float | None, as_json: bool) -> None:
    """Wait until session NAME is idle, waiting or done; for scripts.

    What is so already ends it at once, and a change that comes while it begins is not missed. It goes on when the
    coordinator is restarted. The session is neither woken nor kept awake, and its answers stay unread.
    """
    session = run(_within(home_of(context), name, until, timeout))
    show_session(session, as_json=as_json, sentence=f"Session {session.name!r} is {session.display}.")


async def _within(home: Home, name: str, until: str, limit_s: float | None) -> SessionView:
    try:
        async with asyncio.timeout(limit_s), connected(home) as connection:
            return await _wait(connection, name, until)
    except TimeoutError:
        raise TimedOut(f"The session {name!r} was not {until} within {limit_s:g} s.") from None


async def _wait(connection: Connection, name: str, until: str) -> SessionView:
    """Listen first, then look: so no change can come in between unseen."""
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
        is_listening = await _news(connection, session.id)


async def _look(connection: Connection, key: str, *, is_first: bool) -> SessionView:
    try:
        session = await get_session(connection, key)
    except RemoteError as error:
        if is_first or error.remote_code != "session.unknown":
            raise
        raise NeverSo("The session was deleted.") from error
    assert session is not None  # noqa: S101 - an unknown name is refused
    return session


async def _news(connection: Connection, session: str) -> bool:
    """Wait until there is reason to look again; False when there may be another coordinator, to be listened to."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LOOK_S):
            while True:
                pushed = await connection.pushed.get()
                if isinstance(pushed, Back):
                    return False
                if isinstance(pushed, m.Changed) and pushed.session == session:
                    return True
    return True
