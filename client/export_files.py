"""Conversations as files, for the user alone, whole or not at all. Nothing is overwritten unasked."""

import contextlib
import os
import secrets
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from client.export_forms import as_text
from protocol.errors import ChatCoordError
from protocol.ids import is_id
from protocol.paths import short_name
from protocol.views import Exported

# Of a name within a file name, in bytes of UTF-8; file systems allow 255 for the whole.
NAME_BYTES = 120
FORMS = ("md", "json", "html")


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
        form: one of FORMS.
    """
    path = folder / file_name(session, form)
    text = as_text(session, form)
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


def write_one(path: Path, session: Exported, form: str, *, is_forced: bool = False) -> None:
    """Write a session into a file, readable by the user alone.

    Args:
        path: the file.
        session: what.
        form: one of FORMS.
        is_forced: replace what is there.

    Raises:
        ExportRefused: it is there already, or cannot be written; nothing was changed.
    """
    scratch = path.with_name(f".{path.name[:NAME_BYTES]}.{secrets.token_hex(4)}.part")
    try:
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(as_text(session, form).encode(errors="replace"))
                file.flush()
                os.fsync(file.fileno())
            if is_forced:
                scratch.replace(path)
            else:
                _give_name(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)
    except FileExistsError as error:
        hint = "Choose another name, or say --force to replace it."
        raise ExportRefused(f"{path} is there already.", hint=hint) from error
    except OSError as error:
        hint = "Give a file in a folder that exists and can be written."
        raise ExportRefused(f"{path} cannot be written: {error.strerror}.", hint=hint) from error


def _give_name(scratch: Path, path: Path) -> None:
    """Give a file its name unless that is taken, in one step where the file system can."""
    with contextlib.suppress(PermissionError):
        path.hardlink_to(scratch)
        return
    if os.path.lexists(path):
        raise FileExistsError(path)
    scratch.rename(path)  # a file system without hard links


def file_name(session: Exported, form: str) -> str:
    """Return a name that stays within its folder, whatever the session is called."""
    letters = (c if c.isalnum() or c in "-_" else "-" for c in unicodedata.normalize("NFC", session.name))
    name = "".join(letters).encode(errors="replace")[:NAME_BYTES].decode(errors="ignore").strip("-") or "session"
    identifier = session.id if is_id(session.id) else short_name(Path(session.id.encode(errors="replace").decode()))
    return f"{name}-{identifier}.{form}"
