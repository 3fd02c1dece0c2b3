"""What processes say on standard output and error goes into files that know no bound; this keeps them within one.

A running process cannot be given another file, so what it has said is copied to a predecessor and the file is emptied
beneath it; all are opened to append. A line that is said in between may be lost. Logs of our own rotate by themselves
(``protocol.logs``).
"""

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from protocol.logs import LOG_BYTES, PREDECESSORS

EVERY_S = 30.0
PATTERNS = ("*.stderr", "zygote.log", "hooks.log", "model-*.log")

log = logging.getLogger(__name__)


def trim_all(folder: Path) -> None:
    """Bound every file in the folder of logs; what cannot be done now is tried again next time."""
    for path in _files(folder):
        try:
            if path.stat().st_size > LOG_BYTES:
                _trim(path)
        except OSError as error:  # the disk is full, or somebody deleted it: nothing stops for a log
            log.warning("log not bounded", extra={"file": path.name, "reason": str(error)})


def _files(folder: Path) -> Iterator[Path]:
    for pattern in PATTERNS:
        with contextlib.suppress(OSError):
            yield from sorted(folder.glob(pattern))


def _trim(path: Path) -> None:
    """Keep the last of what was said as a predecessor; without room for that, nothing of it.

    Raises:
        OSError: the file cannot be emptied.
    """
    try:
        for n in range(PREDECESSORS, 1, -1):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(f"{path.name}.{n - 1}").replace(path.with_name(f"{path.name}.{n}"))
        _copy_end(path, path.with_name(f"{path.name}.1"))
    finally:
        os.truncate(path, 0)


def _copy_end(path: Path, to: Path) -> None:
    with path.open("rb") as source, to.open("wb") as copy:
        to.chmod(0o600)
        source.seek(max(0, path.stat().st_size - LOG_BYTES))
        shutil.copyfileobj(source, copy)
