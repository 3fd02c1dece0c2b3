"""What `doctor --fix` does: only what cannot harm. Modes become private, files of the dead go.

Files go only while this process owns the home: no coordinator runs then, and none can begin.
"""

import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from coordinator.shell.singleton import own
from protocol.errors import ChatCoordError
from protocol.paths import Home, runtime_candidates


def close_home(home: Home) -> None:
    """Let nobody else into the folders of the home.

    Raises:
        OSError: a mode cannot be changed.
    """
    for folder in (home.root, home.logs, home.models, home.outboxes):
        _close(folder)


def close_runtime(home: Home) -> None:
    """Let nobody else to the sockets.

    Raises:
        OSError: a mode cannot be changed.
    """
    for folder in runtime_candidates(home):
        _close(folder.parent)
        _close(folder)


def _close(folder: Path) -> None:
    """Make a folder of this user private; links, and what belongs to others, are left as they are."""
    if not os.path.lexists(folder):
        return
    facts = folder.lstat()
    if stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and stat.S_IMODE(facts.st_mode) & 0o077:
        folder.chmod(0o700)


def drop_discovery(home: Home) -> None:
    """Remove what a coordinator left that was killed.

    Raises:
        OSError: a coordinator runs after all.
    """
    drop(home, [home.discovery])


def drop(home: Home, paths: Iterable[Path]) -> None:
    """Remove files and folders of processes that are dead.

    Raises:
        OSError: a coordinator runs, or one cannot be removed.
    """
    try:
        lock = own(home)
    except ChatCoordError as error:
        raise OSError(error.message.rstrip(".")) from error
    try:
        for path in paths:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    finally:
        os.close(lock)
