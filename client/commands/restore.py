"""``chat-coord restore``."""

from pathlib import Path

import click

from client.commands.common import home_of
from client.offline import ask_child
from client.options import home_option, json_option, more_help
from client.output import dump, say
from protocol.terminal_safe import clean_line

COPY_S = 3_600.0


@click.command(
    epilog=more_help(
        "chat-coord stop",
        "chat-coord restore ~/chats.db",
        "chat-coord start",
        codes="0 restored, 1 FILE cannot be used; then nothing was changed, 75 a coordinator runs, "
        "78 the home cannot be used.",
    )
)
@click.argument("file", type=click.Path(path_type=Path))
@home_option
@json_option
@click.pass_context
def command(context: click.Context, *, file: Path, as_json: bool) -> None:
    """Put a backup in the store's place; no coordinator may run.

    FILE is checked first. The old store is kept, in a dated folder in the home, with what workers had not handed over
    yet. Workers that still run are sent away at the next start. Prompts that had no reply when FILE was made are
    answered then.
    """
    done = ask_child(home_of(context), "restore", within_s=COPY_S, file=file.expanduser().absolute())
    if as_json:
        dump(done)
        return
    say(clean_line(f"{done['sessions']} sessions are restored from {done['file']}."))
    if done["kept"]:
        say(clean_line(f"The store that was there is kept in {done['kept']}."))
