"""What ``send`` and ``retry`` share: hand a prompt over, show the reply, say how the turn ended."""

import sys
from pathlib import Path

from client.asking import connected, get_session
from client.connection import Connection
from client.core.attaching import Prompt
from client.model_ready import ensure_model
from client.output import complain, dump, say
from client.prompting import Answer, converse
from protocol.embedded import is_pulled
from protocol.errors import EXIT_NO, PromptTooLarge, RemoteError
from protocol.limits import PROMPT_BYTES
from protocol.messages import ToolActivity
from protocol.paths import Home
from protocol.views import AskView


async def hand_over(home: Home, name: str, prompt: Prompt | None, idem: str, *, as_json: bool) -> None:
    """Return as soon as the prompt is committed; None runs the last turn again."""
    async with connected(home, start=True) as connection:
        text, images = (None, ()) if prompt is None else (prompt.text, prompt.images)
        ack = await connection.submit_or_retry(name, text, idem, follow=False, images=images)
    if as_json:
        dump({"session": ack.session, "seq": ack.seq})
    else:
        say(f"Prompt {ack.seq} is accepted.")


async def answer(
    home: Home, name: str, prompt: Prompt | None, idem: str, timeout_s: float | None, *, as_json: bool
) -> int:
    """Stream the reply to a prompt, or to the last one again when it is None; return the exit code."""
    async with connected(home, start=True) as connection:
        await _see_to_model(connection, home, name)

        def show(text: str) -> None:
            if not as_json:
                say(text, end="")

        answered = await converse(
            connection, name, prompt, idem, show, on_ask=tell_ask, on_note=tell_note, timeout_s=timeout_s
        )
    row = answered.row
    if as_json:
        dump(document(answered))
    elif row.text:
        say("")
    if answered.final is not None and answered.final.left_out and not as_json:
        left_out = answered.final.left_out
        say(f"[the model no longer sees the first {left_out} messages; the history keeps them]", to_error=True)
    if row.stop_reason == "completed":
        return 0
    if row.error is not None:
        complain(RemoteError(row.error.code, row.error.message, row.error.hint))
    else:
        hint = f"Send it again if you still want an answer; what had come is in `chat-coord history {name}`."
        complain(RemoteError("turn", f"The turn ended as {row.stop_reason}.", hint))
    return EXIT_NO


def tell_ask(ask: AskView) -> None:
    """Say on standard error that a turn waits for a person, and how to answer."""
    if ask.kind == "question":
        say(f"\n{ask.name} asks you:\n{ask.text}", to_error=True)
        say(f'It waits for your answer: chat-coord answer {ask.id} "…"', to_error=True)
        return
    say(f"\n{ask.name} wants to use {ask.tool}:\n{ask.text}", to_error=True)
    say(f"It waits for your yes: chat-coord approve {ask.id}  (or: chat-coord deny {ask.id} [WHY])", to_error=True)


def tell_note(note: ToolActivity) -> None:
    """Say on standard error what a turn goes without."""
    say(f"[{note.tool}: {note.text}]", to_error=True)


def read_prompt() -> str:
    """Return what comes through standard input, as it is.

    Raises:
        PromptTooLarge: it is more than a prompt may be.
    """
    raw = sys.stdin.buffer.read(PROMPT_BYTES + 1)
    if len(raw) > PROMPT_BYTES:
        raise PromptTooLarge(f"The prompt is larger than {PROMPT_BYTES} bytes, which are allowed.")
    return raw.decode(errors="replace")


async def cwd_of(home: Home, name: str) -> Path:
    """Return the folder that a session works in."""
    async with connected(home, start=True) as connection:
        session = await get_session(connection, name)
    assert session is not None  # noqa: S101 - an unknown name is refused
    return Path(session.cwd)


async def _see_to_model(connection: Connection, home: Home, name: str) -> None:
    if is_pulled(home):
        return
    session = await get_session(connection, name)
    if session is not None:
        ensure_model(home, session.model)


def document(answer: Answer) -> dict[str, object]:
    """Return a reply for programs."""
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
        "left_out": final.left_out if final else 0,
    }
