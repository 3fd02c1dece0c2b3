"""Bytes to messages and back: the only door to msgpack.

The size is checked first, then the schema while decoding: what the schema does not name is skipped without being
built, so a small frame cannot grow into a large heap (faults.md, 38).
"""

from typing import Generic, TypeVar

import msgpack
import msgspec

from protocol.errors import BadMessage, ChatCoordError, UnsupportedKind, UnsupportedVersion
from protocol.limits import BODY_BYTES
from protocol.messages import PROTOCOL_VERSION, Message, Part, PartAck

M = TypeVar("M", bound=Message | Part | PartAck)


NOT_UNICODE = "Check names, folders and texts for bytes that are not UTF-8."


class _Header(msgspec.Struct):
    """What every message of every version has, to tell an unknown kind from garbage."""

    v: int
    kind: str
    request: int | None = None


_header = msgspec.msgpack.Decoder(_Header)


def encode(message: Message | Part | PartAck) -> bytes:
    """Return the message's bytes.

    Raises:
        BadMessage: it is larger than any message may be, or has text that is no Unicode.
    """
    try:
        payload: bytes = msgpack.packb(msgspec.to_builtins(message, builtin_types=(bytes,)))
    except (UnicodeEncodeError, OverflowError) as error:
        kind = type(message).__name__
        raise BadMessage(
            f"A {kind} has characters or numbers that cannot be sent: {error}.", hint=NOT_UNICODE
        ) from error
    if len(payload) > BODY_BYTES:
        raise BadMessage(f"A {type(message).__name__} of {len(payload)} bytes is over the limit of {BODY_BYTES}.")
    return payload


class Decoder(Generic[M]):
    """Turns frames into the messages of one union."""

    def __init__(self, union: object) -> None:
        self._decoder: msgspec.msgpack.Decoder[M] = msgspec.msgpack.Decoder(union)

    def decode(self, payload: bytes) -> M:
        """Return the message in the frame.

        Raises:
            BadMessage: not a message, or a field outside its schema.
            UnsupportedKind: a kind that this side does not know.
            UnsupportedVersion: a newer version of the protocol.
        """
        if len(payload) > BODY_BYTES:
            raise BadMessage(f"A message of {len(payload)} bytes is over the limit of {BODY_BYTES}.")
        try:
            message = self._decoder.decode(payload)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise _reason(payload, error) from error
        if message.v > PROTOCOL_VERSION:
            raise _too_new(message.v)
        return message


def request_of(payload: bytes) -> int | None:
    """Return the request number of a frame that could not be decoded, if it has one, so that the refusal finds it."""
    try:
        return _header.decode(payload).request
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _reason(payload: bytes, error: Exception) -> ChatCoordError:
    try:
        header = _header.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return BadMessage("That frame is no message of this protocol.")
    if header.v > PROTOCOL_VERSION:
        return _too_new(header.v)
    if "Invalid value" in str(error) and "$.kind" in str(error):
        return UnsupportedKind(f"Messages of kind {header.kind[:32]!r} are not known here.")
    return BadMessage(f"A message of kind {header.kind[:32]!r} does not have the right form: {error}.")


def _too_new(version: int) -> UnsupportedVersion:
    return UnsupportedVersion(f"That peer speaks version {version} of the protocol, this one {PROTOCOL_VERSION}.")
