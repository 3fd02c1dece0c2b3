"""Logs in the home, as ``logs`` shows them: lines of JSON (``protocol.logs``), and what was said on standard error.

A session's lines are its worker's own and the coordinator's that are about it, by time. Lines of standard error carry
no time, so they are not mixed among them: the file that was written last comes last. The files belong to the session,
not to its worker, so they are there after a crash and after `close`.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protocol.logs import PREDECESSORS
from protocol.paths import Home

# What stands at the front of a line, or is said by it.
LEADING = {"source", "at", "level", "process", "message", "traceback"}
NOTHING: dict[str, Any] = dict.fromkeys(("at", "level", "process", "boot", "session", "turn"))
BLOCK_BYTES = 64 << 10
# A line longer than this is shown in pieces.
LINE_BYTES = 1 << 20

Entry = dict[str, Any]


def _any(entry: Entry) -> bool:
    del entry
    return True


@dataclass
class LogFile:
    """One file, and how far it was read. Of one with lines that are not wanted all is looked through."""

    path: Path
    is_stderr: bool
    offset: int = 0
    inode: int = 0
    is_wanted: Callable[[Entry], bool] = field(default=_any)

    def tail(self, count: int) -> list[Entry]:
        """Return the last lines, of its predecessors too when it has just been begun anew, and stand behind them."""
        lines, self.offset, self.inode = _last_lines(self.path, count if self.is_wanted is _any else None)
        found = self._wanted(lines)
        for n in range(1, PREDECESSORS + 1):
            if len(found) < count:
                older = self.path.with_name(f"{self.path.name}.{n}")
                wanted = None if self.is_wanted is not _any else count - len(found)
                found = self._wanted(_last_lines(older, wanted)[0]) + found
        return found[-count:] if count else []

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
        return self._wanted(raw[:end].splitlines())

    @property
    def changed_at(self) -> float:
        """When it was written last; 0 when it is not there."""
        try:
            return self.path.stat().st_mtime
        except OSError:
            return 0.0

    def _wanted(self, lines: list[bytes]) -> list[Entry]:
        return [entry for entry in map(self._entry, lines) if self.is_wanted(entry)]

    def _entry(self, line: bytes) -> Entry:
        text = line.decode(errors="replace")
        if self.is_stderr:
            return {"source": "stderr", **NOTHING, "message": text}
        try:
            document = json.loads(text)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            document = {"message": text}
        return {"source": "log", **NOTHING, "message": "", **document}


def _last_lines(path: Path, count: int | None) -> tuple[list[bytes], int, int]:
    """Return the last lines of a file (None: all), its size, and its inode; of one that is not there, nothing."""
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            begin, raw = facts.st_size, b""
            while begin > 0 and (count is None or raw.count(b"\n") <= count):
                step = begin if count is None else min(BLOCK_BYTES, begin)
                begin -= step
                file.seek(begin)
                raw = file.read(step) + raw
    except OSError:
        return [], 0, 0
    lines = raw.splitlines()
    return lines if count is None else lines[-count:] if count else [], begin + len(raw), facts.st_ino


def of_session(home: Home, session: str, is_wanted: Callable[[Entry], bool] | None = None) -> list[LogFile]:
    """Return the files with a session's lines; ``is_wanted`` is asked of lines that say whose they are."""
    wanted = is_wanted or _any
    files = [
        LogFile(home.logs / f"{session}.jsonl", is_stderr=False, is_wanted=wanted),
        LogFile(home.coordinator_log, is_stderr=False, is_wanted=lambda e: e["session"] == session and wanted(e)),
    ]
    if is_wanted is None:  # standard error does not say which turn or coordinator it is of
        files.append(LogFile(home.logs / f"{session}.stderr", is_stderr=True))
    return files


def of_coordinator(home: Home, is_wanted: Callable[[Entry], bool] | None = None) -> list[LogFile]:
    """Return the files with the coordinator's own lines."""
    files = [LogFile(home.coordinator_log, is_stderr=False, is_wanted=is_wanted or _any)]
    if is_wanted is None:
        files.append(LogFile(home.logs / "coordinator.stderr", is_stderr=True))
    return files


def last(files: list[LogFile], count: int) -> list[Entry]:
    """Return the last lines of logs, by time, and of standard error; whichever was written last comes last."""
    logs = [file for file in files if not file.is_stderr]
    errors = [file for file in files if file.is_stderr]
    lines = by_time(file.tail(count) for file in logs)
    said = [entry for file in errors for entry in file.tail(count)]
    is_error_newer = max((f.changed_at for f in errors), default=0) >= max(f.changed_at for f in logs)
    lines = lines[-count:] if count else []
    return lines + said if is_error_newer else said + lines


def by_time(files: Iterable[list[Entry]]) -> list[Entry]:
    """Return lines of several files by time; one without a time stays behind the one before it."""
    placed: list[tuple[float, Entry]] = []
    for entries in files:
        at = 0.0
        for entry in entries:
            if isinstance(entry["at"], int | float):
                at = max(at, float(entry["at"]))
            placed.append((at, entry))
    return [entry for _, entry in sorted(placed, key=lambda pair: pair[0])]


def ids_with_logs(home: Home, prefix: str) -> list[str]:
    """Return the ids that begin so and have a log; for when nobody knows the names."""
    return sorted({path.stem for path in _paths(home) if path.stem.startswith(prefix)})


def _paths(home: Home) -> Iterator[Path]:
    """Yield the files of sessions; a worker that had nothing to tell has only that of its standard error."""
    yield from home.logs.glob("*.jsonl")
    yield from (path for path in home.logs.glob("*.stderr") if path.stem != "coordinator")


def entry_text(entry: Entry, known: str | None = None) -> str:
    """Return a line of a log for people; it still has to be cleaned. ``known``: the session that need not be named."""
    if entry["source"] == "stderr":
        return f"stderr: {entry['message']}"
    at = entry["at"]
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if isinstance(at, int | float) else "?"
    hidden = LEADING | {key for key in NOTHING if entry[key] is None} | ({"boot", "epoch"} if known else set())
    fields = "".join(
        f" {key}={value}" for key, value in entry.items() if key not in hidden and (key, value) != ("session", known)
    )
    who = f"{entry['process']}: " if entry["process"] else ""
    return f"{when} {entry['level'] or '?'} {who}{entry['message']}{fields}"
