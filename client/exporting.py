"""A whole session as an export has it: from the coordinator, page by page, or from the store when none runs."""

from collections.abc import AsyncIterator, Iterator

import msgspec

from client.asking import all_sessions
from client.connection import Connection
from client.offline import child_lines
from protocol import messages as m
from protocol.errors import CoordinatorSilent, NameAmbiguous, RemoteError, SessionUnknown
from protocol.paths import Home
from protocol.views import Exported, HistoryRow

READ_S = 3_600.0


async def export_one(connection: Connection, name: str) -> Exported:
    """Return a session with its conversation, as far as the coordinator can read it."""
    order = m.Outline(request=connection.number(), session=name)
    outlined = await connection.ask(order, m.Outlined)
    rows, missing = await _messages(connection, outlined.session.id)
    return msgspec.structs.replace(outlined.session, messages=rows, missing=missing)


async def export_all(connection: Connection) -> AsyncIterator[Exported]:
    """Yield every session, closed ones too."""
    for session in await all_sessions(connection, waiting=False, everything=True):
        yield await export_one(connection, session.id)


async def _messages(connection: Connection, session: str) -> tuple[list[HistoryRow], str | None]:
    rows: list[HistoryRow] = []
    missing = None
    try:
        async for page in connection.history(session):
            rows += page.rows
    except (RemoteError, CoordinatorSilent) as error:
        missing = f"what came after message {rows[-1].seq if rows else 0} ({error.message.rstrip('.')})"
    return sorted(rows, key=lambda row: (row.reply_to or row.seq, row.seq)), missing


def stored(home: Home) -> Iterator[Exported | list[str]]:
    """Yield every session as the store has it, and at the end what was found to be wrong with that."""
    for line in child_lines(home, "export", within_s=READ_S):
        if line.startswith(b"["):
            yield msgspec.json.decode(line, type=list[str])
        else:
            yield msgspec.json.decode(line, type=Exported)


def stored_one(home: Home, name: str) -> tuple[Exported, list[str]]:
    """Return the session that a text means, by name or by the beginning of its id, living ones before closed ones.

    Raises:
        SessionUnknown: none.
        NameAmbiguous: several.
    """
    ranks: dict[int, list[Exported]] = {}
    findings: list[str] = []
    for result in stored(home):
        if isinstance(result, list):
            findings = result
        elif result.name == name:
            ranks.setdefault(1 if result.closed else 0, []).append(result)
        elif result.id.startswith(name.casefold()):
            ranks.setdefault(2, []).append(result)
    if not ranks:
        raise SessionUnknown(f"There is no session {name[:64]!r}.")
    best = ranks[min(ranks)]
    if len(best) > 1:
        names = ", ".join(f"{s.id} ({s.name})" for s in best[:10])
        raise NameAmbiguous(f"{name!r} can mean {len(best)} sessions: {names}.")
    return best[0], findings
