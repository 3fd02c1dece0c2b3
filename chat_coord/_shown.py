"""From the product's documents to what the library shows, and from its errors to the library's."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from chat_coord.errors import Absent, Error, TimedOut
from chat_coord.types import Answered, Ask, Change, Event, Message, Reply, SessionInfo, Text, ToolUse, Usage

if TYPE_CHECKING:
    from client.prompting import Answer
    from protocol import errors as house_errors
    from protocol import messages as m
    from protocol import views
else:
    from chat_coord._house.client.prompting import Answer
    from chat_coord._house.protocol import errors as house_errors
    from chat_coord._house.protocol import messages as m
    from chat_coord._house.protocol import views


@contextlib.contextmanager
def own_errors() -> Iterator[None]:
    """Raise the product's errors as the library's."""
    try:
        yield
    except house_errors.ChatCoordError as error:
        code = error.remote_code if isinstance(error, house_errors.RemoteError) else error.code
        kind: type[Error] = Error
        if isinstance(error, house_errors.CoordinatorAbsent | house_errors.CoordinatorSilent):
            kind = Absent
        elif isinstance(error, house_errors.TimedOut):
            kind = TimedOut
        raise kind(code, error.message, error.hint) from error


def ask(view: views.AskView) -> Ask:
    """Return an ask."""
    return Ask(view.id, view.kind, view.session, view.name, view.tool, tuple(view.argv), view.text, view.since)


def session(view: views.SessionView) -> SessionInfo:
    """Return a session."""
    same = {name: getattr(view, name) for name in SessionInfo.__dataclass_fields__ if name != "ask"}
    return SessionInfo(**same, ask=None if view.ask is None else ask(view.ask))


def message(row: views.HistoryRow) -> Message:
    """Return a message of a conversation."""
    error = None if row.error is None else row.error.message
    return Message(row.seq, row.role, row.text, row.reply_to, row.stop_reason, error, row.at)


def change(told: m.Changed) -> Change:
    """Return a change of state."""
    return Change(told.seq, told.at, told.session, told.name, told.before, told.after, told.cause)


def event(shown: "str | views.AskView | m.AskResolved | m.ToolActivity | Answer") -> Event:
    """Return what a turn shows."""
    if isinstance(shown, str):
        return Text(shown)
    if isinstance(shown, views.AskView):
        return ask(shown)
    if isinstance(shown, m.AskResolved):
        return Answered(shown.ask, shown.outcome, shown.by)
    if isinstance(shown, m.ToolActivity):
        return ToolUse(shown.call, shown.tool, shown.state, shown.text)
    row, usage = shown.row, None if shown.final is None else shown.final.usage
    return Reply(
        session=shown.ack.session,
        seq=shown.ack.seq,
        text=row.text,
        stop_reason=row.stop_reason or "completed",
        error_code=None if row.error is None else row.error.code,
        error=None if row.error is None else row.error.message,
        usage=None if usage is None else Usage(usage.input_tokens, usage.output_tokens),
        first_piece_ms=shown.first_piece_ms,
        duration_ms=shown.duration_ms,
    )
