"""What a worker leaves for the next one when its session hibernates: a versioned, checksummed msgpack document.

It is a shortcut and never the truth: everything in it is in the store's history too, so one that is damaged, newer than
this program or somebody else's is refused here and costs nothing but time.
"""

import struct
import zlib

from protocol.codec import Decoder, encode
from protocol.errors import ChatCoordError
from protocol.messages import Message
from workers.core.conversation import Conversation

VERSION = 1
_MAGIC = b"ccsn"
_HEAD = struct.Struct("<4sHI")  # magic, version, CRC-32 of what follows


class Snapshot(Message, frozen=True):
    """The exchanges that a model is shown, oldest first, through the prompt ``through_seq``.

    ``seqs`` are those of their prompts; ``is_cut``: there were more.
    """

    session: str
    through_seq: int
    exchanges: list[tuple[str, str]]
    seqs: list[int]
    is_cut: bool


class SnapshotUnfit(ChatCoordError):
    """A snapshot cannot be used."""

    code = "snapshot.unfit"


_decoder: Decoder[Snapshot] = Decoder(Snapshot)


def snapshot_of(session: str, conversation: Conversation) -> Snapshot:
    """Return what is to be kept of a conversation."""
    exchanges = conversation.exchanges
    return Snapshot(
        session=session,
        through_seq=conversation.through_seq,
        exchanges=[(exchange.prompt, exchange.answer) for exchange in exchanges],
        seqs=[exchange.seq for exchange in exchanges],
        is_cut=conversation.is_cut,
    )


def pack(snapshot: Snapshot) -> bytes:
    """Return the document.

    Raises:
        BadMessage: it is larger than any message may be.
    """
    payload = encode(snapshot)
    return _HEAD.pack(_MAGIC, VERSION, zlib.crc32(payload)) + payload


def unpack(data: bytes, session: str) -> Snapshot:
    """Return what the document says.

    Raises:
        SnapshotUnfit: says why it cannot be used.
    """
    if len(data) < _HEAD.size:
        raise SnapshotUnfit("it is cut short")
    magic, version, crc = _HEAD.unpack_from(data)
    payload = data[_HEAD.size :]
    if magic != _MAGIC:
        raise SnapshotUnfit("it is no snapshot")
    if version > VERSION:
        raise SnapshotUnfit(f"it has version {version}, this program knows up to {VERSION}")
    if zlib.crc32(payload) != crc:
        raise SnapshotUnfit("its checksum is wrong")
    try:
        snapshot = _decoder.decode(payload)
    except ChatCoordError as error:
        raise SnapshotUnfit(error.message) from error
    if snapshot.session != session:
        raise SnapshotUnfit("it belongs to another session")
    if len(snapshot.seqs) != len(snapshot.exchanges):
        raise SnapshotUnfit("its exchanges are not counted")
    return snapshot
