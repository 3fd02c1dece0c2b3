"""What is done to the zygote's memory before workers share it: its holes are filled, and it is frozen.

A worker shares every page until it writes to it. Frozen, the collector never writes to what the zygote made. But the
allocator would: it hands out the free blocks between the zygote's objects before it takes a new pool, and what loading
a few hundred modules leaves free is all over the heap. A worker that allocates some kilobytes would own a page for
every few of them: measured 1.0 MiB of 5.6.
"""

import gc
import os
import re
import sys

# A line of the table of small blocks: class, size in bytes, pools, blocks in use, blocks available.
_ROW = re.compile(rb"^ *\d+ +(\d+) +\d+ +\d+ +(\d+)$", re.MULTILINE)
_SMALLEST_BYTES_OBJECT = 48
_fillings: list[list[object]] = []


def freeze() -> int:
    """Make memory such that forks share it, and return how many objects the collector leaves alone from now on."""
    gc.collect()
    _fill_holes()
    gc.freeze()
    return gc.get_freeze_count()


def _fill_holes() -> None:
    """Take every free small block, for good (pymalloc; Objects/obmalloc.c). Another allocator has no table: nothing."""
    for size, available in _holes():
        _fillings.append([_object_of(size) for _ in range(available)])


def _object_of(size: int) -> object:
    if size >= _SMALLEST_BYTES_OBJECT:
        return bytes(size - sys.getsizeof(b""))
    return object() if size == sys.getsizeof(object()) else float(size)


def _holes() -> list[tuple[int, int]]:
    """Return (size in bytes, free blocks) of each class. The interpreter writes its table to the error stream only."""
    report, stream = os.memfd_create("heap"), os.dup(2)
    try:
        os.dup2(report, 2)
        sys._debugmallocstats()  # noqa: SLF001 - nothing else tells
        os.dup2(stream, 2)
        table = os.pread(report, 1 << 20, 0)
    finally:
        os.close(report)
        os.close(stream)
    return [(int(size), int(available)) for size, available in _ROW.findall(table)]
