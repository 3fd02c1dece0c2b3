"""Logs: one shape for all processes, a JSON document a line. Constant message, facts as fields.

The user's words never appear above DEBUG. A newline in a field cannot forge a line: JSON escapes it.
"""

import json
import logging
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


def log_to(path: Path, process: str) -> None:
    """Send this process's log to a file of bounded size; a log that cannot be written never stops the process."""
    logging.raiseExceptions = False
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    handler: logging.Handler
    try:
        handler = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=PREDECESSORS, encoding="utf-8")
    except OSError:
        handler = logging.NullHandler()
    handler.setFormatter(JsonLines(process))
    root.addHandler(handler)
    root.setLevel(logging.INFO)
