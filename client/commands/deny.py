"""``chat-coord deny``."""

import click

from client.asking import connected, decide
from client.commands.common import home_of, run
from client.options import home_option, json_option, more_help
from client.output import dump, say
from protocol.messages import Decided
from protocol.paths import Home


@click.command(
    epilog=more_help(
        "chat-coord deny 3f9c",
        'chat-coord deny 3f9c "use git mv instead"',
        codes="0 done, 1 no such ask, or somebody answered it before, 3 no coordinator runs.",
    )
)
@click.argument("ask")
@click.argument("why", required=False, default="")
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, ask: str, why: str, as_json: bool) -> None:
    """Say no to ASK, which `chat-coord inbox` shows; the model is told so, and WHY.

    The first answer counts. The turn goes on without that call.
    """
    decided = run(_decide(home_of(context), ask, why))
    if as_json:
        dump({"ask": decided.ask, "session": decided.session, "tool": decided.tool, "approved": decided.approved})
    else:
        say(f"{decided.tool} is denied.")


async def _decide(home: Home, ask: str, why: str) -> Decided:
    async with connected(home) as connection:
        return await decide(connection, ask, approve=False, why=why)
