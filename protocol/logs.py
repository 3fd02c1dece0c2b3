"""Logs: one shape for all processes, a JSON document a line. Constant message, facts as fields.

Every line says which process wrote it, and of which boot, session and turn it is, as far as there is one. The user's
words never appear above DEBUG: an error's text may quote them (an endpoint's answer does), so a traceback names places
and kinds alone. A newline in a field cannot forge a line: JSON escapes it.
"""

import contextlib
import json
import logging
import os
import traceback
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

# Each log and, behind it, so many predecessors: LOG.1 is the younger.
LOG_BYTES, PREDECESSORS = 5 << 20, 2

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


# Whose texts quote nobody: what the system said.
QUOTING_NOBODY = (OSError, MemoryError)
MOST_CAUSES = 8


class JsonLines(logging.Formatter):
    """A record as one JSON line: time, level, process, boot, session, turn, message, fields.

    Args:
        process: who writes.
        tells_all: whether errors are told with their texts.
        bound: what is so of every line.
    """

    def __init__(self, process: str, *, tells_all: bool = False, **bound: object) -> None:
        super().__init__()
        self._process = process
        self._tells_all = tells_all
        self.bound: dict[str, object] = {"boot": None, "session": None, "turn": None} | bound

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "at": round(record.created, 3),
            "level": record.levelname,
            "process": self._process,
        }
        line |= self.bound | {"message": record.getMessage()}
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=repr)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Return where an error came from, and its causes; its text only where nobody's words can be in it."""
        if self._tells_all:
            return super().formatException(ei)
        lines: list[str] = []
        error: BaseException | None = ei[1]
        for _ in range(MOST_CAUSES):
            if error is None:
                break
            text = f": {error}" if isinstance(error, QUOTING_NOBODY) else ""
            kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
            lines += [*traceback.format_tb(error.__traceback__), f"{kind}{text}"]
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\n".join(line.rstrip("\n") for line in lines)


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


class Sentences(logging.Formatter):
    """A record as a line for the journal: its priority as sd-daemon(3) has it, the message, the facts."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        priority = next(p for level, p in ((logging.ERROR, 3), (logging.WARNING, 4), (0, 6)) if record.levelno >= level)
        facts = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        text = record.getMessage() + "".join(f" {key}={value!r}" for key, value in facts.items())
        return f"<{priority}>{text}".replace("\n", " ")


def also_to_stderr() -> None:
    """Tell what is wrong on standard error too: whoever supervises this process keeps that, systemd in its journal."""
    handler = logging.StreamHandler()
    handler.setFormatter(Sentences())
    handler.setLevel(logging.WARNING)
    logging.getLogger().addHandler(handler)


def bind(**facts: object) -> None:
    """Say what is so of every line from now on."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, JsonLines):
            handler.formatter.bound |= facts


def log_to(path: Path, process: str, level: str = "info", **bound: object) -> None:
    """Send this process's log to a file of bounded size; a log that cannot be written never stops the process.

    Args:
        path: the file.
        process: who writes.
        level: info; or debug, with which the words of people may be in the log.
        bound: what is so of every line.
    """
    logging.raiseExceptions = False
    log_nowhere()
    root = logging.getLogger()
    # Opened by the first line: a worker that has nothing to tell does not touch the disk.
    handler = BoundedFile(path, maxBytes=LOG_BYTES, backupCount=PREDECESSORS, encoding="utf-8", delay=True)
    handler.setFormatter(JsonLines(process, tells_all=level == "debug", **bound))
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if level == "debug" else logging.INFO)


def log_nowhere() -> None:
    """Take back what ``log_to`` set up."""
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
