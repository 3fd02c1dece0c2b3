"""``chat-coord restart``."""

import click

from client.asking import connected
from client.commands.common import home_of, run
from client.options import home_option, json_option, more_help
from client.output import dump, say
from client.starting import STOP_S, start_in_background, wait_replaced
from protocol import messages as m
from protocol.errors import CoordinatorAbsent, CoordinatorSilent
from protocol.paths import Home, find_running
from protocol.settings import load_settings
from protocol.views import Status


@click.command(
    epilog=more_help(
        "chat-coord restart",
        "pip install -U chat-coord && chat-coord restart   # the new version, and no session is disturbed",
        codes="0 the new one runs, 3 the old one did not leave, 78 bad configuration (the old one runs on).",
    )
)
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, as_json: bool) -> None:
    """Replace the coordinator; live workers keep their pids, and running turns go on.

    Everything is committed first. Other terminals and commands find the new one by themselves. It has the environment
    of this command, so the keys that api_key_env names must be set here. One that runs with `start --foreground` keeps
    its process and its environment instead, so that systemd sees no end. Starts one when none runs.
    """
    home = home_of(context)
    load_settings(home.config)  # a bad value must not cost the running coordinator
    status = run(_restart(home))
    if as_json:
        dump(status)
        return
    held = status.sessions
    say(f"The coordinator runs: pid {status.pid}, boot {status.boot}, home {status.home}.")
    say(f"Sessions: {held.live} of {held.max_active} slots held.")


async def _restart(home: Home) -> Status:
    launcher: str | None = None
    try:
        async with connected(home) as connection:
            before = await connection.ask(m.GetStatus(request=connection.number()), m.StatusAnswer)
            launcher = before.status.launcher
            await connection.ask(m.HandOver(request=connection.number()), m.Done)
            pid = connection.pid
        if not await wait_replaced(home, pid, before.status.boot):
            hint = f"See coordinator.log in {home.logs}; `chat-coord stop` ends it with its workers."
            raise CoordinatorSilent(f"The coordinator (pid {pid}) has not left within {STOP_S:.0f} s.", hint=hint)
    except CoordinatorAbsent:
        pass
    if find_running(home) is None:
        await start_in_background(home, None if launcher == load_settings(home.config).launcher else launcher)
    async with connected(home) as connection:
        answer = await connection.ask(m.GetStatus(request=connection.number()), m.StatusAnswer)
        return answer.status
