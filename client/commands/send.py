"""``chat-coord send``."""

import sys

import click

from client.asking import connected, get_session
from client.commands.common import home_of, run
from client.connection import Connection
from client.model_ready import ensure_model
from client.options import home_option, json_option, more_help, session_argument
from client.output import complain, dump, say
from client.prompting import Answer, converse
from protocol.embedded import is_pulled
from protocol.errors import EXIT_NO, PromptEmpty, PromptTooLarge, RemoteError
from protocol.ids import new_id
from protocol.limits import PROMPT_BYTES
from protocol.paths import Home


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
        run(_hand_over(home, name, prompt, key, as_json=as_json))
        return
    code = run(_converse(home, name, prompt, key, timeout, as_json=as_json))
    context.exit(code)


def _read_prompt() -> str:
    raw = sys.stdin.buffer.read(PROMPT_BYTES + 1)
    if len(raw) > PROMPT_BYTES:
        raise PromptTooLarge(f"The prompt is larger than {PROMPT_BYTES} bytes, which are allowed.")
    return raw.decode(errors="replace")


async def _hand_over(home: Home, name: str, prompt: str, idem: str, *, as_json: bool) -> None:
    async with connected(home, start=True) as connection:
        ack = await connection.submit(name, prompt, idem, follow=False)
    if as_json:
        dump({"session": ack.session, "seq": ack.seq})
    else:
        say(f"Prompt {ack.seq} is accepted.")


async def _converse(home: Home, name: str, prompt: str, idem: str, timeout_s: float | None, *, as_json: bool) -> int:
    async with connected(home, start=True) as connection:
        await _see_to_model(connection, home, name)

        def show(text: str) -> None:
            if not as_json:
                say(text, end="")

        answer = await converse(connection, name, prompt, idem, show, timeout_s=timeout_s)
    row = answer.row
    if as_json:
        dump(_document(answer))
    elif row.text:
        say("")
    if row.stop_reason == "completed":
        return 0
    if row.error is not None:
        complain(RemoteError(row.error.code, row.error.message, row.error.hint))
    else:
        hint = f"Send it again if you still want an answer; what had come is in `chat-coord history {name}`."
        complain(RemoteError("turn", f"The turn ended as {row.stop_reason}.", hint))
    return EXIT_NO


async def _see_to_model(connection: Connection, home: Home, name: str) -> None:
    if is_pulled(home):
        return
    session = await get_session(connection, name)
    if session is not None:
        ensure_model(home, session.model)


def _document(answer: Answer) -> dict[str, object]:
    row, final = answer.row, answer.final
    usage = final.usage if final is not None else None
    return {
        "session": answer.ack.session,
        "seq": answer.ack.seq,
        "turn_id": row.turn_id,
        "reply": row.text,
        "stop_reason": row.stop_reason,
        "usage": {
            "input_tokens": usage.input_tokens if usage else None,
            "output_tokens": usage.output_tokens if usage else None,
        },
        "queued_ms": final.queued_ms if final else None,
        "first_piece_ms": answer.first_piece_ms,
        "duration_ms": answer.duration_ms,
    }
