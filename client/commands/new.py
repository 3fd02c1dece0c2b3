"""``chat-coord new``."""

from pathlib import Path

import click

from client import worktrees
from client.asking import connected, create
from client.commands.common import home_of, run, show_session
from client.options import home_option, json_option, more_help
from client.output import place, say
from protocol.errors import ChatCoordError, CoordinatorAbsent, CoordinatorSilent, TemplateUnknown
from protocol.ids import new_id
from protocol.paths import Home
from protocol.settings import TemplateSettings, load_settings
from protocol.views import SESSION_TYPES, SessionView


@click.command(
    epilog=more_help(
        "chat-coord new research",
        "chat-coord new code --type review --cwd ~/src/project",
        'chat-coord new pirate --system "Speak like a pirate." --model gpt',
        "chat-coord new fix --worktree=fix-it --group night",
        codes="0 done or in line, 1 refused (name taken, no such template, git made no worktree; with "
        "--no-queue no free slot), 2 wrong usage.",
    )
)
@click.argument("name", required=False)
@click.option("--type", "session_type", type=click.Choice(SESSION_TYPES), help="What it is for (default: development).")
@click.option("--template", metavar="NAME", help="A table [templates.NAME] of the configuration; options come before.")
@click.option("--model", help="A model of the configuration (default: default_model).")
@click.option("--system", help="A system prompt of its own.")
@click.option(
    "--temperature", type=click.FloatRange(0, 2), help="How freely the model chooses (default: that of the model)."
)
@click.option("--cwd", type=click.Path(file_okay=False), help="Where the session works (default: here).")
@click.option("--group", metavar="G", help="A group, for `send --group` and `sessions --group`.")
@click.option(
    "--worktree",
    metavar="[BRANCH]",
    is_flag=False,
    flag_value="",
    help="Work in a git worktree of its own, below HOME/worktrees (default: on a new branch).",
)
@click.option("--no-queue", is_flag=True, help="At the cap, refuse instead of waiting in line.")
@home_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    name: str | None,
    template: str | None,
    temperature: float | None,
    worktree: str | None,
    no_queue: bool,
    as_json: bool,
    **wanted: str | None,
) -> None:
    """Make a session with a worker process of its own. Starts the coordinator when none runs.

    When max_active_sessions have a worker, the idle one that was used least recently is hibernated for it; when none
    may be, it waits in line. One without a name is called session-N until its first prompts say what it is about.
    """
    home = home_of(context)
    if template is not None:
        wanted |= _filled(wanted, _template(home, template))
    folder = Path(wanted["cwd"] or ".").expanduser().absolute()
    if not folder.is_dir():
        raise click.UsageError(f"{folder} is no folder.")
    key = new_id()
    tree = None if worktree is None else worktrees.add(home, folder, worktree, key, name)
    wanted |= {"name": name, "template": template, "key": key, "cwd": str(folder if tree is None else tree.path)}
    try:
        session = run(_new(home, wanted, temperature=temperature, queue=not no_queue))
    except ChatCoordError as error:
        _give_up(tree, error)
        raise
    sentence = f"Session {session.name!r} (number {session.number}) is {place(session)}, model {session.model}."
    if tree is not None:
        sentence += f"\nIts worktree is {tree.path}, on the branch {tree.branch}."
    show_session(session, as_json=as_json, sentence=sentence)


def _give_up(tree: worktrees.Worktree | None, error: ChatCoordError) -> None:
    """Take the worktree back, unless the session may be there: nobody said that it is not."""
    if tree is None:
        return
    if isinstance(error, CoordinatorAbsent | CoordinatorSilent):
        say(f"The worktree {tree.path} is left: perhaps the session was made.", to_error=True)
    else:
        worktrees.undo(tree)


def _template(home: Home, name: str) -> TemplateSettings:
    templates = load_settings(home.config).templates
    if name not in templates:
        known = ", ".join(sorted(templates)) or "none"
        raise TemplateUnknown(f"There is no template {name!r}.", hint=f"config.toml has: {known}.")
    return templates[name]


def _filled(wanted: dict[str, str | None], template: TemplateSettings) -> dict[str, str | None]:
    """Return what the template says where nothing was said."""
    said = {"session_type": template.type, "model": template.model, "system": template.system, "cwd": template.cwd}
    return {key: wanted[key] if wanted[key] is not None else value for key, value in said.items()}


async def _new(home: Home, wanted: dict[str, str | None], *, temperature: float | None, queue: bool) -> SessionView:
    async with connected(home, start=True) as connection:
        return await create(connection, home, temperature=temperature, queue=queue, **wanted)
