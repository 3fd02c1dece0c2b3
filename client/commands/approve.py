"""``chat-coord approve``."""

import click

from client.asking import connected, decide
from client.commands.common import home_of, run
from client.options import home_option, json_option, more_help
from client.output import dump, say
from protocol.messages import Decided
from protocol.paths import Home


@click.command(
    epilog=more_help(
        "chat-coord approve 3f9c",
        codes="0 done, 1 no such ask, or somebody answered it before, 3 no coordinator runs.",
    )
)
@click.argument("ask")
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, ask: str, as_json: bool) -> None:
    """Say yes to ASK, which `chat-coord inbox` shows; the beginning of its id is enough.

    What runs is exactly what was shown. The first answer counts. A session that sleeps wakes up for it.
    """
    decided = run(_decide(home_of(context), ask, ""))
    if as_json:
        dump({"ask": decided.ask, "session": decided.session, "tool": decided.tool, "approved": decided.approved})
    else:
        say(f"{decided.tool} is approved.")


async def _decide(home: Home, ask: str, why: str) -> Decided:
    async with connected(home) as connection:
        return await decide(connection, ask, approve=True, why=why)
