"""Sessions that sleep: their memory is gone, nothing else is. Real processes, a real database, a real model server."""

import asyncio
import os
import signal
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest

from client.asking import create
from client.connection import Connection
from protocol import messages as m
from protocol.paths import Home
from tests.support.model_server import ModelServer
from tests.support.product import Product, our_processes, wait_for

pytestmark = pytest.mark.integration


def configure(product: Product, text: str) -> None:
    before = (product.home / "config.toml").read_text()
    product.configure(f"{text}\n{before}")


def seen_by_the_model(model: ModelServer, prompt: str) -> list[str]:
    [call] = model.calls_of(prompt)
    return [message["content"] for message in call.messages if message["role"] != "system"]


def snapshots(product: Product) -> list[tuple[int, int]]:
    with closing(sqlite3.connect(product.home / "chat-coord.db")) as db:
        return db.execute("SELECT epoch, through_seq FROM snapshots ORDER BY epoch").fetchall()


def source_of_the_last_wake(product: Product) -> str:
    lines = [line for line in (product.home / "logs" / "coordinator.log").read_text().splitlines() if "awake" in line]
    return lines[-1].partition('"source": "')[2].partition('"')[0]


def test_a_session_sleeps_and_wakes_with_everything_it_had(product: Product, model: ModelServer):
    product.run("new", "a", "--system", "You are terse.")
    product.run("send", "a", "echo one")
    before = product.live("a")
    product.run("pin", "a")
    product.run("unpin", "a")
    asleep = product.json("hibernate", "a")

    assert (asleep["residency"], asleep["pid"], asleep["exit_card"]) == ("hibernated", None, None)
    assert not Path(f"/proc/{before['pid']}").exists()
    assert snapshots(product) == [(1, 1)]

    product.run("send", "a", "echo two")
    after = product.live("a")

    assert seen_by_the_model(model, "echo two") == ["echo one", "<echo one>", "echo two"]
    assert source_of_the_last_wake(product) == "snapshot"
    assert after["epoch"] > before["epoch"]
    same = ("id", "name", "number", "type", "model", "cwd", "created_at", "pinned", "archived")
    assert {key: after[key] for key in same} == {key: before[key] for key in same}
    assert after["messages"] == before["messages"] + 2
    system = [c["content"] for c in model.calls_of("echo two")[0].messages if c["role"] == "system"]
    assert system == ["You are terse."]


@pytest.mark.parametrize("damage", ["flipped", "missing", "newer", "pickle"])
def test_a_snapshot_that_cannot_be_used_costs_nothing_but_time(product: Product, model: ModelServer, damage: str):
    product.run("new", "a")
    for word in ("one", "two"):
        product.run("send", "a", f"echo {word}")
        product.run("hibernate", "a")
    product.run("stop")
    with closing(sqlite3.connect(product.home / "chat-coord.db")) as db, db:
        data = {
            "flipped": "CAST(data AS BLOB) || x'00'",
            "missing": "x''",
            "newer": "x'6363736e' || x'ffff' || substr(data, 7)",
            "pickle": "x'80049503000000000000004b012e'",
        }[damage]
        db.execute(f"UPDATE snapshots SET data = {data}")
    product.run("start")
    product.run("send", "a", "echo three")

    expected = ["echo one", "<echo one>", "echo two", "<echo one><echo two>", "echo three"]
    assert seen_by_the_model(model, "echo three") == expected
    assert source_of_the_last_wake(product) == "history"


def test_at_the_cap_the_idle_one_that_was_used_least_recently_sleeps_and_a_busy_one_never(
    product: Product, model: ModelServer
):
    configure(product, "max_active_sessions = 2")
    product.run("new", "busy")
    product.run("new", "idle")
    product.run("send", "busy", "wait here", "--no-wait")
    wait_for(lambda: model.calls_of("wait here"))
    product.run("new", "third")
    product.live("third")

    assert product.session("idle")["residency"] == "hibernated"
    assert product.session("busy")["display"] == "running"
    refused = product.result("new", "fourth", "--no-queue")
    assert refused.returncode == 1
    assert "held, by: busy, third" in refused.stderr

    product.run("send", "third", "wait there", "--no-wait")
    wait_for(lambda: model.calls_of("wait there"))
    queued = product.json("new", "fifth")
    assert (queued["residency"], queued["work_detail"], queued["pid"]) == ("queued", {"position": 1}, None)
    product.run("send", "fifth", "echo later", "--no-wait")
    model.gate.set()

    assert product.wait_session("fifth", lambda s: s["messages"] == 2)["exit_card"] is None


def test_many_more_sessions_than_slots_and_every_prompt_is_answered_once_and_in_order(
    product: Product, model: ModelServer
):
    configure(product, "max_active_sessions = 4")
    product.run("start")
    home = Home(product.home)
    sessions, laps = 16, 3
    most = 0

    async def run() -> None:
        nonlocal most
        connection = Connection(home, "crowd")
        await connection.open()
        try:
            made = [await create(connection, home, name=f"s{n}") for n in range(sessions)]
            for lap in range(laps):
                for session in made:
                    prompt = f"echo {session.name}.{lap}"
                    await connection.submit(session.id, prompt, f"{lap}", follow=False)
                    most = max(most, len(workers(product)))
            async with asyncio.timeout(120):
                for session in made:
                    while len([r async for page in connection.history(session.id) for r in page.rows]) < 2 * laps:
                        most = max(most, len(workers(product)))
                        await asyncio.sleep(0.05)
        finally:
            await connection.close()

    asyncio.run(run())
    product.run("stop")

    assert 1 < most <= 4
    for n in range(sessions):
        for lap in range(laps):
            asked = [text for text in seen_by_the_model(model, f"echo s{n}.{lap}") if text.startswith("echo")]
            assert asked == [f"echo s{n}.{i}" for i in range(lap + 1)]


