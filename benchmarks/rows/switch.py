"""How long the full-screen terminal takes to show another session, and what it costs while five of them stream.

The command in a pseudo-terminal of 100 by 30: from the key that is written to the bytes that show what only that
session has. Waking goes on beside it; a session that sleeps is shown from the store.
"""

import asyncio
import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil

from benchmarks.measure import OURS, Comparison, Samples, in_turn
from benchmarks.model import scripted_model
from benchmarks.processes import clean_environment
from benchmarks.product import Client, Product, running
from protocol import messages as m

COMMAND = str(Path(sys.executable).with_name("chat-coord"))
SIZE = (30, 100)
LIVE = 6
TURNS = 10
SWITCHES = 12
STREAMS = 5
STREAM_S = 6.0
WITHIN_S = 20.0
# Pieces a second of each of the streams, and how many make it last long enough.
DRIPS = 3_000
CTRL_Q = b"\x11"


class Terminal:
    """The command in a pseudo-terminal."""

    def __init__(self, product: Product, *words: str) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
        environment = clean_environment() | {"CHAT_COORD_HOME": str(product.home.root), "TERM": "xterm-256color"}
        environment["XDG_RUNTIME_DIR"] = os.environ["XDG_RUNTIME_DIR"]
        self.process = subprocess.Popen(
            [COMMAND, "chat", *words], stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self._fd = ours
        self.seen = bytearray()
        self.bytes = 0
        self._more = asyncio.Event()
        os.set_blocking(ours, False)
        asyncio.get_running_loop().add_reader(ours, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, 1 << 16)
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._fd)
        self.seen += data
        self.bytes += len(data)
        self._more.set()

    def press(self, keys: bytes) -> None:
        """Type, and forget what was seen before."""
        self.seen.clear()
        os.write(self._fd, keys)

    async def until(self, mark: bytes) -> None:
        """Wait until the bytes of the mark have come."""
        async with asyncio.timeout(WITHIN_S):
            while mark not in self.seen:
                self._more.clear()
                await self._more.wait()

    async def close(self, leave: bytes) -> None:
        """Leave it by its own key, or word."""
        self.press(leave)
        try:
            await asyncio.wait_for(asyncio.to_thread(self.process.wait), WITHIN_S)
        finally:
            if self.process.poll() is None:
                self.process.kill()
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)


@contextlib.asynccontextmanager
async def opened(product: Product, leave: bytes, *words: str) -> AsyncIterator[Terminal]:
    """Open a terminal for a while."""
    terminal = Terminal(product, *words)
    try:
        yield terminal
    finally:
        await terminal.close(leave)


async def run(rounds: int) -> list[Comparison]:
    """Measure."""
    async with scripted_model() as url, running(url) as product, product.client() as client:
        marks = await _sessions(client)
        async with opened(product, CTRL_Q, next(iter(marks))) as terminal:
            await terminal.until(next(iter(marks.values()))[1])
            keys = list(marks.values())
            first = Samples([[await _switch(terminal, *key) for key in keys[1:]]])

            async def live() -> list[float]:
                return [await _switch(terminal, *keys[i % LIVE]) for i in range(1, SWITCHES + 1)]

            async def asleep() -> list[float]:
                samples = []
                for i in range(1, SWITCHES + 1):
                    await _sleep(client, list(marks)[i % LIVE])
                    samples.append(await _switch(terminal, *keys[i % LIVE]))
                return samples

            sides = await in_turn({OURS: live, "to one that sleeps": asleep}, rounds)
        cost = await _cost(product, client, list(marks), rounds)
    shown = Comparison("another session is shown, from the key to the bytes: live", "ms", {OURS: sides[OURS]})
    shown.within(30, "p95 ≤ 30 ms live", 95)
    slept = Comparison("another session is shown: hibernated", "ms", {OURS: sides["to one that sleeps"]})
    slept.within(60, "p95 ≤ 60 ms hibernated", 95)
    opened_first = Comparison("another session is shown: the first time in this terminal", "ms", {OURS: first})
    return [shown, slept, opened_first, cost]


async def _sessions(client: Client) -> dict[str, tuple[bytes, bytes]]:
    """Make sessions with a conversation each; return by name the key that goes there and what only it shows."""
    found: dict[str, tuple[bytes, bytes]] = {}
    for i in range(LIVE):
        session, _ = await client.create()
        for turn in range(TURNS):
            await client.turn(session, f"say 3 turn-{turn}-of-{i}.")
        mark = f"only-in-{'abcdefgh'[i]}"
        await client.turn(session, f"say 1 {mark}")
        view = await client.look(session)
        found[session] = (f"\x1b{view.number}".encode(), mark.encode())
    return found


async def _switch(terminal: Terminal, key: bytes, mark: bytes) -> float:
    await asyncio.sleep(0.25)  # a person looks at what is there
    begun_s = time.perf_counter()
    terminal.press(key)
    await terminal.until(mark)
    return (time.perf_counter() - begun_s) * 1000


async def _sleep(client: Client, session: str) -> None:
    order = m.Hibernate(request=client.connection.number(), session=session)
    await client.connection.ask(order, m.SessionAnswer)
    await client.until(lambda p: isinstance(p, m.Changed) and p.session == session and p.after == "hibernated")


async def _cost(product: Product, client: Client, sessions: list[str], rounds: int) -> Comparison:
    """Return the processor that a terminal uses while five sessions stream, one of them before its eyes."""
    extra, _ = await client.create()
    streams = [*sessions, extra][:STREAMS]
    traffic: list[float] = []

    async def use(leave: bytes, *flags: str) -> list[float]:
        async with opened(product, leave, streams[0], *flags) as terminal:
            await asyncio.sleep(1.5)
            for session in streams:
                await client.connection.submit(session, f"drip {DRIPS} x", os.urandom(8).hex(), follow=False)
            await asyncio.sleep(1.0)
            process = psutil.Process(terminal.process.pid)
            before, sent, begun_s = sum(process.cpu_times()[:2]), terminal.bytes, time.perf_counter()
            await asyncio.sleep(STREAM_S)
            took_s = time.perf_counter() - begun_s
            used = (sum(process.cpu_times()[:2]) - before) / took_s * 100
            traffic.append((terminal.bytes - sent) / took_s / 1024)
            for session in streams:
                with contextlib.suppress(Exception):
                    order = m.Cancel(request=client.connection.number(), session=session)
                    await client.connection.ask(order, m.Cancelled)
        return [used]

    takes: dict[str, Callable[[], asyncio.Future[list[float]]]] = {
        OURS: lambda: asyncio.ensure_future(use(CTRL_Q)),
        "chat --plain": lambda: asyncio.ensure_future(use(b"/quit\n", "--plain")),
    }
    sides: dict[str, Samples] = await in_turn(takes, rounds)
    report = Comparison("processor of the terminal while 5 sessions stream 100 pieces a second each", "% of one", sides)
    report.notes.append(f"drawn at most 15 times a second; {max(traffic):.0f} KiB/s reach the pseudo-terminal at most")
    return report
