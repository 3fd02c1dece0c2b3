"""``chat-coord acp``."""

import click

from client.commands.common import home_of, run
from client.doors.extra import require
from client.options import home_option, more_help


@click.command(
    epilog=more_help(
        "chat-coord acp",
        "chat-coord acp --home ~/work/chats",
        "acpx --agent 'chat-coord acp' exec \"What is the capital of France?\"  # | chat-coord acp",
        codes="0 the editor has gone, 1 the extra `acp` is not installed.",
    )
)
@home_option
@click.pass_context
def command(context: click.Context) -> None:
    """Be the agent of an editor, over standard input and output (Agent Client Protocol); editors start this.

    Needs the extra `acp`. Sessions are those of all other commands, in the coordinator that runs; one is started when
    an order needs it. The end of the input only detaches: turns go on, and what asks for a person waits in the inbox.
    """
    require("acp")
    from client.doors.acp_bridge import serve  # noqa: PLC0415 - the library is an extra, and slow to import

    run(serve(home_of(context)))
