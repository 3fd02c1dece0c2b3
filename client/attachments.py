"""Files for prompts: regular files of text, and images; bounded. ``@`` reaches nothing outside the session's folder."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from client.core.attaching import Prompt, image_type, mentions, with_files, without_escapes
from protocol.errors import AttachmentBad, PromptTooLarge
from protocol.limits import IMAGES, IMAGES_BYTES, PROMPT_BYTES
from protocol.messages import Image
from protocol.terminal_safe import clean_line

File = tuple[str, str | Image]


def attach(text: str, files: Sequence[File]) -> Prompt:
    """Return a prompt with files behind it.

    Raises:
        PromptTooLarge: names the sizes.
    """
    if not files:
        return Prompt(text)
    once = list(dict.fromkeys(files))
    prompt = with_files(text, once)
    size = len(prompt.encode())
    if size > PROMPT_BYTES:
        sizes = ", ".join(f"{name} {len(content.encode())}" for name, content in files if isinstance(content, str))
        words = f"With its files the prompt has {size} bytes ({sizes}); {PROMPT_BYTES} are allowed."
        raise PromptTooLarge(words, limit=PROMPT_BYTES)
    images = tuple(content for _, content in once if isinstance(content, Image))
    pixels = sum(len(image.data) for image in images)
    if len(images) > IMAGES or pixels > IMAGES_BYTES:
        words = f"The prompt has {len(images)} images of {pixels} bytes; {IMAGES} of {IMAGES_BYTES} bytes together are"
        raise PromptTooLarge(f"{words} allowed.", limit=IMAGES_BYTES, hint="Take fewer, or make them smaller.")
    return Prompt(prompt, images)


def read_files(paths: Sequence[str]) -> list[File]:
    """Return names and contents of files that a person named; a link is followed to what it means.

    Raises:
        AttachmentBad: there is none, it is no regular file, neither text nor an image.
        PromptTooLarge: it is larger than any prompt.
    """
    return [(clean_line(path), _read(Path(path).expanduser(), path)) for path in paths]


def find_files(text: str, cwd: Path) -> tuple[str, list[File]]:
    """Return a prompt without its escapes, and the files of the folder that its words name with ``@``.

    A word that names no file there is a word.

    Raises:
        AttachmentBad, PromptTooLarge: a file that it names cannot be taken along.
    """
    files: list[File] = []
    escaped = []
    for mention in mentions(text):
        for path in mention.paths:
            place = _inside(cwd, path)
            if place is None:
                continue
            if mention.is_escaped:
                escaped.append(mention)
            else:
                files.append((clean_line(path), _read(place, path)))
            break
    return without_escapes(text, escaped), files


def prompt_of(text: str, cwd: Path, files: Sequence[File] = ()) -> Prompt:
    """Return a prompt with the files that it names and these."""
    words, named = find_files(text, cwd)
    return attach(words, [*named, *files])


def _inside(cwd: Path, path: str) -> Path | None:
    """Return where a file of the folder is; None when there is none.

    Raises:
        AttachmentBad: the folder has a link of that name, which leads out of it.
    """
    if path.startswith(("/", "~")) or "\0" in path or os.path.normpath(path).startswith(".."):
        return None
    try:
        place, folder = Path(os.path.realpath(cwd / path)), Path(os.path.realpath(cwd))
        if not stat.S_ISREG(place.stat().st_mode):
            return None
    except (OSError, ValueError):
        return None
    if folder not in place.parents:
        hint = f"Name it yourself: --file {place}; or write \\@{path} for the word alone."
        raise AttachmentBad(f"{path} leads out of the session's folder.", hint=hint)
    return place


def _read(path: Path, shown: str) -> str | Image:
    try:
        # Nothing waits for a FIFO's other end, and no terminal becomes ours.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise AttachmentBad(f"{shown} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise AttachmentBad(f"{shown} is no regular file.")
        with open(file, "rb", closefd=False) as opened:
            data = opened.read(PROMPT_BYTES + 1)
            media_type = image_type(data)
            if media_type is not None:
                data += opened.read(IMAGES_BYTES + 1 - len(data))
    except OSError as error:
        raise AttachmentBad(f"{shown} cannot be read: {error.strerror}.") from error
    finally:
        os.close(file)
    if media_type is not None:
        if len(data) > IMAGES_BYTES:
            size = max(status.st_size, len(data))
            text = f"{shown} has {size} bytes; images may have {IMAGES_BYTES} together."
            raise PromptTooLarge(text, limit=IMAGES_BYTES, hint="Make it smaller.")
        return Image(media_type=media_type, data=data)
    if len(data) > PROMPT_BYTES:
        size = max(status.st_size, len(data))
        raise PromptTooLarge(f"{shown} has {size} bytes; a prompt may have {PROMPT_BYTES}.", limit=PROMPT_BYTES)
    if b"\0" in data:
        raise AttachmentBad(f"{shown} ({len(data)} bytes) is binary.")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise AttachmentBad(f"{shown} ({len(data)} bytes) is no text in UTF-8: byte {error.start}.") from error
