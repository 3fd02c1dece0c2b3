"""A worker's outbox: the file in which it notes what must outlive it, read by the coordinator when it is dead.

STARTED before the first request of a leg of a turn, an intent before each tool and a mark behind it, and what ends the
leg: REPLY, or ASKED with its state. Each lies behind its length and CRC. A record counts when it is whole; what follows
a torn one was never promised (faults.md, 51).
"""

import re
import struct
import zlib
from pathlib import Path

from protocol.codec import Decoder, encode
from protocol.errors import ChatCoordError
from protocol.ids import is_id
from protocol.limits import BODY_BYTES
from protocol.messages import Asked, Reply, Started, ToolDone, ToolIntent

Record = Started | Reply | Asked | ToolIntent | ToolDone

_HEAD = struct.Struct("<II")  # length of the payload, its CRC-32
_NAME = re.compile(r"(?P<session>[0-9a-f]+)-(?P<epoch>[0-9]{1,18})\.outbox")
_decoder: Decoder[Record] = Decoder(Record)


def outbox_path(folder: Path, session: str, epoch: int) -> Path:
    """Return where the worker of that epoch keeps its outbox."""
    return folder / f"{session}-{epoch}.outbox"


def list_outboxes(folder: Path) -> list[tuple[str, int]]:
    """Return session and epoch of every outbox there, the oldest epoch of a session first; other files are left out."""
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    matches = (_NAME.fullmatch(name) for name in names)
    return sorted((match["session"], int(match["epoch"])) for match in matches if match and is_id(match["session"]))


def record(message: Record) -> bytes:
    """Return the bytes that note a message.

    Raises:
        BadMessage: it is larger than any message may be.
    """
    payload = encode(message)
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def read_outbox(folder: Path, session: str, epoch: int) -> tuple[Record, ...]:
    """Return the whole records of an outbox, in the order in which they were written; a torn tail is left out.

    Records of another session or epoch do not belong there and end the reading, as damage does.

    Raises:
        OSError: there is a file that cannot be read.
    """
    try:
        data = outbox_path(folder, session, epoch).read_bytes()
    except FileNotFoundError:
        return ()
    found: list[Record] = []
    at = 0
    while at + _HEAD.size <= len(data):
        size, crc = _HEAD.unpack_from(data, at)
        payload = data[at + _HEAD.size :][:size] if size <= BODY_BYTES else b""
        if len(payload) != size or zlib.crc32(payload) != crc:
            break
        try:
            message = _decoder.decode(payload)
        except ChatCoordError:
            break
        if (message.session, message.epoch) != (session, epoch):
            break
        found.append(message)
        at += _HEAD.size + size
    return tuple(found)
