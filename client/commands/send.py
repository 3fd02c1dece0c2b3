"""``chat-coord send``."""

from pathlib import Path

import click

from client.attachments import attach, prompt_of, read_files
from client.commands.answering import answer, cwd_of, hand_over, read_prompt
from client.commands.common import home_of, run
from client.commands.group_sending import send_to_group
from client.core.attaching import Prompt, mentions
from client.options import home_option, json_option, maybe_session_argument, more_help
from protocol.errors import PromptEmpty
from protocol.ids import new_id


@click.command(
    epilog=more_help(
        'chat-coord send research "What is the capital of France?"',
        "git diff | chat-coord send code - --json | jq -r .reply",
        'chat-coord send research "long job" --no-wait',
        'chat-coord send code "What is wrong in @src/main.py?" --file ~/notes.txt',
        'chat-coord send --group night "Go on."',
        codes="0 the turn completed, 1 refused or the turn did not complete, 3 no coordinator, 4 timed "
        "out (the turn goes on).",
    )
)
@maybe_session_argument
@click.argument("text", required=False)
@click.option("--group", metavar="G", help="To every open session of a group instead of NAME, one prompt each.")
@click.option(
    "--file",
    "paths",
    multiple=True,
    metavar="PATH",
    help="Put a file of text, or an image, into the prompt; repeatable.",
)
@click.option("--no-wait", is_flag=True, help="Return as soon as the prompt is committed.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S", help="Seconds to wait for the reply.")
@click.option("--idem", metavar="KEY", help="A key of your own: sending the same again does nothing twice.")
@home_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    *,
    name: str | None,
    text: str | None,
    group: str | None,
    paths: tuple[str, ...],
    no_wait: bool,
    timeout: float | None,
    idem: str | None,
    as_json: bool,
) -> None:
    r"""Send a prompt to session NAME and stream the reply; TEXT may be - for standard input.

    A word @PATH of TEXT puts that file of the session's folder into the prompt, if there is one; \@PATH does not.
    Images (PNG, JPEG, GIF, WebP) are shown to models that take them.
    A hibernated session wakes up. Starts the coordinator when none runs.
    """
    home = home_of(context)
    words = _words(context, name, text, group, has_files=bool(paths))
    files = read_files(paths)
    key = new_id() if idem is None else idem

    def prompt_for(cwd: Path) -> Prompt:
        prompt = attach(read_prompt(), files) if words == "-" else prompt_of(words, cwd, files)
        if not prompt.text.strip():
            raise PromptEmpty("The prompt is empty.")
        return prompt

    if group is not None:
        given = prompt_for(Path()) if words == "-" else None
        sending = send_to_group(
            home, group, lambda s: given or prompt_for(Path(s.cwd)), key, timeout, waits=not no_wait, as_json=as_json
        )
        context.exit(run(sending))
    assert name is not None  # noqa: S101 - refused above
    is_about_files = words != "-" and bool(mentions(words))
    prompt = prompt_for(run(cwd_of(home, name)) if is_about_files else Path())
    if no_wait:
        run(hand_over(home, name, prompt, key, as_json=as_json))
        return
    context.exit(run(answer(home, name, prompt, key, timeout, as_json=as_json)))


def _words(context: click.Context, name: str | None, text: str | None, group: str | None, *, has_files: bool) -> str:
    """Return the text of the prompt: the only argument when the group says where it goes."""
    if group is not None and text is not None:
        raise click.UsageError("Give NAME or --group, not both.", context)
    words = name if group is not None else text
    if name is None and group is None:
        raise click.UsageError("Missing argument 'NAME'.", context)
    if words is None and not has_files:
        raise click.UsageError("Missing argument 'TEXT'.", context)
    return words or ""
