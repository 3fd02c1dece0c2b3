"""Logs: one shape for all processes, a JSON document a line. Constant message, facts as fields.

The user's words never appear above DEBUG. A newline in a field cannot forge a line: JSON escapes it.
"""

import contextlib
import json
import logging
import os
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

# Each log and, behind it, so many predecessors: LOG.1 is the younger.
LOG_BYTES, PREDECESSORS = 5 << 20, 2

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """A record as one JSON line: time, level, process, message, fields."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "at": round(record.created, 3),
            "level": record.levelname,
            "process": self._process,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=repr)


class BoundedFile(RotatingFileHandler):
    """A log of bounded size that survives a full disk: what was not written is lost, the next line opens it again."""

    def _open(self) -> TextIOWrapper:
        """Open it; behind half a line, which a full disk or a death has left, begin another."""
        stream = super()._open()
        with Path(self.baseFilename).open("rb") as file:
            if file.seek(0, os.SEEK_END) and (file.seek(-1, os.SEEK_END), file.read())[1] != b"\n":
                stream.write(self.terminator)
        return stream

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Let go of a file that cannot be written, or was closed half-way through a rotation."""
        del record
        stream, self.stream = self.stream, None
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.close()


def log_to(path: Path, process: str) -> None:
    """Send this process's log to a file of bounded size; a log that cannot be written never stops the process."""
    logging.raiseExceptions = False
    log_nowhere()
    root = logging.getLogger()
    # Opened by the first line: a worker that has nothing to tell does not touch the disk.
    handler = BoundedFile(path, maxBytes=LOG_BYTES, backupCount=PREDECESSORS, encoding="utf-8", delay=True)
    handler.setFormatter(JsonLines(process))
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def log_nowhere() -> None:
    """Take back what ``log_to`` set up."""
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
