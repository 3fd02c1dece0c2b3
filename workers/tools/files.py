"""The tools that read and write files. Paths were resolved and judged before; what is opened is a file or a folder.

Everything is read in slices with the loop's other work between them, so that a heartbeat is never late.
"""

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from protocol.limits import TOOL_OUTPUT_BYTES
from workers.tools.output import Output

SLICE_BYTES = 256 << 10
# Of a larger file search looks at the beginning.
SEARCH_FILE_BYTES = 4 << 20
SEARCH_FILES = 20_000
MATCHES = 500
LINE_CHARS = 400
ENTRIES = 2_000


class ToolFailed(Exception):
    """The tool did not do it; the model is told this sentence."""


async def read_file(path: Path) -> str:
    """Return a file's text, the beginning of it when it is large."""
    output = Output()
    with _opened(path) as file:
        size = os.fstat(file).st_size
        while output.size_bytes <= TOOL_OUTPUT_BYTES and (data := os.read(file, SLICE_BYTES)):
            output.add(data)
            await asyncio.sleep(0)
        output.size_bytes = max(output.size_bytes, size)
    return output.text()


async def list_directory(path: Path) -> str:
    """Return a folder's entries, one a line: kind, size, name."""
    lines: list[tuple[str, str]] = []
    try:
        with os.scandir(path) as entries:
            for n, entry in enumerate(entries):
                if n == ENTRIES:
                    lines.append(("\uffff", f"[… more than {ENTRIES} entries]"))
                    break
                lines.append((entry.name, _line(entry)))
                if n % 100 == 0:
                    await asyncio.sleep(0)
    except OSError as error:
        raise ToolFailed(f"{path} cannot be listed: {error.strerror}.") from error
    return "\n".join(line for _, line in sorted(lines)) or "(empty)"


def _line(entry: "os.DirEntry[str]") -> str:
    with contextlib.suppress(OSError):
        facts = entry.stat(follow_symlinks=False)
        kind = "link" if entry.is_symlink() else "dir " if stat.S_ISDIR(facts.st_mode) else "file"
        return f"{kind} {facts.st_size:>10} {entry.name}"
    return f"gone {0:>10} {entry.name}"


async def search_text(pattern: str, path: Path) -> str:
    """Return the lines that hold the pattern, as it stands, in a file or in all files below a folder."""
    found: list[str] = []
    searched = 0
    async for file in _files(path):
        searched += 1
        for number, line in enumerate(await _lines(file), 1):
            if pattern in line:
                found.append(f"{file}:{number}: {line.strip()[:LINE_CHARS]}")
                if len(found) == MATCHES:
                    return "\n".join([*found, f"[… the first {MATCHES} matches]"])
        if searched == SEARCH_FILES:
            found.append(f"[… the first {SEARCH_FILES} files]")
            break
    return "\n".join(found) or f"No line holds that, in {searched} files."


async def _files(path: Path) -> AsyncIterator[Path]:
    if not os.path.isdir(path):  # noqa: ASYNC240, PTH112 - a look, not a wait
        yield path
        return
    for folder, folders, names in os.walk(path):  # links to folders are not followed
        folders[:] = sorted(name for name in folders if name != ".git")
        for name in sorted(names):
            file = Path(folder) / name
            if not file.is_symlink():
                yield file
        await asyncio.sleep(0)


async def _lines(file: Path) -> list[str]:
    with contextlib.suppress(OSError, ToolFailed), _opened(file) as descriptor:
        text = bytearray()
        while len(text) < SEARCH_FILE_BYTES and (data := os.read(descriptor, SLICE_BYTES)):
            if b"\0" in data:
                return []  # no text
            text += data
            await asyncio.sleep(0)
        return text.decode(errors="replace").splitlines()
    return []


def write_file(path: Path, text: str) -> str:
    """Replace a file's text, whole or not at all; the folder must be there."""
    data = text.encode(errors="replace")
    scratch = path.with_name(f".{path.name[:200]}.{os.getpid()}.chat-coord")
    try:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666 & ~_umask()
        if path.exists() and not path.is_file():
            raise ToolFailed(f"{path} is no regular file.")
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            scratch.chmod(mode)
            scratch.replace(path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ToolFailed(f"{path} cannot be written: {error.strerror}.") from error
    return f"{len(data)} bytes are written to {path}."


def _umask() -> int:
    now = os.umask(0o077)
    os.umask(now)
    return now


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open a regular file; a pipe or device would keep the reader for ever."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise ToolFailed(f"{path} cannot be read: {error.strerror}.") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ToolFailed(f"{path} is no regular file.")
        yield descriptor
    finally:
        os.close(descriptor)
