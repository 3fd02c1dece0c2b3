"""``chat-coord new``."""

from pathlib import Path

import click

from client.asking import connected, create
from client.commands.common import home_of, run, show_session
from client.options import home_option, json_option, more_help
from protocol.paths import Home
from protocol.views import SESSION_TYPES, SessionView


@click.command(
    epilog=more_help(
        "chat-coord new research",
        "chat-coord new code --type review --cwd ~/src/project",
        'chat-coord new pirate --system "Speak like a pirate." --model gpt',
        codes="0 done, 1 refused (name taken, no free slot), 2 wrong usage.",
    )
)
@click.argument("name", required=False)
@click.option("--type", "session_type", type=click.Choice(SESSION_TYPES), default="development", show_default=True)
@click.option("--model", help="A model of the configuration (default: default_model).")
@click.option("--system", help="A system prompt of its own.")
@click.option("--cwd", type=click.Path(file_okay=False), help="Where the session works (default: here).")
@home_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    *,
    name: str | None,
    session_type: str,
    model: str | None,
    system: str | None,
    cwd: str | None,
    as_json: bool,
) -> None:
    """Make a session with a worker process of its own. Starts the coordinator when none runs."""
    home = home_of(context)
    folder = Path(cwd or ".").absolute()
    if not folder.is_dir():
        raise click.UsageError(f"{folder} is no folder.")
    session = run(_new(home, name=name, session_type=session_type, model=model, system=system, cwd=str(folder)))
    sentence = f"Session {session.name!r} (number {session.number}) is {session.residency}, model {session.model}."
    show_session(session, as_json=as_json, sentence=sentence)


async def _new(home: Home, **wanted: str | None) -> SessionView:
    async with connected(home, start=True) as connection:
        return await create(connection, home, **wanted)
