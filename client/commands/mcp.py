"""``chat-coord mcp``."""

import click

from client.commands.common import home_of, run
from client.doors.extra import require
from client.options import home_option, more_help


@click.command(
    epilog=more_help(
        "chat-coord mcp",
        'echo \'{"mcpServers": {"chats": {"command": "chat-coord", "args": ["mcp"]}}}\'  # | chat-coord mcp',
        codes="0 the client has gone, 1 the extra `mcp` is not installed.",
    )
)
@home_option
@click.pass_context
def command(context: click.Context) -> None:
    """Offer sessions to another model as tools (Model Context Protocol, over standard input and output).

    Needs the extra `mcp`. The tools are open_session, say, wait, list_sessions and hibernate. None says yes to what a
    session asks: that is for a person.
    """
    require("mcp")
    from client.doors.mcp_server import serve  # noqa: PLC0415 - the library is an extra, and slow to import

    run(serve(home_of(context)))
