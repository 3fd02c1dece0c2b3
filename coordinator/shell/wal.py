"""Whether a write-ahead log holds anything, by https://sqlite.org/fileformat2.html, section 4.

SQLite deletes a log that holds nothing when its last reader leaves, also one that holds nothing because it is damaged.
What must not be touched is therefore opened with its log only when there is a whole commit in it.
"""

import struct
import sys
from array import array
from pathlib import Path

HEADER, FRAME_HEADER = struct.Struct(">8I"), struct.Struct(">6I")
MAGIC = 0x377F0682
WORD = 0xFFFFFFFF


def has_commit(log: Path) -> bool:
    """Say whether the log begins with a whole transaction; False when there is no log."""
    try:
        with log.open("rb") as file:
            raw = file.read(HEADER.size)
            if len(raw) < HEADER.size:
                return False
            magic, _, page_bytes, _, *salts, first, second = HEADER.unpack(raw)
            is_big = bool(magic & 1)
            sums = _checksum(raw[:24], (0, 0), is_big=is_big)
            if magic & ~1 != MAGIC or sums != (first, second) or not 0 < page_bytes <= 1 << 16:
                return False
            while len(frame := file.read(FRAME_HEADER.size + page_bytes)) == FRAME_HEADER.size + page_bytes:
                _, commit, salt, other, first, second = FRAME_HEADER.unpack(frame[: FRAME_HEADER.size])
                sums = _checksum(frame[:8] + frame[FRAME_HEADER.size :], sums, is_big=is_big)
                if [salt, other] != salts or sums != (first, second):
                    return False
                if commit:
                    return True
    except OSError:
        pass
    return False


def commits_behind(log: Path, whole: int) -> int:
    """Return how many transactions end behind the frames that SQLite reads: there is damage before them.

    After a kill there are none, since a frame is written when all before it are, and one that is cut was being written.
    After the loss of power there may be the last one, which nobody was promised.

    Args:
        log: the write-ahead log.
        whole: how many of its frames SQLite reads.
    """
    found = 0
    try:
        with log.open("rb") as file:
            raw = file.read(HEADER.size)
            if len(raw) < HEADER.size:
                return 0
            magic, _, page_bytes, _, *salts, first, second = HEADER.unpack(raw)
            is_good = magic & ~1 == MAGIC and _checksum(raw[:24], (0, 0), is_big=bool(magic & 1)) == (first, second)
            at = HEADER.size + whole * (FRAME_HEADER.size + page_bytes)
            end = log.stat().st_size
            while 0 < page_bytes <= 1 << 16 and at + FRAME_HEADER.size + page_bytes <= end:
                file.seek(at)
                head = file.read(FRAME_HEADER.size)
                _, commit, salt, other, _, _ = FRAME_HEADER.unpack(head)
                found += bool(commit) and ([salt, other] == salts or not is_good)
                at += FRAME_HEADER.size + page_bytes
    except OSError:
        pass
    return found


def _checksum(data: bytes, sums: tuple[int, int], *, is_big: bool) -> tuple[int, int]:
    words = array("I", data)
    if is_big != (sys.byteorder == "big"):
        words.byteswap()
    first, second = sums
    for i in range(0, len(words), 2):
        first = (first + words[i] + second) & WORD
        second = (second + words[i + 1] + first) & WORD
    return first, second
