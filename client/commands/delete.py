"""``chat-coord delete``."""

import sys
from dataclasses import dataclass

import click

from client import worktrees
from client.asking import all_sessions, connected, get_session
from client.commands.common import home_of, run
from client.options import home_option, json_option, more_help, session_argument
from client.output import dump, say
from protocol import messages as m
from protocol.paths import Home
from protocol.views import SessionView


@click.command(
    epilog=more_help(
        "chat-coord delete research",
        "chat-coord delete research --yes",
        codes="0 deleted, 1 no such session, it has a worker, or you said no, 2 nobody to ask and no --yes, "
        "3 no coordinator runs.",
    )
)
@session_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, name: str, yes: bool, as_json: bool) -> None:
    """Remove a session that is closed or asleep, with its whole history. There is no way back; it asks before.

    A worktree that it was made with (`new --worktree`) is removed when it is clean, and left when it is not.
    """
    home = home_of(context)
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("There is nobody to ask: say --yes.")
    session = run(_look(home, name))
    if not yes:
        question = f"Delete {session.name!r} with its {session.messages} messages? There is no way back"
        click.confirm(question, abort=True, err=True)
    left = run(_delete(home, session))
    if as_json:
        dump({"deleted": session.id} | ({} if left is None else {"worktree": left.path, "worktree_left": left.why}))
        return
    say(f"Session {session.name!r} is deleted.")
    if left is not None and left.why is None:
        say(f"Its worktree {left.path} was clean and is removed; its branch stays.")
    elif left is not None:
        say(f"Its worktree {left.path} is left: {left.why}.")


@dataclass(frozen=True, slots=True)
class Tree:
    """The worktree that a session had, and why it is left, if it is."""

    path: str
    why: str | None


async def _look(home: Home, name: str) -> SessionView:
    async with connected(home) as connection:
        session = await get_session(connection, name)
    assert session is not None  # noqa: S101 - an unknown name is refused
    return session


async def _delete(home: Home, session: SessionView) -> Tree | None:
    async with connected(home) as connection:
        await connection.ask(m.Delete(request=connection.number(), session=session.id), m.Done)
        path = worktrees.of_session(home, session.cwd)
        if path is None:
            return None
        others = await all_sessions(connection, waiting=False, everything=True)
    users = [other.name for other in others if worktrees.of_session(home, other.cwd) == path]
    return Tree(str(path), f"{users[0]!r} works there too" if users else worktrees.remove(path))
