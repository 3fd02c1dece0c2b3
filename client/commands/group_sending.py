"""``send --group``: one prompt for each session of a group. All are committed before the first reply is waited for."""

import time
from collections.abc import Callable

from client.asking import all_sessions, connected
from client.commands.answering import document, tell_ask
from client.connection import Connection
from client.core.attaching import Prompt
from client.output import complain, dump, say
from client.prompting import converse
from protocol.errors import EXIT_NO, ChatCoordError, CoordinatorAbsent, CoordinatorSilent, SessionUnknown
from protocol.paths import Home
from protocol.views import SessionView

Sent = tuple[SessionView, Prompt]


async def send_to_group(
    home: Home,
    group: str,
    prompt_for: Callable[[SessionView], Prompt],
    idem: str,
    timeout_s: float | None,
    *,
    waits: bool,
    as_json: bool,
) -> int:
    """Send to each session and tell what became of it; return the exit code: 0 when that went well for all.

    One that refuses, or whose turn fails, keeps the others from nothing.
    """
    told: list[dict[str, object]] = []
    async with connected(home, start=True) as connection:
        sessions = await all_sessions(connection, waiting=False, everything=False, group=group)
        if not sessions:
            raise SessionUnknown(f"There is no open session in the group {group!r}.")
        sent: list[Sent] = []
        for session in sorted(sessions, key=lambda s: s.number or 0):
            try:
                prompt = prompt_for(session)
                ack = await connection.submit(session.id, prompt.text, idem, follow=False, images=prompt.images)
            except (CoordinatorAbsent, CoordinatorSilent):
                raise
            except ChatCoordError as error:
                told.append(_refused(session, error, as_json=as_json))
                continue
            sent.append((session, prompt))
            if not waits:
                told.append({"session": session.id, "name": session.name, "seq": ack.seq})
                if not as_json:
                    say(f"{session.name}: prompt {ack.seq} is accepted.")
        if waits:
            told += await _replies(connection, sent, idem, timeout_s, as_json=as_json)
    if as_json:
        dump(told)
    is_well = all("error" not in one and one.get("stop_reason", "completed") == "completed" for one in told)
    return 0 if is_well else EXIT_NO


async def _replies(
    connection: Connection, sent: list[Sent], idem: str, timeout_s: float | None, *, as_json: bool
) -> list[dict[str, object]]:
    """Return what each answered. The key makes it harmless to say the prompt again, in order to follow its reply."""
    told: list[dict[str, object]] = []
    deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
    for session, prompt in sent:
        left_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
        try:
            answered = await converse(
                connection, session.id, prompt, idem, lambda _: None, on_ask=tell_ask, timeout_s=left_s
            )
        except (CoordinatorAbsent, CoordinatorSilent):
            raise
        except ChatCoordError as error:
            told.append(_refused(session, error, as_json=as_json))
            continue
        told.append({"name": session.name} | document(answered))
        if not as_json:
            mark = "" if answered.row.stop_reason == "completed" else f" [{answered.row.stop_reason}]"
            reason = f" ({answered.row.error.message})" if answered.row.error else ""
            say(f"{session.name}{mark}: {answered.row.text}{reason}")
    return told


def _refused(session: SessionView, error: ChatCoordError, *, as_json: bool) -> dict[str, object]:
    if not as_json:
        say(f"{session.name}: not done", to_error=True)
        complain(error)
    code = getattr(error, "remote_code", error.code)
    return {"session": session.id, "name": session.name, "error": {"code": code, "message": error.message}}
