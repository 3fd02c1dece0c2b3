"""``chat-coord http``."""

import click

from client.commands.common import home_of, run
from client.doors.extra import require
from client.options import home_option, more_help
from client.output import say

PORT = 8642


@click.command(
    epilog=more_help(
        "chat-coord http",
        "chat-coord http --port 0 --session assistant",
        'curl -H "Authorization: Bearer $(cat HOME/http-token)" http://127.0.0.1:8642/sessions  # | chat-coord http',
        codes="0 ended by a signal, 1 the port is taken or the extra `http` is not installed, 78 the token's file "
        "is not private.",
    )
)
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="On loopback; 0: any.")
@click.option("--session", metavar="NAME", help="The session of completions that name none.")
@home_option
@click.pass_context
def command(context: click.Context, *, port: int, session: str | None) -> None:
    """Offer sessions over HTTP on loopback, until Ctrl+C: as resources, and behind OpenAI's protocol (/v1).

    Needs the extra `http`. Every request must have the token of HOME/http-token, which is made at the first start.
    /openapi.json describes all of it. Turns go on when a client goes away.
    """
    require("http")
    from client.doors.http_app import serve  # noqa: PLC0415 - the libraries are an extra, and slow to import

    home = home_of(context)

    def tell(address: str) -> None:
        say(f"Listening on {address}; the token is in {home.root / 'http-token'}.")

    run(serve(home, port, session, tell))
