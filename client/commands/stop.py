"""``chat-coord stop``."""

import click

from client.asking import connected
from client.commands.common import home_of, run
from client.options import home_option, json_option, more_help
from client.output import dump, say
from client.starting import STOP_S, wait_ended
from protocol import messages as m
from protocol.errors import CoordinatorSilent
from protocol.paths import Home


@click.command(
    epilog=more_help(
        "chat-coord stop",
        "chat-coord stop --now",
        codes="0 stopped, 3 no coordinator runs.",
    )
)
@click.option("--now", is_flag=True, help="Do not wait for running turns; they end as interrupted.")
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, now: bool, as_json: bool) -> None:
    """Put every session to sleep, then stop the coordinator. Nothing acknowledged is lost."""
    pid = run(_stop(home_of(context), now=now))
    if as_json:
        dump({"pid": pid, "stopped": True})
    else:
        say(f"The coordinator (pid {pid}) has stopped. Sessions and their history are kept.")


async def _stop(home: Home, *, now: bool) -> int:
    async with connected(home) as connection:
        await connection.ask(m.ShutDown(request=connection.number(), now=now), m.Done)
        pid = connection.pid
        if not await wait_ended(pid):
            raise CoordinatorSilent(f"The coordinator (pid {pid}) has not ended within {STOP_S:.0f} s.")
    return pid
