"""Options that every command has, and the end of its help."""

import click

from client.completing import session_names


def _set_home(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.find_root().obj = value


home_option = click.option(
    "--home",
    metavar="DIR",
    expose_value=False,
    is_eager=True,
    callback=_set_home,
    help="Where everything durable lies (default: CHAT_COORD_HOME, else the platform's data folder).",
)
session_argument = click.argument("name", shell_complete=session_names)
maybe_session_argument = click.argument("name", required=False, shell_complete=session_names)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document for programs.")


def more_help(*examples: str, codes: str) -> str:
    """Return the end of a command's help.

    Args:
        examples: command lines; they are shown as they stand.
        codes: each exit code with its meaning.
    """
    lines = "\n".join(f"  {example}" for example in examples)
    return f"\b\nExamples:\n{lines}\n\nExit codes: {codes}"
