"""Names of sessions for the shell's completion, from a coordinator that runs; silently nothing when none does.

Nothing heavy is imported before the shell asks.
"""

import os
import re

import click
from click.shell_completion import CompletionItem

LOOK_S = 0.5
VARIABLE = "_CHAT_COORD_COMPLETE"


def session_names(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names of open sessions that begin so."""
    import asyncio  # noqa: PLC0415

    from protocol.errors import ChatCoordError  # noqa: PLC0415
    from protocol.paths import find_home  # noqa: PLC0415

    home = find_home(context.find_root().obj)
    try:
        names = asyncio.run(asyncio.wait_for(_ask(str(home.root)), LOOK_S))
    except (ChatCoordError, OSError, TimeoutError):
        return []
    return [CompletionItem(quoted(name), help=state) for name, state in names if name.startswith(incomplete)]


async def _ask(folder: str) -> list[tuple[str, str]]:
    from client.connection import Connection  # noqa: PLC0415
    from protocol import messages as m  # noqa: PLC0415
    from protocol.paths import find_home  # noqa: PLC0415

    connection = Connection(find_home(folder))
    try:
        await connection.open()
        found: list[tuple[str, str]] = []
        while True:
            number = connection.number()
            order = m.ListSessions(request=number, offset=len(found), waiting=False, everything=False)
            page = await connection.ask(order, m.SessionsAnswer)
            found += [(session.name, session.display) for session in page.sessions]
            if not page.more:
                return found
    finally:
        await connection.close()


def quoted(name: str) -> str:
    """Return a name as bash puts it into the line; zsh and fish quote by themselves.

    Twice the backslash: the script's ``read`` takes one away.
    """
    if not os.environ.get(VARIABLE, "").startswith("bash"):
        return name
    return re.sub(r"([^\w@%+=:,./-])", r"\\\\\1", name)
