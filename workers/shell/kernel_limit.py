"""The kernel's own bound on a worker's memory, for what grows faster than the coordinator looks (RLIMIT_DATA).

What counts is what the process may write to and nobody else sees, whether it is used or not, so the bound lies above
``memory_hard_bytes``: whoever grows slowly is killed by the coordinator, with the numbers. Only the soft limit is set:
children inherit it, and whoever starts one takes it away again, because tools have a limit of their own.
"""

import contextlib
import os
import resource

STATUS_BYTES = 8192


def limit_own_data(more_bytes: int) -> None:
    """Let this process grow by so much from now on; beyond it an allocation is a MemoryError. 0: no limit."""
    if more_bytes:
        with contextlib.suppress(OSError, ValueError):
            _, most = resource.getrlimit(resource.RLIMIT_DATA)
            wanted = data_bytes() + more_bytes
            resource.setrlimit(resource.RLIMIT_DATA, (_least(wanted, most), most))


def free_child(pid: int) -> None:
    """Take the limit that a child inherited from it."""
    with contextlib.suppress(OSError, ValueError):
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.prlimit(pid, resource.RLIMIT_DATA, (most, most))


def data_bytes() -> int:
    """Return what the kernel counts of this process now.

    Raises:
        OSError, ValueError: this system does not say.
    """
    status = os.open("/proc/self/status", os.O_RDONLY)  # plainly: what a new worker touches, it owns
    try:
        _, found, behind = os.read(status, STATUS_BYTES).partition(b"VmData:")
    finally:
        os.close(status)
    if not found:
        raise ValueError("there is no VmData")
    return int(behind.split(None, 1)[0]) << 10


def _least(wanted: int, most: int) -> int:
    return wanted if most == resource.RLIM_INFINITY else min(wanted, most)
