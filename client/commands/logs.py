"""``chat-coord logs``."""

import json
import time

import click

from client.asking import connected, get_session
from client.commands.common import home_of, run
from client.log_files import Entry, entry_text, files_of, ids_with_logs
from client.options import home_option, json_option, more_help, session_argument
from client.output import dump, say
from protocol.errors import CoordinatorAbsent, NameAmbiguous
from protocol.paths import Home
from protocol.terminal_safe import clean_line

LOOK_S = 0.2


@click.command(
    epilog=more_help(
        "chat-coord logs research",
        "chat-coord logs research -n 5 --json | jq -r '.[].message'",
        "chat-coord logs research -f",
        codes="0 done or ended by Ctrl+C, 1 no such session, 3 no coordinator runs to ask for a name.",
    )
)
@session_argument
@click.option("-n", "count", type=click.IntRange(min=0), default=50, show_default=True, help="Last lines of each log.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl+C; with --json a line for each.")
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, name: str, count: int, follow: bool, as_json: bool) -> None:
    """Show the log of session NAME's worker and its standard error; closed sessions have theirs too.

    Newest last; lines of standard error are marked. Without a coordinator, NAME is the beginning of a session's id.
    """
    home = home_of(context)
    files = files_of(home, _find(home, name))
    shown = [entry for file in files for entry in file.tail(count)]
    if as_json and not follow:
        dump(shown)
        return
    try:
        _show(shown, as_json=as_json)
        while follow:
            time.sleep(LOOK_S)
            _show([entry for file in files for entry in file.more()], as_json=as_json)
    except KeyboardInterrupt:
        return


def _find(home: Home, name: str) -> str:
    """Return a session's id: the coordinator knows names; without one the names of the files are all there is."""
    try:
        return run(_ask(home, name))
    except CoordinatorAbsent:
        ids = ids_with_logs(home, name)
        if len(ids) == 1:
            return ids[0]
        if name and len(ids) > 1:
            raise NameAmbiguous(f"The ids of {len(ids)} sessions begin with {name!r}.") from None
        raise


async def _ask(home: Home, name: str) -> str:
    async with connected(home) as connection:
        session = await get_session(connection, name)
    assert session is not None  # noqa: S101 - an unknown name is refused
    return session.id


def _show(entries: list[Entry], *, as_json: bool) -> None:
    for entry in entries:
        if as_json:
            say(json.dumps(entry))
        else:
            say(clean_line(entry_text(entry)))
            for line in str(entry.get("traceback", "")).splitlines():
                say(clean_line(f"    {line}"))
