"""What slash commands do that need more than one message; the same for every terminal. Each returns what to say."""

from pathlib import Path

from client.asking import get_session, search
from client.connection import Connection
from client.export_files import FORMS, file_name, write_one
from client.exporting import export_one
from client.output import found_text
from protocol import messages as m
from protocol.errors import ValueIllegal
from protocol.ids import new_id
from protocol.limits import MOST_TEMPERATURE
from protocol.terminal_safe import clean_line
from protocol.views import SESSION_TYPES, Exported, SessionView

SEARCH_ROWS = 20
# A seq has 53 bits.
SEQ_DIGITS = 16


async def fork(connection: Connection, session: str, rest: str) -> SessionView:
    """Make a fork of a session, through the message whose number was typed.

    Raises:
        ValueIllegal: that is no number.
        RemoteError: the answer is no.
    """
    if rest and not (rest.isascii() and rest.isdigit() and len(rest) < SEQ_DIGITS):
        hint = "Say a message by its number, /fork 6, or nothing for the whole conversation."
        raise ValueIllegal(f"{rest[:32]!r} is no number of a message.", hint=hint)
    at_seq = int(rest) if rest else None
    order = m.Fork(request=connection.number(), session=session, id=new_id(), at_seq=at_seq)
    answer = await connection.ask(order, m.SessionAnswer)
    assert answer.session is not None  # noqa: S101 - a fork is always answered with its session
    return answer.session


async def set_type(connection: Connection, session: str, rest: str) -> SessionView:
    """Change a session's type, or only look when none was typed.

    Raises:
        ValueIllegal: there is no such type.
        RemoteError: the answer is no.
    """
    if rest and rest not in SESSION_TYPES:
        raise ValueIllegal(f"There is no type {rest[:32]!r}.", hint=f"Types are: {', '.join(SESSION_TYPES)}.")
    if not rest:
        found = await get_session(connection, session)
    else:
        order = m.Mark(request=connection.number(), session=session, mark="type", value=rest)
        found = (await connection.ask(order, m.SessionAnswer)).session
    assert found is not None  # noqa: S101 - both are answered with the session
    return found


async def set_temperature(connection: Connection, session: str, rest: str) -> SessionView:
    """Change how freely a session's model chooses, or only look when nothing was typed.

    Raises:
        ValueIllegal: that is no temperature.
        RemoteError: the answer is no.
    """
    if not rest:
        found = await get_session(connection, session)
    else:
        try:
            value = None if rest == "default" else float(rest)
        except ValueError:
            hint = f"A number from 0 to {MOST_TEMPERATURE:g}, or: default."
            raise ValueIllegal(f"{rest[:32]!r} is no temperature.", hint=hint) from None
        order = m.Mark(request=connection.number(), session=session, mark="temperature", value=value)
        found = (await connection.ask(order, m.SessionAnswer)).session
    assert found is not None  # noqa: S101 - both are answered with the session
    return found


def what_to_edit(rest: str) -> tuple[int | None, str]:
    """Return which prompt was meant, None for the last one, and the text for its place.

    Raises:
        ValueIllegal: there is no text.
    """
    first, _, text = rest.partition(" ")
    number = first[1:]
    is_numbered = first.startswith("#") and number.isascii() and number.isdigit() and len(number) < SEQ_DIGITS
    seq, text = (int(number), text.strip()) if is_numbered else (None, rest)
    if not text:
        raise ValueIllegal("There is nothing to ask instead.", hint="/edit TEXT, or /edit #3 TEXT.")
    return seq, text


async def look_for(connection: Connection, rest: str) -> str:
    """Look for words in every conversation."""
    if not rest:
        return "Say what to look for: /search TEXT."
    found = await search(connection, rest, SEARCH_ROWS)
    return found_text(found) if found.rows else "Nothing was found."


async def export(connection: Connection, session: str, rest: str) -> str:
    """Write a session into the file that was typed, else into one with its name in the working directory.

    Raises:
        ExportRefused: it is there already, or cannot be written.
    """
    exported = await export_one(connection, session)
    return _write(Path(rest or file_name(exported, FORMS[0])), exported)


def _write(typed: Path, exported: Exported) -> str:
    path = typed.expanduser().absolute()
    form = path.suffix.removeprefix(".")
    write_one(path, exported, form if form in FORMS else FORMS[0])
    return clean_line(f"{len(exported.messages)} messages are in {path}.")
