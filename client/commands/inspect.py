"""``chat-coord inspect``."""

import click

from client.asking import connected
from client.commands.common import home_of, run
from client.inspecting import inspect
from client.inspection_text import inspection_text
from client.options import home_option, json_option, more_help, session_argument
from client.output import dump, say
from protocol.paths import Home
from protocol.views import Inspection


@click.command(
    epilog=more_help(
        "chat-coord inspect research",
        "chat-coord inspect research --stacks",
        "chat-coord inspect research --json | jq .worker.memory",
        codes="0 done, 1 no such session, 3 no coordinator runs.",
    )
)
@session_argument
@click.option("--stacks", is_flag=True, help="And where its code is just now: each thread, and each task of its loop.")
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, name: str, stacks: bool, as_json: bool) -> None:
    """Show everything about session NAME: its process, memory, liveness, permit, conversation, and its last exit.

    It wakes nothing: of a session without a worker it shows what is stored. --stacks works also when the worker hangs.
    """
    found = run(_inspect(home_of(context), name, stacks=stacks))
    if as_json:
        dump(found)
    else:
        say(inspection_text(found))


async def _inspect(home: Home, name: str, *, stacks: bool) -> Inspection:
    async with connected(home) as connection:
        return await inspect(connection, name, stacks=stacks)
