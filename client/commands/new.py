"""``chat-coord new``."""

from pathlib import Path

import click

from client.asking import connected, create
from client.commands.common import home_of, run, show_session
from client.options import home_option, json_option, more_help
from client.output import place
from protocol.paths import Home
from protocol.views import SESSION_TYPES, SessionView


@click.command(
    epilog=more_help(
        "chat-coord new research",
        "chat-coord new code --type review --cwd ~/src/project",
        'chat-coord new pirate --system "Speak like a pirate." --model gpt',
        codes="0 done or in line, 1 refused (name taken; with --no-queue no free slot), 2 wrong usage.",
    )
)
@click.argument("name", required=False)
@click.option("--type", "session_type", type=click.Choice(SESSION_TYPES), default="development", show_default=True)
@click.option("--model", help="A model of the configuration (default: default_model).")
@click.option("--system", help="A system prompt of its own.")
@click.option(
    "--temperature", type=click.FloatRange(0, 2), help="How freely the model chooses (default: that of the model)."
)
@click.option("--cwd", type=click.Path(file_okay=False), help="Where the session works (default: here).")
@click.option("--no-queue", is_flag=True, help="At the cap, refuse instead of waiting in line.")
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
    temperature: float | None,
    cwd: str | None,
    no_queue: bool,
    as_json: bool,
) -> None:
    """Make a session with a worker process of its own. Starts the coordinator when none runs.

    When max_active_sessions have a worker, the idle one that was used least recently is hibernated for it; when none
    may be, it waits in line.
    """
    home = home_of(context)
    folder = Path(cwd or ".").absolute()
    if not folder.is_dir():
        raise click.UsageError(f"{folder} is no folder.")
    wanted = {"name": name, "session_type": session_type, "model": model, "system": system, "cwd": str(folder)}
    session = run(_new(home, wanted, temperature=temperature, queue=not no_queue))
    sentence = f"Session {session.name!r} (number {session.number}) is {place(session)}, model {session.model}."
    show_session(session, as_json=as_json, sentence=sentence)


async def _new(home: Home, wanted: dict[str, str | None], *, temperature: float | None, queue: bool) -> SessionView:
    async with connected(home, start=True) as connection:
        return await create(connection, home, temperature=temperature, queue=queue, **wanted)
