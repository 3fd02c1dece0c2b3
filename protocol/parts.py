"""Big bodies in parts, so that prompts and heartbeats pass between them.

A message above WHOLE_BYTES travels as PARTs of PART_BYTES with a checksum each; the other end confirms every one, and
at most WINDOW of them are on the way. What is lost with a peer is not repaired here: the message itself is sent again
by whoever waits for its acknowledgement.
"""

import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from protocol.codec import Decoder, encode
from protocol.errors import BadMessage
from protocol.limits import BODY_BYTES, PART_BYTES, WHOLE_BYTES
from protocol.messages import Part, PartAck

WINDOW = 4
# Bodies that one peer may be sending at once; more is no working peer.
INCOMING = 2
# A transfer without progress for this long is given up.
STALL_S = 10.0

_decoder: Decoder[Part | PartAck] = Decoder(Part | PartAck)


def is_part(frame: bytes) -> bool:
    """Say whether a frame belongs to a transfer: those are msgpack arrays, all other messages are maps."""
    return bool(frame) and frame[0] & 0xF0 == 0x90  # noqa: PLR2004 - the mark of a short array


@dataclass(slots=True)
class _Outgoing:
    number: int
    body: memoryview
    touched_s: float
    sent: int = 0
    confirmed: int = 0

    @property
    def parts(self) -> int:
        return -(-len(self.body) // PART_BYTES)


@dataclass(slots=True)
class _Incoming:
    touched_s: float
    chunks: list[bytes] = field(default_factory=list)
    size: int = 0


class Courier:
    """Both directions of the transfers with one peer.

    Args:
        send: sends a frame.
        deliver: takes a whole message that came in parts.
    """

    def __init__(self, send: Callable[[bytes], None], deliver: Callable[[bytes], None]) -> None:
        self._send = send
        self._deliver = deliver
        self._outgoing: deque[_Outgoing] = deque()
        self._incoming: dict[int, _Incoming] = {}
        self._numbers = 0

    @property
    def is_sending(self) -> bool:
        """Say whether a body is on its way: sending the same again now would only be in its way."""
        return bool(self._outgoing)

    @property
    def is_idle(self) -> bool:
        """Say whether nothing is on its way in either direction."""
        return not self._outgoing and not self._incoming

    def post(self, frame: bytes, now_s: float) -> None:
        """Send a message, in parts if it is big."""
        if len(frame) <= WHOLE_BYTES:
            self._send(frame)
            return
        self.expire(now_s)
        self._numbers += 1
        self._outgoing.append(_Outgoing(self._numbers, memoryview(frame), now_s))
        self._pump(now_s)

    def receive(self, frame: bytes, now_s: float) -> None:
        """Take in a frame of a transfer.

        Raises:
            BadMessage: it is damaged or out of order; its transfer is given up.
        """
        message = _decoder.decode(frame)
        if isinstance(message, PartAck):
            self._confirmed(message, now_s)
        else:
            self._arrived(message, now_s)

    def expire(self, now_s: float) -> None:
        """Give up what has made no progress."""
        while self._outgoing and now_s - self._outgoing[0].touched_s > STALL_S:
            self._outgoing.popleft()
        for number in [n for n, t in self._incoming.items() if now_s - t.touched_s > STALL_S]:
            del self._incoming[number]

    def forget(self) -> None:
        """The peer is another one now: nothing of before will be confirmed."""
        self._outgoing.clear()
        self._incoming.clear()

    def _pump(self, now_s: float) -> None:
        """Send what the window allows; one body after the other."""
        if not self._outgoing:
            return
        transfer = self._outgoing[0]
        transfer.touched_s = now_s
        while transfer.sent < min(transfer.parts, transfer.confirmed + WINDOW):
            data = bytes(transfer.body[transfer.sent * PART_BYTES :][:PART_BYTES])
            last = transfer.sent == transfer.parts - 1
            part = Part(transfer=transfer.number, n=transfer.sent, last=last, crc=zlib.crc32(data), data=data)
            self._send(encode(part))
            transfer.sent += 1

    def _confirmed(self, ack: PartAck, now_s: float) -> None:
        if not self._outgoing or self._outgoing[0].number != ack.transfer:
            return
        transfer = self._outgoing[0]
        transfer.confirmed = max(transfer.confirmed, min(ack.n + 1, transfer.sent))
        if transfer.confirmed == transfer.parts:
            self._outgoing.popleft()
            if self._outgoing:
                self._outgoing[0].touched_s = now_s
        self._pump(now_s)

    def _arrived(self, part: Part, now_s: float) -> None:
        if part.n == 0:
            while len(self._incoming) >= INCOMING:
                del self._incoming[min(self._incoming, key=lambda n: self._incoming[n].touched_s)]
            self._incoming[part.transfer] = _Incoming(now_s)
        transfer = self._incoming.get(part.transfer)
        if transfer is None:
            return  # given up before
        transfer.size += len(part.data)
        is_whole = part.n == len(transfer.chunks) and zlib.crc32(part.data) == part.crc
        if not is_whole or transfer.size > BODY_BYTES:
            del self._incoming[part.transfer]
            raise BadMessage("A part of a message is damaged, out of order, or makes it too large.")
        transfer.chunks.append(part.data)
        transfer.touched_s = now_s
        self._send(encode(PartAck(transfer=part.transfer, n=part.n)))
        if part.last:
            del self._incoming[part.transfer]
            self._deliver(b"".join(transfer.chunks))
