"""Few file descriptors: new sessions are refused in time, because libzmq aborts the process when none is left."""

import asyncio
import resource
import subprocess

import psutil
import pytest

from client.asking import create
from client.connection import Connection
from protocol.errors import RemoteError
from protocol.paths import Home
from tests.support.product import COMMAND, Product, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.crash]

LIMIT = 128


def test_at_a_limit_of_128_new_sessions_are_refused_at_80_percent_and_everything_else_goes_on(product: Product):
    product.env["CHAT_COORD_MAX_ACTIVE_SESSIONS"] = "1000"
    subprocess.run(
        ["bash", "-c", f"ulimit -n {LIMIT}; exec {COMMAND} start"], env=product.environment, check=True, timeout=60,
        capture_output=True,
    )  # fmt: skip
    pid = product.json("status")["pid"]

    def all_live() -> bool:
        return all(s["residency"] == "live" for s in product.sessions())

    async def fill() -> tuple[list[str], RemoteError]:
        connection = Connection(Home(product.home))
        await connection.open()
        made: list[str] = []
        refused: RemoteError | None = None
        try:
            while True:
                try:
                    made.append((await create(connection, Home(product.home))).name)
                    refused = None
                except RemoteError as error:
                    if refused is not None:
                        return made, error
                    refused = error
                    await asyncio.to_thread(wait_for, all_live)  # those that are starting count for more
        finally:
            await connection.close()

    made, refused = asyncio.run(fill())
    used = psutil.Process(pid).num_fds()

    assert resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] == LIMIT
    assert refused.remote_code == "descriptors.short"
    assert f"of its {LIMIT} file descriptors open" in refused.message
    assert len(made) > 10
    assert 0.6 * LIMIT < used <= 0.8 * LIMIT + 4  # a command's own connection is among them
    assert product.json("send", made[0], "hello")["reply"] == "<hello>"
    assert product.json("send", made[-1], "hello")["reply"] == "<hello>"
    assert product.json("status")["pid"] == pid

    product.run("close", made[0])
    product.run("close", made[1])
    product.run("close", made[2])

    assert product.json("new", "again")["name"] == "again"


def test_the_soft_limit_of_descriptors_is_raised_to_the_hard_one(product: Product):
    subprocess.run(
        ["bash", "-c", f"ulimit -S -n {LIMIT}; exec {COMMAND} start"], env=product.environment, check=True, timeout=60,
        capture_output=True,
    )  # fmt: skip
    soft, hard = resource.prlimit(product.json("status")["pid"], resource.RLIMIT_NOFILE)

    assert hard > LIMIT
    assert soft == min(hard, 65_536)
