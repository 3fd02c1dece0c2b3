"""``chat-coord backup``."""

from pathlib import Path
from typing import Any

import click

from client.asking import connected
from client.commands.common import home_of, run
from client.offline import ask_child
from client.options import home_option, json_option, more_help
from client.output import dump, say
from protocol import messages as m
from protocol.errors import CoordinatorAbsent
from protocol.paths import Home
from protocol.terminal_safe import clean_line

COPY_S = 3_600.0


@click.command(
    epilog=more_help(
        "chat-coord backup ~/chats.db",
        "chat-coord backup ~/chats-$(date +%F).db --json | jq .sessions",
        codes="0 the copy is whole, checked and on the disk, 1 it could not be made; then there is no file, "
        "3 the coordinator does not answer, 75 a coordinator that does not answer owns this home.",
    )
)
@click.argument("file", type=click.Path(path_type=Path))
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, file: Path, as_json: bool) -> None:
    """Copy the whole store into a new FILE, while the coordinator goes on or without one.

    FILE is one SQLite database, readable by you alone; it must not exist yet. `chat-coord restore FILE` takes it back.
    """
    home, target = home_of(context), file.expanduser().absolute()
    try:
        done = run(_online(home, target))
    except CoordinatorAbsent:
        done = ask_child(home, "backup", within_s=COPY_S, file=target)
    if as_json:
        dump(done)
    else:
        say(clean_line(f"{done['sessions']} sessions are in {done['file']}, {done['bytes']:,} bytes, checked."))


async def _online(home: Home, target: Path) -> dict[str, Any]:
    async with connected(home) as connection:
        order = m.Backup(request=connection.number(), path=str(target))
        done = await connection.ask(order, m.BackedUp, within_s=COPY_S)
    return {"file": done.path, "bytes": done.bytes, "sessions": done.sessions}
