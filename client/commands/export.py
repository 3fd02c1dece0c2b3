"""``chat-coord export``."""

from pathlib import Path

import click

from client.asking import connected
from client.commands.common import home_of, run
from client.export_files import FORMS, Written, make_folder, write, write_one
from client.export_forms import as_text
from client.exporting import export_all, export_one, stored, stored_one
from client.options import home_option, json_option, maybe_session_argument, more_help
from client.output import dump, say
from protocol.errors import EXIT_DONE, EXIT_NO, CoordinatorAbsent
from protocol.paths import Home
from protocol.terminal_safe import clean_line
from protocol.views import Exported


@click.command(
    epilog=more_help(
        "chat-coord export research -o research.md",
        "chat-coord export research --format json | jq .messages",
        "chat-coord export --all ~/chats",
        "chat-coord export --all ~/chats --format json --json | jq '.sessions[] | select(.missing)'",
        codes="0 everything is in the files, 1 no such session, the file is there already, or something is missing and "
        "is named, 3 the coordinator does not answer, 75 a coordinator that does not answer owns this home.",
    )
)
@maybe_session_argument
@click.option(
    "--all",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Every session, closed ones too, into a file of its own in this folder.",
)
@click.option("--format", "form", type=click.Choice(FORMS), default="md", show_default=True, help="Of a file.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Where to.")
@click.option("--force", is_flag=True, help="Replace FILE when it is there already.")
@home_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    *,
    name: str | None,
    folder: Path | None,
    form: str,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write the conversation of session NAME into FILE, or print it; or with --all every session's.

    Needs no coordinator, wakes none, and works on a damaged store too: without a coordinator the store is read as it is
    and nothing is written to it; what cannot be read is named. Files are readable by you alone, and none is ever
    overwritten without --force. Markdown is cleaned of what could steer a terminal; HTML is one page without scripts;
    JSON is exact, and `import` takes it back.
    """
    if (name is None) == (folder is None):
        raise click.UsageError("Give a session or --all DIR.")
    if folder is not None and (output is not None or force):
        raise click.UsageError("-o and --force are for a single session.")
    if as_json and folder is None and output is None:
        raise click.UsageError("--json tells about files: give -o FILE too, or --format json to print the session.")
    home = home_of(context)
    if name is not None:
        context.exit(_one(home, name, form, output, is_forced=force, as_json=as_json))
    assert folder is not None  # noqa: S101 - one of the two
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


# ---- one


def _one(home: Home, name: str, form: str, output: Path | None, *, is_forced: bool, as_json: bool) -> int:
    """Print a session or write it into a file; return the exit code."""
    try:
        session, found = run(_ask_one(home, name)), list[str]()
    except CoordinatorAbsent:
        session, found = stored_one(home, name)
    if output is None:
        # JSON is ASCII, the other forms are cleaned: nothing that is printed steers a terminal.
        say(as_text(session, form), end="")
    else:
        write_one(output, session, form, is_forced=is_forced)
    if as_json:
        told = {"file": str(output and output.absolute()), "session": session.id, "messages": len(session.messages)}
        dump(told | {"missing": session.missing, "found": found})
    elif output is not None:
        say(clean_line(f"{len(session.messages)} messages of {session.name!r} are in {output}."))
    if session.missing:
        say(clean_line(f"{session.name} ({session.id}): missing: {session.missing}."), to_error=True)
    for finding in found:
        say(clean_line(f"Found: {finding}."), to_error=True)
    return EXIT_NO if session.missing else EXIT_DONE


async def _ask_one(home: Home, name: str) -> Exported:
    async with connected(home) as connection:
        return await export_one(connection, name)


# ---- all


def _from_store(home: Home, folder: Path, form: str) -> tuple[list[Written], list[str]]:
    written: list[Written] = []
    found: list[str] = []
    for result in stored(home):
        if isinstance(result, Exported):
            written.append(write(folder, result, form))
        else:
            found = result
    return written, found


async def _from_coordinator(home: Home, folder: Path, form: str) -> tuple[list[Written], list[str]]:
    async with connected(home) as connection:
        written = [write(folder, s, form) async for s in export_all(connection)]
    hint = "to read around what is damaged, run `chat-coord stop` and then the same again"
    return written, [hint] if any(w.file and w.missing for w in written) else []
