"""The coordinator's end of the wire: a ROUTER socket, for clients one and for workers one.

Read by its descriptor and drained without awaiting (18,000 round trips/s against 6,500 with zmq.asyncio). What is not
exactly [peer, one frame within the limit] is counted and refused; it costs its sender, nobody else.
"""

import asyncio
import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Hashable
from pathlib import Path

import zmq

from coordinator.shell.backlog import Backlog
from protocol.errors import ChatCoordError, HomeUnsafe
from protocol.limits import FRAME_BYTES
from protocol.parts import Courier, is_part

# How long one drain may keep the loop from other work.
DRAIN_S = 0.002
# Parts of a message that are kept; a message of this protocol has two.
PARTS = 2
# Parts of a message with too many that are thrown away between two looks at the clock.
SKIPPED_AT_ONCE = 200
HIGH_WATER = 1_000
LINGER_MS = 300
# How soon a full pipe is tried again.
RETRY_S = 0.05
# A peer that sent so much nonsense is not heard for a while: answering it would cost the others.
NONSENSE = 50
QUARANTINE_S = 10.0


class Router:
    """Sends to peers and calls back for each message.

    Args:
        path: the socket's file.
        on_frame: called in the loop with peer and message.
    """

    def __init__(self, path: Path, on_frame: Callable[[bytes, bytes], None]) -> None:
        _refuse_what_is_not_ours(path)
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._on_frame = on_frame
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.set(zmq.LINGER, LINGER_MS)
        self._socket.set(zmq.MAXMSGSIZE, FRAME_BYTES)
        self._socket.set(zmq.SNDHWM, HIGH_WATER)
        self._socket.set(zmq.ROUTER_MANDATORY, 1)
        self._socket.set(zmq.ROUTER_HANDOVER, 1)
        self._socket.set(zmq.IPC_FILTER_UID, os.getuid())
        self.endpoint = f"ipc://{path}"
        self._socket.bind(self.endpoint)
        self._inode = path.lstat().st_ino
        self._descriptor = int(self._socket.get(zmq.FD))
        self._again: asyncio.Handle | None = None
        self._parts: list[zmq.Frame] = []
        self._has_extra = False
        self._backlog: dict[bytes, Backlog] = {}
        self._retry: asyncio.TimerHandle | None = None
        self._couriers: dict[bytes, Courier] = {}
        self._nonsense: dict[bytes, int] = {}
        self._quarantined: dict[bytes, float] = {}
        self.rejected = 0
        self.undeliverable = 0
        self._loop.add_reader(self._descriptor, self._drain)
        self._look_again()

    def send(self, peer: bytes, frame: bytes, *, is_droppable: bool = False, key: Hashable | None = None) -> None:
        """Send a message, in parts if it is big.

        Args:
            peer: to whom; one that is gone counts as served.
            frame: the message.
            is_droppable: when the peer is too slow this one is lost; otherwise it waits, bounded.
            key: messages of one key that wait replace each other: the last value wins.
        """
        if is_droppable:
            if peer not in self._backlog:
                self._try(peer, frame)
        elif key is not None:
            self._send_frame(peer, frame, key)
        else:
            self._courier(peer).post(frame, self._loop.time())
            self._forget_idle(peer)

    def reject(self, peer: bytes) -> bool:
        """Count a message that made no sense; False when its sender is not to be answered any more."""
        self.rejected += 1
        self._nonsense[peer] = self._nonsense.get(peer, 0) + 1
        if self._nonsense[peer] < NONSENSE:
            return True
        del self._nonsense[peer]
        self._quarantined[peer] = self._loop.time() + QUARANTINE_S
        return False

    def sender_pid(self) -> int | None:
        """Return the process that sent the message which is being called back for, as the kernel knows it.

        None where the kernel does not tell, as across pid namespaces.
        """
        with contextlib.suppress(zmq.ZMQError, ValueError, IndexError):
            address = str(self._parts[-1].get("Peer-Address"))
            return int(address.split(":")[3]) or None
        return None

    @property
    def is_reachable(self) -> bool:
        """Say whether the socket's file is there; somebody may have cleaned up."""
        try:
            return self._path.lstat().st_ino == self._inode
        except OSError:
            return False

    def rebind(self) -> None:
        """Make the socket's file anew in its folder, which exists again; connections that stand go on.

        Raises:
            HomeUnsafe: something else is in its place, or it cannot be bound.
        """
        _refuse_what_is_not_ours(self._path)
        try:
            self._socket.bind(self.endpoint)
            self._inode = self._path.lstat().st_ino
        except (zmq.ZMQError, OSError) as error:
            raise HomeUnsafe(f"The socket {self._path} cannot be bound: {error}.") from error

    def expire(self) -> None:
        """Give up transfers that stand still and end quarantines; to be called every second or so."""
        now_s = self._loop.time()
        for peer, courier in list(self._couriers.items()):
            courier.expire(now_s)
            self._forget_idle(peer)
        self._quarantined = {peer: end_s for peer, end_s in self._quarantined.items() if end_s > now_s}
        self._nonsense.clear()

    def close(self) -> None:
        """Unbind and remove the socket's file; frames that are queued get LINGER_MS to leave."""
        self._loop.remove_reader(self._descriptor)
        for handle in (self._again, self._retry):
            if handle is not None:
                handle.cancel()
        self._socket.close()
        self._context.term()
        self._path.unlink(missing_ok=True)

    # ---- out

    def _courier(self, peer: bytes) -> Courier:
        if peer not in self._couriers:
            self._couriers[peer] = Courier(
                lambda frame: self._send_frame(peer, frame, None), lambda frame: self._on_frame(peer, frame)
            )
        return self._couriers[peer]

    def _forget_idle(self, peer: bytes) -> None:
        if self._couriers[peer].is_idle:
            del self._couriers[peer]

    def _send_frame(self, peer: bytes, frame: bytes, key: Hashable | None) -> None:
        if peer not in self._backlog and self._try(peer, frame):
            return
        if not self._backlog.setdefault(peer, Backlog()).add(frame, key):
            self.undeliverable += 1
        if self._retry is None:
            self._retry = self._loop.call_later(RETRY_S, self._flush)

    def _try(self, peer: bytes, frame: bytes) -> bool:
        """Return False when the peer's pipe is full; a peer that is gone counts as served."""
        try:
            self._socket.send_multipart([peer, frame], zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != errno.EHOSTUNREACH:
                raise
            self.undeliverable += 1
            if peer in self._couriers:
                self._couriers[peer].forget()
        finally:
            self._look_again()
        return True

    def _flush(self) -> None:
        self._retry = None
        for peer, backlog in list(self._backlog.items()):
            for frame in backlog:
                if not self._try(peer, frame):
                    break
            else:
                del self._backlog[peer]
        if self._backlog:
            self._retry = self._loop.call_later(RETRY_S, self._flush)

    # ---- in

    def _look_again(self) -> None:
        if self._again is None and int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN:
            self._again = self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        self._again = None
        deadline_s = time.monotonic() + DRAIN_S
        with contextlib.suppress(zmq.Again):
            while time.monotonic() < deadline_s:
                if self._take():
                    try:
                        self._hand_on()
                    finally:
                        self._parts, self._has_extra = [], False
        self._look_again()

    def _take(self) -> bool:
        """Receive the next part; True when its message is whole. What is beyond the second part is thrown away.

        Raises:
            zmq.Again: nothing is there.
        """
        if len(self._parts) < PARTS:
            part = self._socket.recv(zmq.NOBLOCK, copy=False)
            self._parts.append(part)
            return not part.more
        self._has_extra = True
        for _ in range(SKIPPED_AT_ONCE):
            self._socket.recv(zmq.NOBLOCK)  # with a copy: for small parts twice as fast
            if not self._socket.getsockopt(zmq.RCVMORE):
                return True
        return False

    def _hand_on(self) -> None:
        peer = self._parts[0].bytes
        if peer in self._quarantined:
            self.rejected += 1
        elif len(self._parts) != PARTS or self._has_extra:
            self.reject(peer)
        else:
            frame = self._parts[1].bytes
            if not is_part(frame):
                self._on_frame(peer, frame)
                return
            try:
                self._courier(peer).receive(frame, self._loop.time())
            except ChatCoordError:
                self.reject(peer)
            self._forget_idle(peer)


def _refuse_what_is_not_ours(path: Path) -> None:
    """Allow a free path or a stale socket of this user; libzmq would replace anything."""
    try:
        facts = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(facts.st_mode) or facts.st_uid != os.getuid():
        hint = "Move it away; it was left as it is."
        raise HomeUnsafe(f"{path} is in the way of the coordinator's socket.", hint=hint)
