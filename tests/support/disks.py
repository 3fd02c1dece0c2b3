"""Small disks, where this machine lets us mount one."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[None]:
    """Mount a disk of that size on a folder, private to the user; skips the test where that is not allowed."""
    folder.mkdir(mode=0o700, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=700", "tmpfs", folder],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", folder], check=True)


def fill(path: Path) -> None:
    """Take all the room that is left on the disk of a path."""
    block = b"\0" * 65_536
    with path.open("wb", buffering=0) as file:
        while block:
            try:
                file.write(block)
            except OSError:  # no room for a block of this size: smaller ones may fit
                block = block[: len(block) // 2]
