"""``chat-coord web``."""

import asyncio
import importlib.util
import sys

import click

from client.asking import connected, pick_session
from client.commands.common import home_of, run
from client.model_ready import ensure_model
from client.options import home_option, maybe_session_argument, more_help
from client.output import say
from protocol.errors import ChatCoordError
from protocol.paths import Home

HIGHEST_PORT = 65_535


class WebMissing(ChatCoordError):
    """What serves the browser is not installed."""

    code = "web.missing"


class PortTaken(ChatCoordError):
    """Another program listens there."""

    code = "web.port_taken"
    hint = "Choose another with --port, or none for a free one."


@click.command(
    epilog=more_help(
        "chat-coord web",
        "chat-coord web research --port 8765",
        codes="0 ended with Ctrl+C, 1 it cannot be served, 78 bad configuration.",
    )
)
@maybe_session_argument
@click.option(
    "--port", type=click.IntRange(0, HIGHEST_PORT), default=0, help="Listen there; without it a free one is chosen."
)
@home_option
@click.pass_context
def command(context: click.Context, *, name: str | None = None, port: int = 0) -> None:
    """Serve the terminal to a browser on this machine, until Ctrl+C.

    It prints an address that is good for one visit: the browser that opens it gets a cookie, everybody else is refused.
    Each tab is a terminal of its own. It listens on 127.0.0.1 alone; from another machine come through ssh -L. It needs
    the extra `chat-coord[web]`.
    """
    if importlib.util.find_spec("textual_serve") is None:
        hint = f"Run `{sys.executable} -m pip install textual-serve`."
        raise WebMissing("What serves the terminal to a browser is not installed.", hint=hint)
    home = home_of(context)
    run(_prepare(home, name))
    run(_serve(home, name, port))


async def _prepare(home: Home, name: str | None) -> None:
    """Start what is needed, so that what is wrong is said here and not in the browser."""
    async with connected(home, start=True) as connection:
        ensure_model(home, (await pick_session(connection, home, name)).model)


async def _serve(home: Home, name: str | None, port: int) -> None:
    from client.web_door import Door, bind  # noqa: PLC0415 - a web server that no other command shall load

    try:
        bound = await asyncio.to_thread(bind, port)
    except OSError as error:
        raise PortTaken(f"Port {port} of 127.0.0.1 cannot be had: {error.strerror}.") from error
    door = Door(home, name, bound)
    try:
        await door.run(lambda: say(f"Open {door.address}\nIt is good for one visit. Ctrl+C ends; sessions go on."))
    finally:
        bound.close()
