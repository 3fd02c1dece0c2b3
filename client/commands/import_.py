"""``chat-coord import``."""

import time
from pathlib import Path

import click

from client.asking import connected
from client.commands.common import home_of, run
from client.core.foreign.turns import Conversation
from client.foreign_files import PROGRAMS, Problem, read
from client.importing import Brought, bring_in, of_foreign, origin_known, read_export
from client.options import home_option, json_option, more_help
from client.output import dump, say, table
from protocol.errors import EXIT_DONE, EXIT_NO, ChatCoordError, CoordinatorAbsent, CoordinatorSilent
from protocol.paths import Home
from protocol.terminal_safe import clean_line

Report = list[dict[str, object]]


@click.command(
    epilog=more_help(
        "chat-coord import research.json",
        "chat-coord import --from claude-code ~/.claude/projects --list",
        "chat-coord import --from codex ~/.codex/sessions",
        "chat-coord import --from chatgpt conversations.json --only 6717e1c0-5b84-8001",
        codes="0 everything is here (now, or since an earlier import), 1 something could not be imported and is named, "
        "3 the coordinator does not answer.",
    )
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--from", "program", type=click.Choice(PROGRAMS), help="PATH is another program's file, or a folder of them."
)
@click.option("--list", "only_list", is_flag=True, help="Only show what is there, with --from.")
@click.option("--only", multiple=True, metavar="KEY", help="Only the conversation with this key, as --list shows it.")
@home_option
@json_option
@click.pass_context
def command(
    context: click.Context, *, path: Path, program: str | None, only_list: bool, only: tuple[str, ...], as_json: bool
) -> None:
    """Make sessions of a file that `export --format json` made, or of what another program keeps.

    Nothing is imported twice: each session remembers what it came from. One of ours keeps its id when no session here
    has that, and gets another name when its own is taken; everything else is as it was. From other programs come what
    was asked and answered; what their tools did becomes text that can never run again, and lines that cannot be read
    are counted. Imported sessions sleep, and wake with the first prompt. Starts the coordinator when none runs.
    """
    if program is None and (only_list or only):
        raise click.UsageError("--list and --only need --from.")
    if program is None:
        report, problems = run(_ours(home_of(context), path)), list[Problem]()
    else:
        report, problems = run(_foreign(home_of(context), program, path.expanduser(), only, only_list=only_list))
    named = [{"file": str(file), "why": why} for file, why in problems]
    if as_json:
        dump({"conversations": report, "problems": named})
    else:
        _show(report, problems, only_list=only_list)
    is_complete = not problems and all(r["status"] != "refused" for r in report)
    context.exit(EXIT_DONE if is_complete or only_list else EXIT_NO)


async def _ours(home: Home, path: Path) -> Report:
    given = read_export(path)
    async with connected(home, start=True) as connection:
        return [_told(await bring_in(connection, home, given), malformed=0)]


async def _foreign(
    home: Home, program: str, path: Path, only: tuple[str, ...], *, only_list: bool
) -> tuple[Report, list[Problem]]:
    report: Report = []
    problems: list[Problem] = []
    async with connected(home, start=True) as connection:
        for found in read(program, path, problems):
            if only and not found.key.startswith(only):
                continue
            given = of_foreign(program, found)
            if only_list or not found.rows:
                known = await origin_known(connection, given.origin or "")
                status = "empty" if not found.rows else "imported already" if known else "new"
                report.append(_line(found, given.origin, status, known.name if known else given.name))
                continue
            try:
                report.append(_told(await bring_in(connection, home, given), malformed=found.malformed))
            except (CoordinatorAbsent, CoordinatorSilent):
                raise
            except ChatCoordError as error:
                report.append(_line(found, given.origin, "refused", given.name) | {"notes": [error.message]})
    return report, problems


def _told(brought: Brought, *, malformed: int) -> dict[str, object]:
    session = brought.session
    return {
        "origin": brought.origin,
        "status": "imported" if brought.is_new else "imported already",
        "session": session.id,
        "name": session.name,
        "messages": session.messages,
        "last_active_at": session.last_active_at,
        "malformed": malformed,
        "notes": brought.notes,
    }


def _line(found: Conversation, origin: str | None, status: str, name: str) -> dict[str, object]:
    return {
        "origin": origin,
        "status": status,
        "session": None,
        "name": name,
        "messages": len(found.rows),
        "last_active_at": found.last_active_at,
        "malformed": found.malformed,
        "notes": [],
    }


def _show(report: Report, problems: list[Problem], *, only_list: bool) -> None:
    rows = [("ORIGIN", "NAME", "MESSAGES", "LAST", "STATUS")]
    rows += [
        (str(r["origin"]), str(r["name"]), str(r["messages"]), _day(r["last_active_at"]), str(r["status"]))
        for r in report
    ]
    say(table(rows) if report else "There is no conversation in it.")
    for r in report:
        for note in r["notes"] if isinstance(r["notes"], list) else ():
            say(clean_line(f"{r['name']}: {note}."), to_error=True)
        if r["malformed"]:
            say(clean_line(f"{r['name']}: {r['malformed']} lines could not be read and were left out."), to_error=True)
    for file, why in problems:
        say(clean_line(f"{file}: {why}"), to_error=True)
    if only_list and report:
        say("Nothing was imported; leave out --list to do it.", to_error=True)


def _day(at: object) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(at)) if isinstance(at, float) and at else ""
