"""``chat-coord retry``."""

import click

from client.commands.answering import answer, hand_over
from client.commands.common import home_of, run
from client.options import home_option, json_option, more_help, session_argument
from protocol.ids import new_id


@click.command(
    epilog=more_help(
        "chat-coord retry research",
        "chat-coord retry research --no-wait",
        codes="0 the turn completed, 1 refused, nothing to run again, or the turn did not complete, "
        "3 no coordinator, 4 timed out (the turn goes on).",
    )
)
@session_argument
@click.option("--no-wait", is_flag=True, help="Return as soon as it is committed.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S", help="Seconds to wait for the reply.")
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, name: str, no_wait: bool, timeout: float | None, as_json: bool) -> None:
    """Run the last turn of session NAME again, if it did not complete.

    Its prompt is sent once more as it was; the mark of the turn that was interrupted stays in the history. A session
    that gave up starts again.
    """
    home, key = home_of(context), new_id()
    if no_wait:
        run(hand_over(home, name, None, key, as_json=as_json))
        return
    context.exit(run(answer(home, name, None, key, timeout, as_json=as_json)))
