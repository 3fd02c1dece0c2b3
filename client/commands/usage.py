"""``chat-coord usage``."""

import time

import click

from client.asking import connected
from client.commands.common import home_of, run
from client.core.since import since as moment
from client.options import home_option, json_option, maybe_session_argument, more_help
from client.output import dump, say, usage_table
from protocol import messages as m
from protocol.paths import Home
from protocol.views import UsageReport


@click.command(
    epilog=more_help(
        "chat-coord usage",
        "chat-coord usage research --since 7d",
        "chat-coord usage --since 2026-11-01 --json | jq .total.cost",
        codes="0 done, 1 no such session, 2 --since is no time, 3 no coordinator runs.",
    )
)
@maybe_session_argument
@click.option("--since", metavar="TIME", help="A date such as 2026-11-01, or how long ago: 90m, 12h, 7d, 4w.")
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, name: str | None, since: str | None, as_json: bool) -> None:
    """Show the tokens that each session cost, and money where input_price or output_price of its model is configured.

    What a fork or an import took over was paid for elsewhere and is not counted again; what was deleted is not counted.
    """
    at = None
    if since is not None:
        now = time.time()
        at = moment(since, now, time.localtime(now).tm_gmtoff)
        if at is None:
            raise click.UsageError(f"{since!r} is no time: give a date such as 2026-11-01, or 90m, 12h, 7d, 4w.")
    report = run(_usage(home_of(context), name, at))
    if as_json:
        dump(report)
    elif report.sessions:
        say(usage_table(report))
    else:
        say("Nothing was spent.")


async def _usage(home: Home, name: str | None, at: float | None) -> UsageReport:
    async with connected(home) as connection:
        order = m.GetUsage(request=connection.number(), session=name, since=at)
        return (await connection.ask(order, m.UsageAnswer)).usage
