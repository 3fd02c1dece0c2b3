"""``chat-coord send``."""

import sys

import click

from client.commands.answering import answer, hand_over
from client.commands.common import home_of, run
from client.options import home_option, json_option, more_help, session_argument
from protocol.errors import PromptEmpty, PromptTooLarge
from protocol.ids import new_id
from protocol.limits import PROMPT_BYTES


@click.command(
    epilog=more_help(
        'chat-coord send research "What is the capital of France?"',
        "git diff | chat-coord send code - --json | jq -r .reply",
        'chat-coord send research "long job" --no-wait',
        codes="0 the turn completed, 1 refused or the turn did not complete, 3 no coordinator, 4 timed "
        "out (the turn goes on).",
    )
)
@session_argument
@click.argument("text")
@click.option("--no-wait", is_flag=True, help="Return as soon as the prompt is committed.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S", help="Seconds to wait for the reply.")
@click.option("--idem", metavar="KEY", help="A key of your own: sending the same again does nothing twice.")
@home_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    *,
    name: str,
    text: str,
    no_wait: bool,
    timeout: float | None,
    idem: str | None,
    as_json: bool,
) -> None:
    """Send a prompt to session NAME and stream the reply; TEXT may be - for standard input.

    A hibernated session wakes up. Starts the coordinator when none runs.
    """
    prompt = _read_prompt() if text == "-" else text
    if not prompt.strip():
        raise PromptEmpty("The prompt is empty.")
    home = home_of(context)
    key = new_id() if idem is None else idem
    if no_wait:
        run(hand_over(home, name, prompt, key, as_json=as_json))
        return
    code = run(answer(home, name, prompt, key, timeout, as_json=as_json))
    context.exit(code)


def _read_prompt() -> str:
    raw = sys.stdin.buffer.read(PROMPT_BYTES + 1)
    if len(raw) > PROMPT_BYTES:
        raise PromptTooLarge(f"The prompt is larger than {PROMPT_BYTES} bytes, which are allowed.")
    return raw.decode(errors="replace")
