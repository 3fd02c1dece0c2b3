"""A peer's end of the wire: one DEALER socket in an asyncio loop, for clients and workers; ``router`` is the other end.

The socket is read by its file descriptor and drained without awaiting. That descriptor is edge-triggered: after each
send and each drain the events are looked at again, or the mailbox stalls.
"""

import asyncio
import contextlib
from collections.abc import Callable

import zmq

from protocol.errors import ChatCoordError
from protocol.limits import FRAME_BYTES
from protocol.parts import Courier, is_part

# Frames taken in one go before other work of the loop gets its turn.
DRAIN_FRAMES = 64
LINGER_MS = 500
# Frames kept for a coordinator that is away; resends make up for what does not fit.
QUEUE_FRAMES = 10_000


class Mailbox:
    """Sends messages and calls back for each that comes in.

    Args:
        endpoint: the coordinator's address.
        on_frame: called in the loop with each message.
        binds: be the other end, of a single peer.
    """

    def __init__(self, endpoint: str, on_frame: Callable[[bytes], None], *, binds: bool = False) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_frame = on_frame
        self._courier = Courier(self._send_frame, on_frame)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.set(zmq.MAXMSGSIZE, FRAME_BYTES)
        self._socket.set(zmq.SNDHWM, QUEUE_FRAMES)
        self._socket.set(zmq.RECONNECT_IVL, 20)
        self._socket.set(zmq.RECONNECT_IVL_MAX, 100)
        if binds:
            self._socket.bind(endpoint)
        else:
            self._socket.connect(endpoint)
        self._descriptor = int(self._socket.get(zmq.FD))
        self._again: asyncio.Handle | None = None
        self._closed = False
        self._loop.add_reader(self._descriptor, self._drain)

    def send(self, frame: bytes) -> None:
        """Queue a message, in parts if it is big. What does not fit the queue is lost, and sent again by its flow."""
        if not self._closed:
            self._courier.post(frame, self._loop.time())

    @property
    def is_sending(self) -> bool:
        """Say whether a big message is still on its way."""
        return self._courier.is_sending

    def forget(self) -> None:
        """Another coordinator is at the other end: parts of before will never be confirmed."""
        self._courier.forget()

    def _send_frame(self, frame: bytes) -> None:
        with contextlib.suppress(zmq.Again):
            self._socket.send(frame, zmq.NOBLOCK)
        self._look_again()

    def close(self, *, linger_ms: int = LINGER_MS) -> None:
        """Let go of the socket; frames that are queued get so long to leave."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._descriptor)
        if self._again is not None:
            self._again.cancel()
        self._socket.close(linger=linger_ms)
        self._context.term()

    def _look_again(self) -> None:
        if self._again is None and int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN:
            self._again = self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        self._again = None
        for _ in range(DRAIN_FRAMES):
            if self._closed:
                return
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            if len(parts) != 1:
                continue
            if is_part(parts[0]):
                with contextlib.suppress(ChatCoordError):  # a damaged transfer is given up; its message comes again
                    self._courier.receive(parts[0], self._loop.time())
            else:
                self._on_frame(parts[0])
        if not self._closed:
            self._look_again()
