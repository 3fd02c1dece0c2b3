"""A bad line between clients and a coordinator: of the frames some are lost, some come twice, some come late."""

import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Self

import zmq

from protocol.paths import Discovery, Home, read_discovery, write_discovery

LOOK_MS = 5
LATEST_S = 0.3


class LossyLine:
    """Runs from ``with`` to its end; clients that are opened on ``home`` go through it.

    Args:
        home: of a running coordinator.
        folder: for the line's own files.
        rate: how many of the frames, from 0 to 1, meet each of the three.
        seed: decides which.
    """

    def __init__(self, home: Home, folder: Path, *, rate: float, seed: int) -> None:
        found = read_discovery(home)
        assert found is not None
        self._back = found.clients
        self._front = f"ipc://{folder / 'line.sock'}"
        self._rate = rate
        self._dice = random.Random(seed)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.met: Counter[str] = Counter()
        self.home = Home(folder)
        write_discovery(self.home, Discovery(found.boot, found.pid, found.start_ticks, self._front, found.workers))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._is_over.set()
        self._thread.join(30)

    def _run(self) -> None:
        with zmq.Context() as context, context.socket(zmq.ROUTER) as front:
            front.linger = 0
            front.bind(self._front)
            backs: dict[bytes, zmq.Socket] = {}
            late: list[tuple[float, zmq.Socket, list[bytes]]] = []
            while not self._is_over.is_set():
                poller = zmq.Poller()
                for socket in (front, *backs.values()):
                    poller.register(socket, zmq.POLLIN)
                ready = dict(poller.poll(LOOK_MS))
                now_s = time.monotonic()
                arrived: list[tuple[zmq.Socket, list[bytes]]] = [
                    (socket, frames) for due_s, socket, frames in late if due_s <= now_s
                ]
                late = [entry for entry in late if entry[0] > now_s]
                if front in ready:
                    peer, *frames = front.recv_multipart()
                    if peer not in backs:
                        backs[peer] = context.socket(zmq.DEALER)
                        backs[peer].linger = 0
                        backs[peer].connect(self._back)
                    arrived += self._carry(backs[peer], frames, late, now_s)
                for peer, back in backs.items():
                    if back in ready:
                        arrived += self._carry(front, [peer, *back.recv_multipart()], late, now_s)
                for socket, frames in arrived:
                    socket.send_multipart(frames)
            for back in backs.values():
                back.close()

    def _carry(
        self,
        socket: zmq.Socket,
        frames: list[bytes],
        late: list[tuple[float, zmq.Socket, list[bytes]]],
        now_s: float,
    ) -> list[tuple[zmq.Socket, list[bytes]]]:
        """Return what arrives of a message now."""
        fate = self._dice.random()
        if fate < self._rate:
            self.met["lost"] += 1
            return []
        if fate < 2 * self._rate:
            self.met["twice"] += 1
            return [(socket, frames)] * 2
        if fate < 3 * self._rate:
            self.met["late"] += 1
            late.append((now_s + self._dice.uniform(0, LATEST_S), socket, frames))
            return []
        return [(socket, frames)]
