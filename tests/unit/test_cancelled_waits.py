"""A turn that is cancelled in the moment in which what it waits for comes is cancelled all the same.

``asyncio.wait_for`` of Python 3.11 returns the answer then, and the turn would go on.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from protocol import messages as m
from protocol.launch import Fork
from workers.core.turns import Running, Turns
from workers.shell.children import Children
from workers.shell.journal import ToolJournal
from workers.shell.loop import Worker
from workers.shell.outbox import Outbox


async def cancelled_as_it_comes(wait: Awaitable[object], come: Callable[[], None]) -> None:
    task = asyncio.ensure_future(wait)
    await asyncio.sleep(0)
    come()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)


def running() -> Running:
    found = Turns().accept(m.Deliver(seq=1, text="hi"), "t")
    assert found is not None
    return found


def test_while_the_coordinator_says_who_else_wrote_a_file(tmp_path: Path):
    async def story() -> None:
        journal = ToolJournal("s", 1, running(), Outbox(tmp_path / "o"), lambda _: None, Children())
        answer = m.WriteKnown(path="/f", holders=["b"])
        await cancelled_as_it_comes(journal.holders("/f"), lambda: journal.heard(answer))

    asyncio.run(story())


def test_while_the_coordinator_says_where_the_model_is(tmp_path: Path):
    fork = Fork(
        session="s", epoch=1, token=b"", name="s", cwd="/", env={}, endpoint="", log="", events_log="",
        home=str(tmp_path), orphan_exit_s=60.0,
    )  # fmt: skip
    endpoint = m.Endpoint(
        provider="openai", base_url="http://x", model="m", api_key=None, context_tokens=None, max_output_tokens=None
    )

    async def story() -> None:
        worker = Worker(fork, model=None)
        worker._send = lambda _: None
        await cancelled_as_it_comes(worker._find_endpoint(), lambda: worker._on_endpoint(endpoint))

    asyncio.run(story())
