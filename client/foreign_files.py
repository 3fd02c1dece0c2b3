"""Files of other programs, found and read within bounds. Nothing is followed out of the folder that was given."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from client.core.foreign import chatgpt, claude_code, codex
from client.core.foreign.turns import Conversation
from protocol.errors import ChatCoordError

FILE_BYTES = 256 << 20
LINE_BYTES = 16 << 20
FILES = 20_000
# Which files of a folder are conversations, as the programs name them.
NAMES = {"claude-code": "*.jsonl", "codex": "rollout-*.jsonl", "chatgpt": "conversations*.json"}
PROGRAMS = tuple(NAMES)

Problem = tuple[Path, str]


class ImportRefused(ChatCoordError):
    """What was given cannot be read as a conversation."""

    code = "import.refused"


def read(program: str, path: Path, problems: list[Problem]) -> Iterator[Conversation]:
    """Yield the conversations of another program.

    Args:
        program: one of PROGRAMS.
        path: a file of its own, or a folder with such files, also further down.
        problems: gets the files that could not be read, and why.

    Raises:
        ImportRefused: there is nothing that can be read.
    """
    files = _find(program, path)
    for file in files:
        try:
            yield from _conversations(program, file, problems)
        except ImportRefused as error:
            if file == path:
                raise
            problems.append((file, error.message))


def contents(path: Path) -> bytes:
    """Return a plain file of bounded size.

    Raises:
        ImportRefused: it is none, or cannot be read.
    """
    with _opened(path) as file:
        return file.read(FILE_BYTES + 1)[:FILE_BYTES]


def _conversations(program: str, file: Path, problems: list[Problem]) -> Iterator[Conversation]:
    if program == "chatgpt":
        try:
            found = list(chatgpt.parse(contents(file)))
        except chatgpt.NoExport as error:
            raise ImportRefused(f"{file} is no export of ChatGPT: {error}.") from error
        broken = sum(conversation is None for conversation in found)
        if broken:
            problems.append((file, f"{broken} entries are no conversations"))
        yield from (conversation for conversation in found if conversation is not None)
        return
    parse: Callable[[Iterator[bytes | None], str], Conversation] = (
        claude_code.parse if program == "claude-code" else codex.parse
    )
    with _opened(file) as lines:
        yield parse(_lines(lines), file.stem)


def _find(program: str, path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found: list[Path] = []
    for folder, _, names in os.walk(path):  # links to folders are not followed
        inside = (Path(folder) / name for name in names)
        found += [file for file in inside if file.match(NAMES[program]) and not file.is_symlink()]
        if len(found) > FILES:
            raise ImportRefused(f"{path} has more than {FILES} conversations.", hint="Give a folder further down.")
    if not found:
        raise ImportRefused(f"{path} has no file {NAMES[program]}.", hint=f"Is that where {program} keeps its chats?")
    return sorted(found)


def _opened(path: Path) -> BinaryIO:
    """Open a plain file; a link, a pipe or a device is refused, and nothing waits for it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        is_link = path.is_symlink()
        why = "it is a symbolic link" if is_link else error.strerror
        raise ImportRefused(f"{path} cannot be read: {why}.", hint="Give a plain file that you may read.") from error
    facts = os.fstat(descriptor)
    why = ""
    if not stat.S_ISREG(facts.st_mode):
        why = "it is no plain file"
    elif facts.st_size > FILE_BYTES:
        why = f"it has {facts.st_size} bytes, and {FILE_BYTES} are allowed"
    if why:
        os.close(descriptor)
        raise ImportRefused(f"{path} cannot be read: {why}.", hint="Give a plain file that you may read.")
    return os.fdopen(descriptor, "rb")


def _lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Yield each line, None for one that is too long."""
    is_long = False
    while line := file.readline(LINE_BYTES):
        is_whole = line.endswith(b"\n") or len(line) < LINE_BYTES
        if is_whole:
            yield None if is_long else line
        is_long = not is_whole
    if is_long:
        yield None
