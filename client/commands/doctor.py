"""``chat-coord doctor``."""

from typing import Any

import click

from client.commands.common import home_of
from client.offline import ask_child
from client.options import home_option, json_option, more_help
from client.output import dump, say
from protocol.errors import EXIT_DONE, EXIT_NO
from protocol.terminal_safe import clean_line

LOOK_S = 45.0


@click.command(
    epilog=more_help(
        "chat-coord doctor",
        "chat-coord doctor --json | jq '.[] | select(.ok | not)'",
        codes="0 all is well, 1 something was found.",
    )
)
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, as_json: bool) -> None:
    """Check the installation, with a fix for each finding. Changes nothing; needs no coordinator."""
    checks: list[dict[str, Any]] = ask_child(home_of(context), "doctor", within_s=LOOK_S)
    if as_json:
        dump(checks)
    else:
        for check in checks:
            say(clean_line(f"{'ok   ' if check['ok'] else 'FOUND'}  {check['name']:<15} {check['finding']}"))
            if not check["ok"] and check["fix"]:
                say(clean_line(f"       {'':<15} fix: {check['fix']}"))
    context.exit(EXIT_DONE if all(check["ok"] for check in checks) else EXIT_NO)
