"""The cap on workers, with many clients that want the last slot at once."""

import asyncio
import os
import signal

import pytest

from client.asking import create
from client.connection import Connection
from protocol.errors import RemoteError
from protocol.paths import Home
from protocol.processes import start_ticks
from protocol.views import SessionView
from tests.support.product import Product, our_processes, wait_for

pytestmark = pytest.mark.integration

CAP = 8
RACERS = 50


def test_of_fifty_creates_at_once_exactly_as_many_as_there_are_slots_get_a_worker(product: Product):
    text = (product.home / "config.toml").read_text()
    product.configure(f"max_active_sessions = {CAP}\n{text}")
    product.run("start")
    home = Home(product.home)

    async def race() -> list[SessionView | BaseException]:
        clients = [Connection(home, f"racer-{n}") for n in range(5)]
        try:
            for client in clients:
                await client.open()
            creates = [create(clients[n % 5], home, name=f"s{n}", queue=False) for n in range(RACERS)]
            outcomes = await asyncio.gather(*creates, return_exceptions=True)
            made = [outcome for outcome in outcomes if isinstance(outcome, SessionView)]
            await asyncio.gather(*(clients[0].submit(s.id, "hello", "key", follow=False) for s in made))
            return outcomes
        finally:
            for client in clients:
                await client.close()

    outcomes = asyncio.run(race())
    made = [outcome for outcome in outcomes if isinstance(outcome, SessionView)]
    refused = [outcome.remote_code for outcome in outcomes if isinstance(outcome, RemoteError)]

    assert (len(made), refused) == (CAP, ["session.limit"] * (RACERS - CAP))

    # An answer shows that the store knows the worker, so the next coordinator will.
    wait_for(lambda: [(s["residency"], s["messages"]) for s in product.sessions("--all")] == [("live", 2)] * CAP)
    pids = sorted(s["pid"] for s in product.sessions())

    assert _workers(product) == pids

    coordinator = product.json("status")["pid"]
    os.kill(coordinator, signal.SIGKILL)
    wait_for(lambda: start_ticks(coordinator) is None)
    product.run("start")

    assert product.json("status")["sessions"]["live"] == CAP  # they count before they have said hello again
    assert "slots are held" in product.result("new", "one-more", "--no-queue").stderr
    assert _workers(product) == pids


def _workers(product: Product) -> list[int]:
    ours = our_processes(product.home.parent)
    others = {"coordinator", "zygote", "a new worker"}
    return sorted(pid for pid, title in ours.items() if title.split(": ")[1] not in others)
