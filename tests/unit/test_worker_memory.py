"""A worker's own side of memory: the kernel's limit, orphans, and why its tools were ended."""

import asyncio
import os
import resource
import subprocess
import sys
import time
import traceback

from protocol.processes import adopt_orphans, children_of
from tests.support.product import wait_for
from workers.shell import children
from workers.shell.children import Children
from workers.shell.kernel_limit import data_bytes, free_child, limit_own_data

MIB = 1 << 20


def in_a_child(story) -> int:
    """Run something in a process of its own; returns its exit code."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(story())
        except BaseException:  # noqa: BLE001 - the code says it
            traceback.print_exc()
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# ---- the kernel's limit


# In an interpreter of its own: one that has had much may have kept so much that nothing has to be asked of the kernel.
GREEDY = """
import sys
from workers.shell.kernel_limit import limit_own_data
limit_own_data(64 << 20)
fits = bytearray(40 << 20)
try:
    bytearray(40 << 20)
except MemoryError:
    sys.exit(12)
"""


def test_beyond_its_limit_an_allocation_is_a_memory_error():
    assert subprocess.run([sys.executable, "-c", GREEDY], check=False, timeout=60).returncode == 12


def test_without_a_limit_there_is_none():
    def story() -> int:
        limit_own_data(0)
        return int(resource.getrlimit(resource.RLIMIT_DATA) != resource.getrlimit(resource.RLIMIT_DATA)[::-1])

    assert in_a_child(story) == 0


def test_the_limit_is_above_what_the_process_has_and_only_the_soft_one():
    def story() -> int:
        before, (_, most) = data_bytes(), resource.getrlimit(resource.RLIMIT_DATA)
        limit_own_data(64 * MIB)
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        return 0 if hard == most and soft >= before + 64 * MIB else 1

    assert in_a_child(story) == 0


def test_a_tool_does_not_keep_the_limit_that_it_inherited():
    def story() -> int:
        limit_own_data(64 * MIB)
        code = "import sys, resource; sys.stdin.read(); print(resource.getrlimit(resource.RLIMIT_DATA)[0])"
        with subprocess.Popen(
            [sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as tool:
            free_child(tool.pid)
            said, _ = tool.communicate("")
        return 0 if int(said) == resource.getrlimit(resource.RLIMIT_DATA)[1] else 1

    assert in_a_child(story) == 0


# ---- orphans


def test_an_orphan_below_a_worker_becomes_its_child_and_is_let_go_when_it_is_dead(monkeypatch):
    monkeypatch.setattr(children, "ORPHAN_S", 0.05)

    def story() -> int:
        adopt_orphans()
        own = subprocess.Popen(["sleep", "600"])
        code = "import os, time\nif os.fork() == 0: time.sleep(0.2)\n"
        subprocess.run([sys.executable, "-S", "-c", code], check=True)
        wait_for(lambda: len(children_of(os.getpid())) == 2, 10)

        async def reap() -> None:
            known = Children()
            deadline_s = time.monotonic() + 10
            while len(children_of(os.getpid())) > 1 and time.monotonic() < deadline_s:
                known.reap_orphans()
                await asyncio.sleep(0.02)

        asyncio.run(reap())
        left = children_of(os.getpid())
        own.kill()
        return 0 if left == [own.pid] and own.wait() == -9 else 1

    assert in_a_child(story) == 0


def test_a_child_that_somebody_waits_for_is_not_taken_from_him():
    async def story() -> int:
        known = Children()
        process = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", "raise SystemExit(7)")
        for _ in range(50):
            known.reap_orphans()
            await asyncio.sleep(0.01)
        return await process.wait()

    assert asyncio.run(story()) == 7


# ---- why tools were ended


def test_the_reason_may_come_before_or_just_after_the_death_of_the_tool_and_is_told_once():
    async def story() -> list[str | None]:
        known = Children()
        known.ended("too large")
        told = [await known.take_reason(0.01), await known.take_reason(0.01)]
        asyncio.get_running_loop().call_later(0.02, known.ended, "again")
        return [*told, await known.take_reason(2), known.ended_because]

    assert asyncio.run(story()) == ["too large", None, "again", None]