def test_who_is_asked_to_sleep_right_after_its_birth_answers_when_it_has_its_conversation(product: Product):
    """A busy worker is left alone for a while; one that is only young must not hold up the line like that."""
    configure(product, "max_active_sessions = 1")
    for n in range(6):
        product.run("new", f"s{n}")
    wait_for(lambda: product.json("status")["sessions"]["queued"] == 0)
    product.live("s5")
    said = (product.home / "logs" / "coordinator.log").read_text()

    assert said.count('"session awake"') == 6
    assert "session stays awake" not in said


def workers(product: Product) -> list[int]:
    names = our_processes(product.home.parent)
    return [pid for pid, title in names.items() if title.startswith("chat-coord: s") and "zygote" not in title]


def test_a_coordinator_that_dies_while_a_session_falls_asleep_loses_nothing(product: Product, model: ModelServer):
    product.env["CC_FAILPOINT"] = "coordinator.before.Leave:kill"
    product.run("new", "a")
    product.run("send", "a", "echo one")
    pid = product.live("a")["pid"]
    product.result("hibernate", "a", timeout_s=90)
    del product.env["CC_FAILPOINT"]
    product.run("start")

    wait_for(lambda: not Path(f"/proc/{pid}").exists())  # it is fenced
    assert product.session("a")["residency"] == "hibernated"
    product.run("send", "a", "echo two")
    assert seen_by_the_model(model, "echo two") == ["echo one", "<echo one>", "echo two"]


def test_a_terminal_wakes_and_an_observer_does_not(product: Product):
    product.run("new", "a")
    product.run("send", "a", "echo one")
    product.run("hibernate", "a")
    looked = product.run("attach", "a", "--read-only", stdin="hello?\n/quit\n")

    assert "<echo one>" in looked
    assert "only looks" in looked
    assert product.session("a")["residency"] == "hibernated"

    product.run("attach", "a", stdin="/quit\n")
    assert product.session("a")["residency"] in {"waking", "live"}


def test_two_terminals_on_one_session_see_the_same(product: Product):
    product.run("new", "a")
    home = Home(product.home)

    async def watch() -> tuple[list[str], list[str]]:
        clients = [Connection(home, f"terminal-{n}") for n in (1, 2)]
        heard: list[list[str]] = [[], []]
        try:
            for client in clients:
                await client.open()
                await client.ask(m.Attach(request=client.number(), session="a"), m.Attached)
            await clients[0].submit("a", "count 5 x", "key", follow=False)
            async with asyncio.timeout(60):
                for n, client in enumerate(clients):
                    while not isinstance(pushed := await client.pushed.get(), m.Final):
                        heard[n].append(pushed.text)
        finally:
            for client in clients:
                await client.close()
        return heard[0], heard[1]

    first, second = asyncio.run(watch())

    assert "".join(first) == "".join(second) == "".join(f"x{i};" for i in range(5))


def test_a_draft_is_there_after_sleep_and_a_crash_of_everything(product: Product):
    product.run("new", "a")
    home = Home(product.home)

    async def draft(text: str | None) -> str:
        client = Connection(home, "terminal")
        await client.open()
        try:
            if text is not None:
                order = m.Mark(request=client.number(), session="a", mark="draft", value=text)
                await client.ask(order, m.SessionAnswer)
            looking = m.Attach(request=client.number(), session="a", observes=True)
            return (await client.ask(looking, m.Attached)).draft
        finally:
            await client.close()

    asyncio.run(draft("half a thou"))
    product.live("a")
    product.run("hibernate", "a")
    for pid in [product.json("status")["pid"], *our_processes(product.home.parent)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    product.run("start")

    assert asyncio.run(draft(None)) == "half a thou"


def test_idle_sessions_sleep_by_themselves_and_a_pinned_one_does_not(product: Product):
    configure(product, "idle_hibernate_s = 0.5")
    product.run("new", "pinned")
    product.run("pin", "pinned")
    product.run("new", "idle")

    assert product.wait_session("idle", lambda s: s["residency"] == "hibernated")["exit_card"] is None
    assert product.wait_session("pinned", lambda s: s["residency"] in {"live", "hibernated"})["pinned"]
    refused = product.result("hibernate", "pinned")
    assert (refused.returncode, "it is pinned" in refused.stderr) == (1, True)


def test_delete_asks_and_removes_rows_logs_and_outbox(product: Product):
    product.run("new", "a")
    product.run("send", "a", "echo secret-word")
    session = product.session("a")["id"]
    assert product.result("delete", "a").returncode == 2  # nobody to ask
    busy = product.result("delete", "a", "--yes")
    assert (busy.returncode, "chat-coord close a" in busy.stderr) == (1, True)

    product.run("close", "a")
    assert list((product.home / "logs").glob(f"{session}*"))
    product.run("delete", "a", "--yes")

    assert product.sessions("--all") == []
    assert [path.name for folder in ("logs", "outboxes") for path in (product.home / folder).glob(f"{session}*")] == []
    product.run("stop")
    assert product.result("history", "a").returncode == 3
