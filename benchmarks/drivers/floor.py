"""What the machine and the interpreter take by themselves: fork, the news of a death, fsync, a bare ZeroMQ relay."""

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from serve import serve

FRAME = b"x" * 32


def fork(number: int) -> list[float]:
    """Return the milliseconds from fork to the child's first byte, each time."""
    taken = []
    for _ in range(number):
        begun_s = time.perf_counter()
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(writer, b"x")
            os._exit(0)
        os.read(reader, 1)
        taken.append((time.perf_counter() - begun_s) * 1000)
        os.waitpid(pid, 0)
        os.close(reader)
        os.close(writer)
    return taken


def death(number: int) -> list[float]:
    """Return the milliseconds from SIGKILL until the pidfd of a sleeping child is readable, each time."""
    taken = []
    for _ in range(number):
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        pidfd = os.pidfd_open(pid)
        time.sleep(0.005)
        begun_s = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        select.select([pidfd], [], [])
        taken.append((time.perf_counter() - begun_s) * 1000)
        os.waitpid(pid, 0)
        os.close(pidfd)
    return taken


def fsync(number: int, folder: str) -> list[float]:
    """Return the milliseconds that one write of 4 KiB and its fsync take, each time."""
    taken = []
    path = Path(folder) / "fsync"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    for _ in range(number):
        begun_s = time.perf_counter()
        os.write(descriptor, b"x" * 4096)
        os.fsync(descriptor)
        taken.append((time.perf_counter() - begun_s) * 1000)
    os.close(descriptor)
    path.unlink()
    return taken


class Relay:
    """A process that echoes (one hop), or a broker with a worker behind it (two hops), in bare pyzmq over ipc."""

    def __init__(self, kind: str) -> None:
        import zmq  # noqa: PLC0415 - only in this verb

        self._folder = tempfile.TemporaryDirectory(prefix="cz-")
        endpoint = f"ipc://{self._folder.name}"
        self._processes = [
            subprocess.Popen([sys.executable, __file__, part, endpoint])
            for part in (("echo",) if kind == "echo" else ("broker", "worker"))
        ]
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.connect(f"{endpoint}/c")
        self.ping(200)

    def ping(self, number: int) -> list[float]:
        """Return the microseconds of each round trip."""
        taken = []
        for _ in range(number):
            begun_s = time.perf_counter()
            self._socket.send(FRAME)
            self._socket.recv()
            taken.append((time.perf_counter() - begun_s) * 1e6)
        return taken

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
            process.wait()
        self._socket.close(0)
        self._context.term()
        self._folder.cleanup()


def part_of_relay(part: str, endpoint: str) -> None:
    """Be the echo, the broker or the worker until killed."""
    import zmq  # noqa: PLC0415

    context = zmq.Context()
    if part == "worker":
        dealer = context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.IDENTITY, b"w")
        dealer.connect(f"{endpoint}/w")
        while True:
            dealer.send_multipart(dealer.recv_multipart())
    clients = context.socket(zmq.ROUTER)
    clients.bind(f"{endpoint}/c")
    if part == "echo":
        while True:
            clients.send_multipart(clients.recv_multipart())
    workers = context.socket(zmq.ROUTER)
    workers.setsockopt(zmq.ROUTER_MANDATORY, 1)
    workers.bind(f"{endpoint}/w")
    poller = zmq.Poller()
    poller.register(clients, zmq.POLLIN)
    poller.register(workers, zmq.POLLIN)
    while True:
        for ready, _ in poller.poll():
            if ready is clients:
                message = [b"w", *clients.recv_multipart()]
                while True:
                    try:
                        workers.send_multipart(message)
                        break
                    except zmq.ZMQError:  # the worker is not connected yet
                        time.sleep(0.01)
            else:
                clients.send_multipart(workers.recv_multipart()[1:])


def main() -> None:
    """Serve, and end the relays at the end."""
    relays: dict[str, Relay] = {}

    def ping(kind: str, number: int) -> Any:
        if kind not in relays:
            relays[kind] = Relay(kind)
        return relays[kind].ping(number)

    try:
        serve({"fork": fork, "death": death, "fsync": fsync, "ping": ping})
    finally:
        for relay in relays.values():
            relay.close()


if __name__ == "__main__":
    if len(sys.argv) == 3:
        part_of_relay(*sys.argv[1:])
    else:
        main()
