"""``chat-coord fork``."""

import click

from client.commands.common import ask_session, home_of, run, show_session
from client.options import home_option, json_option, more_help, session_argument
from protocol import messages as m
from protocol.ids import new_id


@click.command(
    epilog=more_help(
        "chat-coord fork research",
        "chat-coord fork research --at 6 --name research-again",
        'chat-coord fork research --at 4 --name try && chat-coord send try "the question, asked better"',
        codes="0 done, 1 no such session or message, or the turn has no end yet, 3 no coordinator runs.",
    )
)
@session_argument
@click.option(
    "--at", "at_seq", type=click.IntRange(0, 1 << 53), metavar="SEQ", help="Through the turn of this message."
)
@click.option("--name", "new_name", help="Its name (default: NAME-fork).")
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, name: str, at_seq: int | None, new_name: str | None, as_json: bool) -> None:
    """Make a new session that begins with the conversation of session NAME; neither is woken.

    It takes over the turns that have an end: all of them, or with --at those up to and including the turn of message
    SEQ (`history --json` shows the numbers; 0 is the very beginning). To ask something again in other words, fork at
    the message before it and send the better prompt to the fork; what was said in NAME stays as it is.
    """
    key = new_id()
    session = run(
        ask_session(home_of(context), lambda n: m.Fork(request=n, session=name, id=key, name=new_name, at_seq=at_seq))
    )
    show_session(
        session, as_json=as_json, sentence=f"Session {session.name!r} begins with {session.messages} messages."
    )
