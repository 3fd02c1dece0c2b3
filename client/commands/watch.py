"""``chat-coord watch``."""

import json

import click

from client.asking import connected
from client.commands.common import home_of, run
from client.options import home_option, json_option, more_help
from client.output import say
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
    """Follow every change of state until Ctrl+C; with --json a line for each."""
    try:
        run(_watch(home_of(context), as_json=as_json))
    except KeyboardInterrupt:
        return


async def _watch(home: Home, *, as_json: bool) -> None:
    async with connected(home) as connection:
        await connection.ask(m.Listen(request=connection.number()), m.Done)
        while True:
            change = await connection.pushed.get()
            if not isinstance(change, m.Changed):
                continue
            if as_json:
                facts = {"seq": change.seq, "at": change.at, "session": change.session, "from": change.before}
                say(json.dumps(facts | {"to": change.after, "cause": change.cause}))
            else:
                say(clean_line(f"{change.name}: {change.before or 'nothing'} -> {change.after} ({change.cause})"))
