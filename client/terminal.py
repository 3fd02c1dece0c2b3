"""Which terminal opens: the full screen on a real one, line by line everywhere else.

The library that draws the screen is imported only when it does.
"""

import os
import sys

from client import plain
from client.asking import connected, pick_session
from client.model_ready import ensure_model
from protocol.ids import new_id
from protocol.paths import Home

DUMB = frozenset({"", "dumb", "unknown"})


def is_full_screen(*, is_plain: bool) -> bool:
    """Say whether a person sits before a terminal that can show more than lines."""
    if is_plain:
        return False
    if os.environ.get("TEXTUAL_DRIVER"):  # served to a browser
        return True
    return os.environ.get("TERM", "") not in DUMB and sys.stdin.isatty() and sys.stdout.isatty()


async def open_terminal(home: Home, name: str | None, *, is_plain: bool = False, observes: bool = False) -> None:
    """Open the terminal on a session; None is the one used last, or a new one. One that ``observes`` wakes nothing."""
    if not is_full_screen(is_plain=is_plain):
        await plain.open_terminal(home, name, observes=observes)
        return
    if not os.environ.get("TEXTUAL_DRIVER"):
        for size in ("COLUMNS", "LINES"):  # exported, they do not follow the window
            os.environ.pop(size, None)
    from client.tui.app import ChatApp  # noqa: PLC0415 - a quarter of a second that no other command shall pay

    async with connected(home, f"terminal-{new_id()}", start=True) as connection:
        session = await pick_session(connection, home, name)
        ensure_model(home, session.model)
        app = ChatApp(connection, home, session, observes=observes)
        await app.run_async()
    if app.return_code:
        sys.exit(app.return_code)
