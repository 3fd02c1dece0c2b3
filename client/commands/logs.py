"""``chat-coord logs``."""

import json
import time
from collections.abc import Callable

import click

from client.asking import connected, get_session
from client.commands.common import home_of, run
from client.log_files import Entry, LogFile, by_time, entry_text, ids_with_logs, last, of_coordinator, of_session
from client.options import home_option, json_option, maybe_session_argument, more_help
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
        "chat-coord logs --boot 12   # the coordinator's own, of its 12th start",
        codes="0 done or ended by Ctrl+C, 1 no such session, 3 no coordinator runs to ask for a name.",
    )
)
@maybe_session_argument
@click.option("-n", "count", type=click.IntRange(min=0), default=50, show_default=True, help="Last lines to show.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl+C; with --json a line for each.")
@click.option("--turn", metavar="ID", help="Only lines of this turn, by its id or the beginning of it.")
@click.option("--boot", type=click.IntRange(min=1), metavar="N", help="Only lines of this start of the coordinator.")
@home_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    *,
    name: str | None,
    count: int,
    follow: bool,
    turn: str | None,
    boot: int | None,
    as_json: bool,
) -> None:
    """Show the log of session NAME: its worker's, the coordinator's about it, and what it said on standard error.

    Newest last; lines of standard error are marked, and left out with --turn and --boot. Closed sessions have theirs
    too. Without NAME it is the coordinator's own. Nothing that was said in a conversation is in a log. Without a
    coordinator, NAME is the beginning of a session's id.
    """
    home = home_of(context)
    is_wanted = _filter(turn, boot)
    session = None if name is None else _find(home, name)
    files = of_coordinator(home, is_wanted) if session is None else of_session(home, session, is_wanted)
    shown = last(files, count)
    if as_json and not follow:
        dump(shown)
        return
    try:
        _show(shown, session, as_json=as_json)
        while follow:
            time.sleep(LOOK_S)
            _show(_more(files), session, as_json=as_json)
    except KeyboardInterrupt:
        return


def _filter(turn: str | None, boot: int | None) -> Callable[[Entry], bool] | None:
    if turn is None and boot is None:
        return None

    def is_wanted(entry: Entry) -> bool:
        is_turn = turn is None or str(entry["turn"] or "").startswith(turn)
        return is_turn and (boot is None or entry["boot"] == boot)

    return is_wanted


def _more(files: list[LogFile]) -> list[Entry]:
    lines = by_time(file.more() for file in files if not file.is_stderr)
    return lines + [entry for file in files if file.is_stderr for entry in file.more()]


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


def _show(entries: list[Entry], session: str | None, *, as_json: bool) -> None:
    for entry in entries:
        if as_json:
            say(json.dumps(entry))
        else:
            say(clean_line(entry_text(entry, session)))
            for line in str(entry.get("traceback", "")).splitlines():
                say(clean_line(f"    {line}"))
