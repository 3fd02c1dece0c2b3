"""Conversations as files, one for each session: Markdown for people, JSON for programs. Nothing is overwritten."""

import json
import os
import time
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import msgspec

from protocol.errors import ChatCoordError
from protocol.ids import is_id
from protocol.paths import short_name
from protocol.terminal_safe import clean, clean_line
from protocol.views import Exported, HistoryRow

# Of a name within a file name, in bytes of UTF-8; file systems allow 255 for the whole.
NAME_BYTES = 120


class ExportRefused(ChatCoordError):
    """The folder for the files cannot be used."""

    code = "export.refused"


@dataclass(frozen=True)
class Written:
    """What became of a session. ``file`` is None when it was not written, ``missing`` says why or what is not in it."""

    id: str
    name: str
    file: str | None
    messages: int
    missing: str | None


def make_folder(folder: Path) -> None:
    """Make the folder if it is not there.

    Raises:
        ExportRefused: it cannot be made or written.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        hint = "Give a folder that can be made, or one that is there."
        raise ExportRefused(f"The folder {folder} cannot be made: {error.strerror}.", hint=hint) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ExportRefused(f"The folder {folder} cannot be written.", hint="Choose another one.")


def write(folder: Path, session: Exported, form: str) -> Written:
    """Write a session into a file of its own, readable by the user alone.

    Args:
        folder: where.
        session: what.
        form: ``md`` or ``json``.
    """
    path = folder / file_name(session, form)
    text = as_markdown(session) if form == "md" else as_json(session)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return Written(session.id, session.name, None, 0, f"{path} is there already, and nothing is overwritten")
    except OSError as error:
        return Written(session.id, session.name, None, 0, f"{path} cannot be written: {error.strerror}")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode(errors="replace"))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        return Written(session.id, session.name, None, 0, f"{path} cannot be written: {error.strerror}")
    return Written(session.id, session.name, str(path.absolute()), len(session.messages), session.missing)


def file_name(session: Exported, form: str) -> str:
    """Return a name that stays within its folder, whatever the session is called."""
    letters = (c if c.isalnum() or c in "-_" else "-" for c in unicodedata.normalize("NFC", session.name))
    name = "".join(letters).encode(errors="replace")[:NAME_BYTES].decode(errors="ignore").strip("-") or "session"
    identifier = session.id if is_id(session.id) else short_name(Path(session.id.encode(errors="replace").decode()))
    return f"{name}-{identifier}.{form}"


def as_json(session: Exported) -> str:
    """Return everything that is known, escaped to ASCII."""
    return json.dumps(msgspec.to_builtins(session), indent=1) + "\n"


def as_markdown(session: Exported) -> str:
    """Return the conversation for people, cleaned of what could steer a terminal."""
    lines = [f"# {clean_line(session.name)}", ""]
    facts = f"Session {session.id}, type {session.type}, model {session.model}, made {_date(session.created_at)}."
    lines += [clean_line(facts), ""]
    if session.missing:
        lines += [f"**Not in this file, because it could not be read: {clean_line(session.missing)}.**", ""]
    for row in session.messages:
        lines += [f"## {_heading(row)}", "", clean(row.text), ""]
        if row.error is not None:
            lines += [f"({clean_line(row.error.message)})", ""]
    return "\n".join(lines)


def _heading(row: HistoryRow) -> str:
    who = "You" if row.role == "user" else "Model"
    mark = "" if row.stop_reason in {None, "completed"} else f", {clean_line(row.stop_reason or '')}"
    return f"{who}, {_date(row.at)} (message {row.seq}{mark})"


def _date(at: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    except (ValueError, OverflowError, OSError):
        return "at an unknown time"
