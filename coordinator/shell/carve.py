"""Rows read from the pages of a database without its trees: what is left when a page that leads to others is damaged.

Our tables have no row ids, so every row stands as an index record on a page of its own kind. The format is that of
https://sqlite.org/fileformat2.html, sections 1.5, 1.6, 2.1 and 4.
"""

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from protocol.ids import is_id

USUAL_PAGE_BYTES = 4_096
LEAF, INTERIOR = 0x0A, 0x02
LOG_HEADER_BYTES, FRAME_HEADER_BYTES, FILE_HEADER_BYTES = 32, 24, 100
MESSAGE = (
    *("session", "seq", "role", "text", "idem", "reply_to", "turn_id", "stop_reason", "error"),
    *("input_tokens", "output_tokens", "at"),
)
SESSION = (
    *("id", "name", "number", "type", "model", "system", "cwd", "env", "epoch", "token_sha256", "pid", "start_ticks"),
    *("closed", "failed", "unread", "exit_card", "created_at", "last_active_at"),
)
# Session, what is unique in it, and the message: an entry of an index over messages.
INDEX_COLUMNS = 3
# Bytes of an integer by its serial type.
INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
NULL, FLOAT, ZERO, ONE, FIRST_BLOB = 0, 7, 8, 9, 12


class Carver:
    """Every row of ours on any page of a database and its log.

    ``sessions`` are their rows by id; ``last`` is the highest message of each that any index knows.

    Args:
        path: the database.

    Raises:
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = path.stat().st_size if path.exists() else 0  # its log may be left
        head = self._read(0, FILE_HEADER_BYTES)
        (size,) = struct.unpack(">H", head[16:18].rjust(2, b"\0"))
        self._page_bytes = size if size >= 512 and size & (size - 1) == 0 else USUAL_PAGE_BYTES  # noqa: PLR2004
        self._newer = self._read_log()
        self._where: dict[tuple[str, int], tuple[int, int]] = {}
        self.sessions: dict[str, dict[str, Any]] = {}
        self.last: dict[str, int] = {}
        for number in sorted({*range(1, self._size // self._page_bytes + 1), *self._newer}):
            self._look_at(number)

    def seqs(self, session: str) -> list[int]:
        """Return the messages of a session that were found."""
        return [seq for key, seq in self._where if key == session]

    def message(self, session: str, seq: int) -> dict[str, Any] | None:
        """Return a message, None when it was not found."""
        where = self._where.get((session, seq))
        return None if where is None else dict(zip(MESSAGE, self._record(*where), strict=False))

    def ids(self) -> set[str]:
        """Return every session that has a row or a message."""
        return {*self.sessions, *(session for session, _ in self._where)}

    # ---- pages

    def _read_log(self) -> dict[int, bytes]:
        """Return the last version of each page that stands in the log."""
        pages: dict[int, bytes] = {}
        with contextlib.suppress(OSError), self._path.with_name(self._path.name + "-wal").open("rb") as log:
            log.seek(LOG_HEADER_BYTES)
            while len(frame := log.read(FRAME_HEADER_BYTES + self._page_bytes)) > FRAME_HEADER_BYTES:
                pages[int.from_bytes(frame[:4], "big")] = frame[FRAME_HEADER_BYTES:].ljust(self._page_bytes, b"\0")
        return pages

    def _page(self, number: int) -> bytes:
        if number in self._newer:
            return self._newer[number]
        return self._read((number - 1) * self._page_bytes, self._page_bytes)

    def _read(self, at: int, count: int) -> bytes:
        if at >= self._size:
            return b""
        with self._path.open("rb") as file:
            file.seek(at)
            return file.read(count)

    def _look_at(self, number: int) -> None:
        page = self._page(number)
        if not page or page[0] not in {LEAF, INTERIOR}:
            return
        begin = 8 if page[0] == LEAF else 12
        count = int.from_bytes(page[3:5], "big")
        for i in range(min(count, len(page) // 4)):
            offset = int.from_bytes(page[begin + 2 * i : begin + 2 * i + 2], "big")
            with contextlib.suppress(ValueError, IndexError, struct.error, OSError):
                self._take(number, offset + (0 if page[0] == LEAF else 4))

    def _take(self, page: int, offset: int) -> None:
        values = list(self._record(page, offset))
        key = values[0] if values else None
        if not isinstance(key, str) or not is_id(key):
            return
        if len(values) == INDEX_COLUMNS and isinstance(values[2], int):
            self.last[key] = max(self.last.get(key, 0), values[2])
        if len(values) < len(MESSAGE):
            return
        if len(values) >= len(SESSION) and isinstance(values[8], int):
            known = self.sessions.get(key)
            if known is None or known["epoch"] <= values[8]:  # an older version may stand on a page that was freed
                self.sessions[key] = dict(zip(SESSION, values, strict=False))
        elif values[2] in {"user", "assistant"} and isinstance(values[1], int) and isinstance(values[3], str):
            self._where[key, values[1]] = (page, offset)

    # ---- records

    def _record(self, number: int, offset: int) -> Iterator[Any]:
        """Yield the values of the record at a cell; raises ValueError or IndexError where there is none."""
        page = self._page(number)
        size, at = _varint(page, offset)
        if not 0 < size <= 1 << 26:
            raise ValueError("no record has this size")
        data = self._payload(page, at, size)
        head, at = _varint(data, 0)
        body = head
        while at < head:
            kind, at = _varint(data, at)
            value, body = _value(data, kind, body)
            yield value

    def _payload(self, page: bytes, at: int, size: int) -> bytes:
        """Return a record, gathered from its overflow pages."""
        usable = self._page_bytes
        most = (usable - 12) * 64 // 255 - 23
        if size <= most:
            return page[at : at + size]
        least = (usable - 12) * 32 // 255 - 23
        local = least + (size - least) % (usable - 4)
        local = local if local <= most else least
        parts, left = [page[at : at + local]], size - local
        following = int.from_bytes(page[at + local : at + local + 4], "big")
        while left > 0:
            page = self._page(following) if following else b""
            if len(page) < 4:  # noqa: PLR2004 - the number of the next page
                raise ValueError("it breaks off")
            parts.append(page[4 : 4 + left])
            left -= len(parts[-1])
            following = int.from_bytes(page[:4], "big")
        return b"".join(parts)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of 1 to 9 bytes, and where the next thing begins."""
    value = 0
    for i in range(8):
        byte = data[at + i]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:  # noqa: PLR2004 - the mark of the last byte
            return value, at + i + 1
    return value << 8 | data[at + 8], at + 9


def _value(data: bytes, kind: int, at: int) -> tuple[Any, int]:
    """Return a value by its serial type, and where the next one begins."""
    if kind in {NULL, ZERO, ONE}:
        return {NULL: None, ZERO: 0, ONE: 1}[kind], at
    size = 8 if kind == FLOAT else INTEGERS[kind] if kind in INTEGERS else (kind - FIRST_BLOB) // 2
    raw = data[at : at + size]
    if size < 0 or len(raw) < size:
        raise ValueError("it breaks off")
    value: Any = raw
    if kind == FLOAT:
        (value,) = struct.unpack(">d", raw)
    elif kind in INTEGERS:
        value = int.from_bytes(raw, "big", signed=True)
    elif kind % 2:
        value = raw.decode(errors="replace")
    return value, at + size
