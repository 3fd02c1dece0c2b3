"""What the operating system says about processes: the only door to psutil."""

import asyncio
import resource
from collections.abc import Callable, Iterable

import psutil

from coordinator.core.events import DescriptorsCounted, MemorySampled
from protocol.views import Memory

# Reading USS walks the process's page tables: 1 to 3 ms for a worker, so each is read every SAMPLE_S, one by one.
SAMPLE_S = 5.0


def memory_of(pid: int) -> Memory:
    """Return the process's memory in bytes; None where it cannot be read any more."""
    try:
        facts = psutil.Process(pid).memory_full_info()
    except psutil.Error:
        return Memory()
    return Memory(uss_bytes=facts.uss, rss_bytes=facts.rss)


def own_rss_bytes() -> int:
    """Return this process's resident memory."""
    return int(psutil.Process().memory_info().rss)


def descriptors() -> DescriptorsCounted | None:
    """Return how many file descriptors this process has open and may have; None where there is no limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return None
    return DescriptorsCounted(psutil.Process().num_fds(), limit)


async def sample_forever(
    workers: Callable[[], Iterable[tuple[str, int, int]]], post: Callable[[MemorySampled], None]
) -> None:
    """Read every worker's memory in turn, in a thread, and post what was read.

    Args:
        workers: gives session, epoch and pid of each worker that runs now.
        post: takes the event.
    """
    while True:
        for session, epoch, pid in list(workers()):
            memory = await asyncio.to_thread(memory_of, pid)
            if memory.uss_bytes is not None:
                post(MemorySampled(session, epoch, memory))
        await asyncio.sleep(SAMPLE_S)
