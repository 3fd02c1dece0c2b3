"""``chat-coord top``."""

import os
import shutil
import sys

import click

from client.asking import connected
from client.commands.common import home_of, run
from client.inspecting import top
from client.options import home_option, json_option, more_help
from client.output import dump, say
from client.top_screen import TopScreen
from client.top_table import PRINTED_WIDTH, Top, top_text
from protocol.paths import Home


@click.command(
    epilog=more_help(
        "chat-coord top",
        "chat-coord top --once --json | jq '.sessions[] | {name, cpu_percent, memory}'",
        codes="0 done, 2 --json without --once, 3 no coordinator runs.",
    )
)
@click.option("--once", is_flag=True, help="Print it once; so it does without a terminal.")
@click.option(
    "--every", "every_s", type=click.FloatRange(0.2, 60), default=1.0, show_default=True, help="Seconds between looks."
)
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, once: bool, every_s: float, as_json: bool) -> None:
    """Watch what the workers use: processor, memory and its history, pieces per second, permits, who sleeps next.

    Listed is what has a worker, waits for one, or gave up. Keys: q quits, the arrows choose a session, h hibernates it,
    p pins it or not any more, x cancels its turn, k kills its worker; m, c, n, s, r sort by memory, processor, name,
    state, and pieces per second. OWN is memory of the worker alone, NEXT its place in the order of hibernation.
    """
    home = home_of(context)
    if as_json and not once:
        raise click.UsageError("--json goes with --once; `watch --json` follows changes.")
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") not in {None, "", "dumb"}
    if is_terminal and not once:
        run(_show(home, every_s))
        return
    found = run(_once(home))
    if as_json:
        dump(found)
    else:
        say(top_text(found, shutil.get_terminal_size().columns if sys.stdout.isatty() else PRINTED_WIDTH))


async def _once(home: Home) -> Top:
    async with connected(home) as connection:
        return await top(connection)


async def _show(home: Home, every_s: float) -> None:
    async with connected(home) as connection:
        await TopScreen(connection, every_s).run()
