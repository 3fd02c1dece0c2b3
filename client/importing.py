"""A conversation from a file becomes a session: handed over in parts, made in one step, and never twice."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from client.asking import session_env
from client.connection import Connection
from client.core.arranging import arranged
from client.core.foreign.turns import Conversation, slug
from client.foreign_files import ImportRefused, contents
from protocol import messages as m
from protocol.ids import is_id, new_id
from protocol.limits import IMPORT_ROWS, PAGE_BYTES
from protocol.paths import Home
from protocol.settings import load_settings
from protocol.views import Exported, HistoryRow, SessionView

PAGE_ROWS = 500
# For the store to make a session of a hundred thousand messages, and to index them.
MAKE_S = 120.0
# What our own exports are known by when they come back.
OURS = "chat-coord:"


@dataclass(frozen=True)
class Brought:
    """What became of a conversation. ``notes`` say in words what could not be taken over as it was."""

    session: SessionView
    is_new: bool
    origin: str
    notes: list[str]


def read_export(path: Path) -> Exported:
    """Return the session in a file that `export --format json` made.

    Raises:
        ImportRefused: it is none.
    """
    hint = "Give a file that `chat-coord export NAME --format json` made; other programs' files need --from."
    try:
        return msgspec.json.decode(contents(path), type=Exported)
    except RecursionError as error:
        raise ImportRefused(f"{path} is nested too deeply.", hint=hint) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ImportRefused(f"{path} is no export of a session: {error}.", hint=hint) from error


def of_foreign(program: str, found: Conversation) -> Exported:
    """Return another program's conversation as one of ours."""
    cwd = Path(found.cwd) if found.cwd and "\0" not in found.cwd else None
    return Exported(
        id=new_id(),
        name=slug(found.title) or program,
        type="development",
        model="",
        cwd=str(cwd if cwd is not None and cwd.is_absolute() and cwd.is_dir() else Path.cwd()),
        closed=False,
        created_at=found.created_at,
        last_active_at=found.last_active_at,
        messages=found.rows,
        origin=f"{program}:{found.key}"[:200],
    )


async def origin_known(connection: Connection, origin: str) -> SessionView | None:
    """Return the session that was imported from there, if any."""
    order = m.FindOrigin(request=connection.number(), origin=origin, id="")
    return (await connection.ask(order, m.OriginAnswer)).session


async def bring_in(connection: Connection, home: Home, given: Exported) -> Brought:
    """Make a session, unless it was imported already; its id is the one in the file when no session here has that.

    Raises:
        ImportRefused: it has too many messages.
        RemoteError: the coordinator said no; nothing was made.
    """
    origin = given.origin or f"{OURS}{given.id[:64]}"
    wanted = given.id if is_id(given.id) else new_id()
    order = m.FindOrigin(request=connection.number(), origin=origin, id=wanted)
    known = await connection.ask(order, m.OriginAnswer)
    if known.session is not None:
        return Brought(known.session, is_new=False, origin=origin, notes=[])
    rows, notes = arranged(given.messages)
    if len(rows) > IMPORT_ROWS:
        raise ImportRefused(f"{given.name!r} has {len(rows)} messages; {IMPORT_ROWS} are allowed.")
    batch = new_id()
    for page in _pages(rows):
        await connection.ask(m.ImportRows(request=connection.number(), batch=batch, rows=page), m.Done)
    make = m.ImportSession(
        request=connection.number(),
        id=wanted if known.id_is_free else new_id(),
        batch=batch,
        name=given.name,
        type=given.type,
        model=given.model or None,
        system=given.system,
        cwd=given.cwd,
        env=session_env(load_settings(home.config)),
        created_at=given.created_at,
        last_active_at=given.last_active_at,
        closed=given.closed,
        archived=given.archived,
        parent=given.parent,
        origin=origin,
        messages=len(rows),
        group=given.group,
        template=given.template,
        temperature=given.temperature,
    )
    made = (await connection.ask(make, m.SessionAnswer, within_s=MAKE_S)).session
    assert made is not None  # noqa: S101 - an import is always answered with its session
    if given.model and made.model != given.model:
        notes.append(f"the model {given.model} is not configured here, so it has {made.model}")
    if given.template and made.template is None:
        notes.append(f"the template {given.template} is not configured here")
    if given.missing:
        notes.append(f"the export lacked {given.missing}")
    return Brought(made, is_new=made.id == make.id, origin=origin, notes=notes)


def _pages(rows: list[HistoryRow]) -> list[list[HistoryRow]]:
    pages: list[list[HistoryRow]] = []
    size = PAGE_BYTES
    for row in rows:
        size += len(row.text.encode(errors="replace")) + 100
        if size > PAGE_BYTES or len(pages[-1]) == PAGE_ROWS:
            pages.append([])
            size = 0
        pages[-1].append(row)
    return pages
