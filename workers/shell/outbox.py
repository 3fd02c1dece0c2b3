"""What must outlive this worker, on disk before anybody acts on it; the format is in ``protocol.outbox``."""

import contextlib
import os
from pathlib import Path

from protocol.failpoints import hit, is_armed
from protocol.outbox import Record, record


class Outbox:
    """One worker's file. It is made with the first record.

    Args:
        path: where; the folder is made when it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._size = 0

    def append(self, message: Record) -> None:
        """Note a message; when this returns it survives the death of this process and of the machine.

        Raises:
            OSError: the disk did not take it; what was noted before is as it was.
        """
        data = memoryview(record(message))
        descriptor = self._open()
        try:
            written = os.pwrite(descriptor, data[: len(data) // 2], self._size) if is_armed() else 0
            hit("outbox.torn")
            while written < len(data):
                written += os.pwrite(descriptor, data[written:], self._size + written)
            hit("outbox.written")
            os.fdatasync(descriptor)
        except OSError:
            # A torn record would hide what is written behind it.
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, self._size)
            raise
        self._size += len(data)

    def trim(self) -> None:
        """Forget everything: it is committed. Finding it again would do no harm, so nothing is synced."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            self._size = 0

    def close(self) -> None:
        """Leave the file to the coordinator."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self._path, flags, 0o600)
            self._size = 0
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return self._descriptor
