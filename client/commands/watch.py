"""``chat-coord watch``."""

import json
import time

import click

from client.asking import all_sessions, connected
from client.commands.common import home_of, run
from client.connection import Back, Connection, Gone
from client.options import home_option, json_option, more_help
from client.output import say, store_words
from protocol import messages as m
from protocol.paths import Home
from protocol.terminal_safe import clean_line


@click.command(
    epilog=more_help(
        "chat-coord watch",
        "chat-coord watch --json",
        codes="0 ended by Ctrl+C, 3 no coordinator runs.",
    )
)
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, as_json: bool) -> None:
    """Follow every change of state until Ctrl+C; with --json a line for each.

    It goes on when the coordinator is restarted: what changed meanwhile is told as one line for each session, with seq
    0, and then the new coordinator counts from 1.

    The store is followed too: its lines have no session (null), and go from writable to read-only and back.
    """
    try:
        run(_watch(home_of(context), as_json=as_json))
    except KeyboardInterrupt:
        return


async def _watch(home: Home, *, as_json: bool) -> None:
    async with connected(home) as connection:
        await connection.ask(m.Listen(request=connection.number()), m.Done)
        say("Following every change of state; Ctrl+C ends it.", to_error=True)
        known = {s.id: s.display for s in await all_sessions(connection, waiting=False, everything=True)}
        while True:
            pushed = await connection.pushed.get()
            match pushed:
                case m.Changed():
                    known[pushed.session] = pushed.after
                    _show(pushed, as_json=as_json)
                case m.StoreState():
                    _show_store(pushed, as_json=as_json)
                case m.AskResolved():
                    if not as_json:
                        say(clean_line(f"{pushed.name}: {pushed.tool} {pushed.outcome} by {pushed.by} ({pushed.ask})"))
                case Gone():
                    say("The coordinator has gone; waiting for the next one.", to_error=True)
                case Back():
                    for change in await _catch_up(connection, known):
                        _show(change, as_json=as_json)


async def _catch_up(connection: Connection, known: dict[str, str]) -> list[m.Changed]:
    """Listen to the coordinator that is there now, and return what became of each session meanwhile."""
    await connection.ask(m.Listen(request=connection.number()), m.Done)
    say(f"The coordinator is back: boot {connection.boot}.", to_error=True)
    missed = []
    for session in await all_sessions(connection, waiting=False, everything=True):
        before = known.get(session.id)
        if before != session.display:
            known[session.id] = session.display
            missed.append(
                m.Changed(
                    seq=0,
                    at=time.time(),
                    session=session.id,
                    name=session.name,
                    before=before,
                    after=session.display,
                    cause="while no coordinator was heard",
                )
            )
    return missed


def _show(change: m.Changed, *, as_json: bool) -> None:
    if as_json:
        facts = {"seq": change.seq, "at": change.at, "session": change.session, "from": change.before}
        say(json.dumps(facts | {"to": change.after, "cause": change.cause}))
    else:
        say(clean_line(f"{change.name}: {change.before or 'nothing'} -> {change.after} ({change.cause})"))


def _show_store(state: m.StoreState, *, as_json: bool) -> None:
    words = ("writable", "read-only")
    before, after = words if not state.writable else words[::-1]
    if as_json:
        facts = {"seq": state.seq, "at": state.at, "session": None, "from": before, "to": after}
        say(json.dumps(facts | {"cause": state.reason or "it can be written again"}))
    else:
        say(clean_line(store_words(state)))
