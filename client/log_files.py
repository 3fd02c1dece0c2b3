"""A session's two logs: what its worker wrote down (JSON lines), and what its process said on standard error.

Lines of standard error carry no time, so the two are not mixed: the file that was written last comes last. The files
belong to the session, not to its worker, so they are there after a crash and after `close`.
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocol.paths import Home

# What stands at the front of a line, or is said by it.
LEADING = {"source", "at", "level", "process", "message", "traceback"}
BLOCK_BYTES = 64 << 10
# A line longer than this is shown in pieces.
LINE_BYTES = 1 << 20

Entry = dict[str, Any]


@dataclass
class LogFile:
    """One file, and how far it was read."""

    path: Path
    is_stderr: bool
    offset: int = 0
    inode: int = 0

    def tail(self, count: int) -> list[Entry]:
        """Return the last lines, of its predecessor too when it has just been begun anew, and stand behind them."""
        lines, self.offset, self.inode = _last_lines(self.path, count)
        if len(lines) < count:
            lines = _last_lines(self.path.with_name(f"{self.path.name}.1"), count - len(lines))[0] + lines
        return [self._entry(line) for line in lines]

    def more(self) -> list[Entry]:
        """Return the whole lines that came since; a file that was begun anew is read from its beginning."""
        try:
            with self.path.open("rb") as file:
                facts = os.fstat(file.fileno())
                if facts.st_ino != self.inode or facts.st_size < self.offset:
                    self.offset, self.inode = 0, facts.st_ino
                file.seek(self.offset)
                raw = file.read(LINE_BYTES)
        except OSError:
            return []
        end = len(raw) if len(raw) == LINE_BYTES and b"\n" not in raw else raw.rfind(b"\n") + 1
        self.offset += end
        return [self._entry(line) for line in raw[:end].splitlines()]

    @property
    def changed_at(self) -> float:
        """When it was written last; 0 when it is not there."""
        try:
            return self.path.stat().st_mtime
        except OSError:
            return 0.0

    def _entry(self, line: bytes) -> Entry:
        text = line.decode(errors="replace")
        nothing: Entry = {"at": None, "level": None, "process": None}
        if self.is_stderr:
            return {"source": "stderr", **nothing, "message": text}
        try:
            document = json.loads(text)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            document = {"message": text}
        return {"source": "log", **nothing, "message": "", **document}


def _last_lines(path: Path, count: int) -> tuple[list[bytes], int, int]:
    """Return the last lines of a file, its size, and its inode; of one that is not there, nothing."""
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            begin, raw = facts.st_size, b""
            while begin > 0 and raw.count(b"\n") <= count:
                step = min(BLOCK_BYTES, begin)
                begin -= step
                file.seek(begin)
                raw = file.read(step) + raw
    except OSError:
        return [], 0, 0
    lines = raw.splitlines()
    return lines[-count:] if count else [], begin + len(raw), facts.st_ino


def files_of(home: Home, session: str) -> list[LogFile]:
    """Return a session's log files, the one that was written last at the end."""
    files = [
        LogFile(home.logs / f"{session}.stderr", is_stderr=True),
        LogFile(home.logs / f"{session}.jsonl", is_stderr=False),
    ]
    return sorted(files, key=lambda file: file.changed_at)


def ids_with_logs(home: Home, prefix: str) -> list[str]:
    """Return the ids that begin so and have a log; for when nobody knows the names."""
    return sorted({path.stem for path in _paths(home) if path.stem.startswith(prefix)})


def _paths(home: Home) -> Iterator[Path]:
    return (path for path in home.logs.glob("*.jsonl"))


def entry_text(entry: Entry) -> str:
    """Return a line of a log for people; it still has to be cleaned."""
    if entry["source"] == "stderr":
        return f"stderr: {entry['message']}"
    at = entry["at"]
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if isinstance(at, int | float) else "?"
    fields = "".join(f" {key}={value}" for key, value in entry.items() if key not in LEADING)
    return f"{when} {entry['level'] or '?'} {entry['message']}{fields}"
