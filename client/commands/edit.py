"""``chat-coord edit``."""

from pathlib import Path

import click

from client.asking import connected
from client.attachments import prompt_of
from client.commands.answering import answer, cwd_of, hand_over, read_prompt
from client.commands.common import home_of, run
from client.core.attaching import Prompt
from client.editing import fork_before
from client.options import home_option, json_option, more_help, session_argument
from client.output import say
from protocol.errors import PromptEmpty
from protocol.ids import new_id
from protocol.paths import Home
from protocol.views import SessionView


@click.command(
    epilog=more_help(
        'chat-coord edit research "The question, asked better."',
        'chat-coord edit research "Rather this." --at 3 --name research-again',
        codes="0 the turn completed, 1 refused or the turn did not complete, 3 no coordinator, 4 timed out (the turn "
        "goes on).",
    )
)
@session_argument
@click.argument("text")
@click.option("--at", "seq", type=click.IntRange(1, 1 << 53), metavar="SEQ", help="That prompt (default: the last).")
@click.option("--name", "new_name", help="Name of the new session (default: NAME-fork).")
@click.option("--no-wait", is_flag=True, help="Return as soon as the prompt is committed.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S", help="Seconds to wait for the reply.")
@home_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    *,
    name: str,
    text: str,
    seq: int | None,
    new_name: str | None,
    no_wait: bool,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Ask again in other words: TEXT in the place of the last prompt of session NAME, in a fork of it.

    The fork is a new session with everything before that prompt; NAME stays as it is. TEXT may be - for standard input,
    and name files with @PATH, as with `send`.
    """
    home = home_of(context)
    if text == "-":
        prompt = Prompt(read_prompt())
    else:
        prompt = prompt_of(text, run(cwd_of(home, name)) if "@" in text else Path())
    if not prompt.text.strip():
        raise PromptEmpty("The prompt is empty.")
    session = run(_fork(home, name, seq, new_name))
    say(f"Session {session.name!r} begins with {session.messages} messages.", to_error=True)
    if no_wait:
        run(hand_over(home, session.id, prompt, new_id(), as_json=as_json))
        return
    context.exit(run(answer(home, session.id, prompt, new_id(), timeout, as_json=as_json)))


async def _fork(home: Home, name: str, seq: int | None, new_name: str | None) -> SessionView:
    async with connected(home, start=True) as connection:
        return await fork_before(connection, name, seq, new_name)
