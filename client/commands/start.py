"""``chat-coord start``."""

import click

from client.asking import connected
from client.commands.common import home_of, run
from client.options import home_option, json_option, more_help
from client.output import dump, say
from client.starting import run_in_foreground, start_in_background
from protocol import messages as m
from protocol.errors import CoordinatorAbsent
from protocol.paths import Home
from protocol.views import Status


@click.command(
    epilog=more_help(
        "chat-coord start",
        "chat-coord start --foreground",
        codes="0 it runs, 75 (with --foreground) another one owns this home, 78 bad configuration.",
    )
)
@click.option("--foreground", is_flag=True, help="Stay in this terminal; for supervisors such as systemd.")
@click.option(
    "--launcher",
    type=click.Choice(["local", "spawn"]),
    help="How workers start: forked from a warm zygote, or as interpreters of their own (default: as configured).",
)
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, foreground: bool, launcher: str | None, as_json: bool) -> None:
    """Start the coordinator, and say where, its pid, the default model and the cap."""
    home = home_of(context)
    if foreground:
        home.prepare()
        run_in_foreground(home, launcher)
    is_new, status = run(_start(home, launcher))
    if as_json:
        dump(status)
        return
    say(f"The coordinator {'runs' if is_new else 'is running already'}: pid {status.pid}, home {status.home}.")
    held = status.sessions
    if launcher not in {None, status.launcher}:
        say(f"It starts workers with {status.launcher}: run `chat-coord stop` first to change that.")
    if status.store.notice:
        say(status.store.notice, to_error=True)
    say(f"Default model: {status.model.name}. Sessions: {held.live} of {held.max_active} slots held.")


async def _start(home: Home, launcher: str | None) -> tuple[bool, Status]:
    is_new = False
    try:
        async with connected(home) as connection:
            answer = await connection.ask(m.GetStatus(request=connection.number()), m.StatusAnswer)
            return is_new, answer.status
    except CoordinatorAbsent:
        await start_in_background(home, launcher)
    async with connected(home) as connection:
        answer = await connection.ask(m.GetStatus(request=connection.number()), m.StatusAnswer)
        return True, answer.status
