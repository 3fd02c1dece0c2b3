"""``chat-coord export``."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import click
import msgspec

from client.asking import all_sessions, connected
from client.commands.common import home_of, run
from client.connection import Connection
from client.export_files import Written, make_folder, write
from client.offline import child_lines
from client.options import home_option, json_option, more_help
from client.output import dump, say
from protocol.errors import EXIT_DONE, EXIT_NO, CoordinatorAbsent, CoordinatorSilent, RemoteError
from protocol.paths import Home
from protocol.terminal_safe import clean_line
from protocol.views import Exported, HistoryRow, SessionView

READ_S = 3_600.0


@click.command(
    epilog=more_help(
        "chat-coord export --all ~/chats",
        "chat-coord export --all ~/chats --format json --json | jq '.sessions[] | select(.missing)'",
        codes="0 everything is in the files, 1 something is missing and is named, 3 the coordinator does not answer, "
        "75 a coordinator that does not answer owns this home.",
    )
)
@click.option(
    "--all",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="Every session, closed ones too, into a file of its own in this folder.",
)
@click.option("--format", "form", type=click.Choice(["md", "json"]), default="md", show_default=True, help="Of a file.")
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, folder: Path, form: str, as_json: bool) -> None:
    """Write every session's conversation into a file; needs no coordinator, and works on a damaged store too.

    Without a coordinator the store is read as it is and nothing is written to it; what cannot be read is named. Files
    are readable by you alone, and none is ever overwritten. Markdown is cleaned of what could steer a terminal, JSON is
    exact. There is no export of a single session yet: --all is needed.
    """
    home = home_of(context)
    make_folder(folder)
    try:
        written, found = run(_from_coordinator(home, folder, form))
    except CoordinatorAbsent:
        written, found = _from_store(home, folder, form)
    is_complete = not found and not any(w.missing for w in written)
    if as_json:
        sessions = [vars(w) for w in written]
        dump({"folder": str(folder.absolute()), "complete": is_complete, "found": found, "sessions": sessions})
    else:
        _show(folder, written, found)
    context.exit(EXIT_DONE if is_complete else EXIT_NO)


def _show(folder: Path, written: list[Written], found: list[str]) -> None:
    files = sum(w.file is not None for w in written)
    say(f"{files} of {len(written)} sessions are in {clean_line(str(folder))}.")
    for w in written:
        if w.missing:
            say(clean_line(f"{w.name} ({w.id}): missing: {w.missing}."), to_error=True)
    for finding in found:
        say(clean_line(f"Found: {finding}."), to_error=True)


# ---- without a coordinator


def _from_store(home: Home, folder: Path, form: str) -> tuple[list[Written], list[str]]:
    written: list[Written] = []
    found: list[str] = []
    for result in _results(home):
        if isinstance(result, Exported):
            written.append(write(folder, result, form))
        else:
            found = result
    return written, found


def _results(home: Home) -> Iterator[Exported | list[str]]:
    for line in child_lines(home, "export", within_s=READ_S):
        if line.startswith(b"["):
            yield msgspec.json.decode(line, type=list[str])
        else:
            yield msgspec.json.decode(line, type=Exported)


# ---- with one


async def _from_coordinator(home: Home, folder: Path, form: str) -> tuple[list[Written], list[str]]:
    async with connected(home) as connection:
        written = [write(folder, s, form) async for s in _sessions(connection)]
    hint = "to read around what is damaged, run `chat-coord stop` and then the same again"
    return written, [hint] if any(w.file and w.missing for w in written) else []


async def _sessions(connection: Connection) -> AsyncIterator[Exported]:
    for session in await all_sessions(connection, waiting=False, everything=True):
        rows, missing = await _messages(connection, session)
        yield Exported(
            id=session.id,
            name=session.name,
            type=session.type,
            model=session.model,
            cwd=session.cwd,
            closed=session.residency in {"stopping", "stopped"},
            created_at=session.created_at,
            last_active_at=session.last_active_at,
            messages=rows,
            missing=missing,
        )


async def _messages(connection: Connection, session: SessionView) -> tuple[list[HistoryRow], str | None]:
    rows: list[HistoryRow] = []
    missing = None
    try:
        async for page in connection.history(session.id):
            rows += page.rows
    except (RemoteError, CoordinatorSilent) as error:
        missing = f"what came after message {rows[-1].seq if rows else 0} ({error.message.rstrip('.')})"
    return sorted(rows, key=lambda row: (row.reply_to or row.seq, row.seq)), missing
