"""``chat-coord answer``."""

import sys

import click

from client.asking import connected, decide
from client.commands.common import home_of, run
from client.options import home_option, json_option, more_help
from client.output import dump, say
from protocol.limits import ANSWER_BYTES
from protocol.messages import Decided
from protocol.paths import Home


@click.command(
    epilog=more_help(
        'chat-coord answer 3f9c "Use the second one."',
        "cat facts.txt | chat-coord answer 3f9c -",
        codes="0 done, 1 no such ask, it is no question, or somebody answered it before, 3 no coordinator runs.",
    )
)
@click.argument("ask")
@click.argument("text")
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, ask: str, text: str, as_json: bool) -> None:
    """Answer the question ASK, which `chat-coord inbox` shows, with TEXT; - takes it from standard input.

    The beginning of its id is enough. The first answer counts, and the turn goes on with it; `chat-coord deny` goes on
    without one. A session that sleeps wakes up for it.
    """
    words = sys.stdin.buffer.read(ANSWER_BYTES + 1).decode(errors="replace") if text == "-" else text
    decided = run(_answer(home_of(context), ask, words))
    if as_json:
        dump({"ask": decided.ask, "session": decided.session, "tool": decided.tool, "approved": decided.approved})
    else:
        say("The question is answered.")


async def _answer(home: Home, ask: str, words: str) -> Decided:
    async with connected(home) as connection:
        return await decide(connection, ask, approve=True, answer=words)
