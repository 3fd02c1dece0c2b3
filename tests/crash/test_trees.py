"""What a worker started dies with it, however the worker ends; and a worker without memory says so and leaves."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from coordinator.shell.router import Router
from protocol import messages as m
from protocol.codec import Decoder, encode
from protocol.launch import EXIT_NO_MEMORY, Forked, Reaped
from protocol.processes import start_ticks
from tests.integration.test_zygote import heard, order, zygote
from tests.support import probes, trees
from tests.support.launching import until
from workers import child
from workers.shell import loop

pytestmark = [pytest.mark.integration, pytest.mark.crash]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, for a socket in it."""
    made = Path(tempfile.mkdtemp(prefix="cc-"))
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_hides_from_the_zygote_when_its_worker_is_killed(folder: Path, end: signal.Signals):
    found = {}
    with zygote(probes.zygote_with_a_parent) as channel:
        heard(channel)
        channel.send(encode(order(folder)))
        forked = heard(channel)
        try:
            found = trees.pids(folder, hidden=True)
            assert trees.living(found) == ["child", "stubborn", "daemon", "hidden"]

            os.kill(forked.pid, end)
            reaped = heard(channel)

            assert isinstance(forked, Forked)
            assert isinstance(reaped, Reaped)
            assert reaped.status == -end
            assert trees.living(found) == []
        finally:
            trees.end(found)


def test_the_tree_of_another_worker_is_left_alone(folder: Path):
    found: dict[str, dict[str, int]] = {}
    with zygote(probes.zygote_with_a_parent) as channel:
        heard(channel)
        pids = {}
        try:
            for name in "ab":
                (folder / name).mkdir()
                channel.send(encode(msgspec.structs.replace(order(folder / name), session=name)))
                pids[name] = heard(channel).pid
                found[name] = trees.pids(folder / name, hidden=True)
            os.kill(pids["a"], signal.SIGKILL)
            heard(channel)

            assert trees.living(found["a"]) == []
            assert len(trees.living(found["b"])) == 4
            assert start_ticks(pids["b"]) is not None

            os.kill(pids["b"], signal.SIGKILL)
            heard(channel)
            assert trees.living(found["b"]) == []
        finally:
            for some in found.values():
                trees.end(some)


@pytest.mark.parametrize(("ending", "code"), [(None, 0), (RuntimeError, 1), (MemoryError, EXIT_NO_MEMORY)])
def test_a_worker_that_ends_by_itself_ends_its_tree_first(folder: Path, ending: type[Exception] | None, code: int):
    pid = os.fork()
    if pid == 0:  # as the launcher `spawn` does: nobody but the worker itself sees to it
        os.setsid()

        def run(fork: object, *_: object) -> int:
            import sys

            sys.argv = ["", str(folder)]
            exec(trees.STORY + trees.HIDE, {"__name__": "story"})
            trees.pids(folder, hidden=True)
            if ending is not None:
                raise ending
            return 0

        loop.run = run
        child.become(order(folder), asyncio.Runner())
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    found = trees.pids(folder, hidden=True)
    try:
        assert status == code
        assert trees.living(found) == []
    finally:
        trees.end(found)


def test_a_turn_for_which_there_is_no_memory_fails_and_says_so_and_the_worker_leaves(folder: Path):
    said: list[tuple[bytes, m.WorkerSays]] = []
    decoder: Decoder = Decoder(m.WorkerSays)

    async def story() -> tuple[m.Reply, Reaped]:
        router = Router(folder / "workers.sock", lambda peer, frame: said.append((peer, decoder.decode(frame))))

        async def said_by_worker(kind: type) -> tuple[bytes, m.WorkerSays]:
            return await until(lambda: next((pair for pair in said if isinstance(pair[1], kind)), None))

        with zygote(probes.zygote_with_a_hungry_model) as channel:
            await asyncio.to_thread(heard, channel)
            limited = msgspec.structs.replace(order(folder), endpoint=router.endpoint, data_bytes=256 << 20)
            channel.send(encode(limited))
            await asyncio.to_thread(heard, channel)
            peer, _ = await said_by_worker(m.Hello)
            router.send(peer, encode(m.Welcome(boot=1, name="a", type="debug", system=None)))
            await said_by_worker(m.RestoreWanted)
            router.send(peer, encode(m.Restore(snapshot=None, rows=[], more=False)))
            router.send(peer, encode(m.Deliver(seq=1, text="hello")))
            await said_by_worker(m.EndpointWanted)
            endpoint = m.Endpoint(
                provider="openai", base_url="", model="", api_key=None, context_tokens=None, max_output_tokens=None
            )
            router.send(peer, encode(endpoint))
            _, reply = await said_by_worker(m.Reply)
            router.send(peer, encode(m.Rack(turn_id=reply.turn_id)))
            reaped = await asyncio.to_thread(heard, channel)
        router.close()
        return reply, reaped

    reply, reaped = asyncio.run(asyncio.wait_for(story(), 60))

    assert (reply.stop_reason, reply.text, reply.error.code) == ("failed", "so far ", "memory.exhausted")
    assert reaped.status == EXIT_NO_MEMORY
