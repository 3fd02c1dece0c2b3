"""``chat-coord status``."""

import click

from client.asking import connected
from client.commands.common import home_of, run
from client.options import home_option, json_option, more_help
from client.output import dump, say, status_text
from protocol import messages as m
from protocol.paths import Home
from protocol.views import Status


@click.command(
    epilog=more_help(
        "chat-coord status",
        "chat-coord status --json | jq .sessions",
        codes="0 done, 3 no coordinator runs.",
    )
)
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, as_json: bool) -> None:
    """Show the coordinator at a glance."""
    status = run(_status(home_of(context)))
    if as_json:
        dump(status)
        return
    say(status_text(status))


async def _status(home: Home) -> Status:
    async with connected(home) as connection:
        answer = await connection.ask(m.GetStatus(request=connection.number()), m.StatusAnswer)
    return answer.status
