"""Sessions put to sleep and woken: until the memory is back, until the history is; the peers can only start anew."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from benchmarks.measure import OURS, Comparison, in_turn
from benchmarks.model import scripted_model
from benchmarks.peers import python
from benchmarks.processes import Driver, taken
from benchmarks.product import Client, Product, running
from protocol import messages as m

TIMES = 5
MESSAGES = 100
MANY = 10_000
RESTART = "thespian: an actor ended and made again"


def _fill(product: Product, session: str, messages: int) -> None:
    """Give a sleeping session a long past, as if it had been talked with; its snapshot knows nothing of it."""
    text = "word " * 20
    with closing(sqlite3.connect(product.home.database)) as db, db:
        (first,) = db.execute("SELECT coalesce(max(seq), 0) + 1 FROM messages WHERE session = ?", (session,)).fetchone()
        for seq in range(first, messages, 2):
            db.execute(
                "INSERT INTO messages (session, seq, role, text, idem, at) VALUES (?, ?, 'user', ?, ?, 1.0)",
                (session, seq, f"{text}{seq}", f"fill{seq}"),
            )
            db.execute(
                "INSERT INTO messages (session, seq, role, text, reply_to, turn_id, stop_reason, at)"
                " VALUES (?, ?, 'assistant', ?, ?, ?, 'completed', 1.0)",
                (session, seq + 1, text, seq, f"fill{seq}"),
            )


def is_there(pid: int) -> bool:
    """Say whether the process has not been reaped yet."""
    return Path(f"/proc/{pid}").exists()


async def _sleep(client: Client, session: str) -> float:
    """Return the milliseconds until the snapshot is committed and the process gone."""
    pid = await client.pid(session)
    begun_s = time.perf_counter()
    await client.connection.ask(m.Hibernate(request=client.connection.number(), session=session), m.SessionAnswer)
    took_ms = (time.perf_counter() - begun_s) * 1000
    assert not is_there(pid)
    return took_ms


async def _wake(client: Client, session: str) -> float:
    """Return the milliseconds until the worker has its conversation."""
    begun_s = time.perf_counter()
    await client.connection.ask(m.Wake(request=client.connection.number(), session=session), m.SessionAnswer)
    return (time.perf_counter() - begun_s) * 1000


async def _session(product: Product, client: Client, messages: int) -> str:
    """Return an awake session that has a snapshot of so many messages."""
    session, _ = await client.create()
    await client.turn(session, "say 3 word_")
    await _sleep(client, session)
    _fill(product, session, messages)
    await _wake(client, session)
    await _sleep(client, session)
    await _wake(client, session)
    return session


async def run(rounds: int) -> list[Comparison]:
    """Measure."""
    slept: list[float] = []
    async with (
        scripted_model() as url,
        running(url) as product,
        product.client() as client,
        Driver("actors.py", "multiprocTCPBase", python=python()) as actors,
    ):
        usual = await _session(product, client, MESSAGES)
        large = await _session(product, client, MANY)

        async def woken() -> list[float]:
            slept.clear()
            found = []
            for _ in range(TIMES):
                slept.append(await _sleep(client, usual))
                found.append(await _wake(client, usual))
            return found

        async def asleep() -> list[float]:
            return list(slept)

        async def woken_large() -> list[float]:
            found = []
            for _ in range(TIMES):
                await _sleep(client, large)
                found.append(await _wake(client, large))
            return found

        sides = await in_turn(
            {
                "wake": woken,
                "hibernate": asleep,
                "large": woken_large,
                "thespian": lambda: taken(actors, "revive", number=TIMES),
            },
            rounds,
        )
    down = Comparison(f"hibernate: {MESSAGES} messages, until committed and gone", "ms", {OURS: sides["hibernate"]})
    down.within(6, "hibernate: p50 ≤ 6 ms for 100 messages")
    up = Comparison(
        f"wake: {MESSAGES} messages, until the worker has them", "ms", {OURS: sides["wake"], RESTART: sides["thespian"]}
    )
    up.within(10, "wake: p50 ≤ 10 ms for 100 messages")
    up.notes.append("No peer hibernates; an actor that is made again remembers nothing.")
    much = Comparison(f"wake: {MANY:,} messages, until the worker has them", "ms", {OURS: sides["large"]})
    much.within(150, "wake: p50 ≤ 150 ms for 10,000 messages")
    return [down, up, much]
