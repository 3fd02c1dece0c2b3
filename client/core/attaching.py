r"""Files in a prompt: which words name one, and how its text stands in the prompt. Pure.

``@path`` at the beginning of a word names a file if there is one; ``\@path`` only says so.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from protocol.messages import Image

ImageType = Literal["image/png", "image/jpeg", "image/gif", "image/webp"]
# Enough to tell one image from another of the same name and size.
DIGEST_CHARS = 12
_MENTION = re.compile(r"(?:(?<=\s)|(?<![\s\S]))(?P<escape>\\?)@(?P<path>[^\s@]+)")
_ENDINGS = ".,;:!?)]}>'\"`"
_FENCE = re.compile(r"`{3,}")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent: a text, and the images that it says are there."""

    text: str
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class Mention:
    """A word that may name a file. ``paths`` are what it may name, the longest first; ``at`` is where it begins."""

    at: int
    is_escaped: bool
    paths: tuple[str, ...]


def mentions(text: str) -> list[Mention]:
    """Return the words of a prompt that may name files; marks at the end of a sentence may belong to a path or not."""
    found = []
    for match in _MENTION.finditer(text):
        path = match["path"]
        paths = [path]
        while path[-1:] in _ENDINGS and path[:-1]:
            path = path[:-1]
            paths.append(path)
        found.append(Mention(match.start(), bool(match["escape"]), tuple(paths)))
    return found


def without_escapes(text: str, escaped: list[Mention]) -> str:
    """Return the text without the backslashes of these mentions."""
    for mention in sorted(escaped, key=lambda m: -m.at):
        text = text[: mention.at] + text[mention.at + 1 :]
    return text


def image_type(data: bytes) -> ImageType | None:
    """Return what kind of image begins so; None when it is none that models take."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def with_files(text: str, files: Sequence[tuple[str, str | Image]]) -> str:
    """Return a prompt with the text of files behind it, each under its name and in a fence that it cannot close.

    Of an image there is a line that says so, with the beginning of its SHA-256.

    Args:
        text: the prompt; it may be empty.
        files: names, and texts or images.
    """
    blocks = [text] if text else []
    for name, content in files:
        if isinstance(content, Image):
            digest = hashlib.sha256(content.data).hexdigest()[:DIGEST_CHARS]
            blocks.append(f"[image {name}: {content.media_type}, {len(content.data)} bytes, {digest}]")
            continue
        longest = max((len(run) for run in _FENCE.findall(content)), default=2)
        fence = "`" * (longest + 1)
        ending = "" if content.endswith("\n") or not content else "\n"
        blocks.append(f"File {name} ({len(content.encode())} bytes):\n{fence}\n{content}{ending}{fence}")
    return "\n\n".join(blocks)
