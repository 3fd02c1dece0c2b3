r"""Files in a prompt: which words name one, and how its text stands in the prompt. Pure.

``@path`` at the beginning of a word names a file if there is one; ``\@path`` only says so.
"""

import re
from dataclasses import dataclass

_MENTION = re.compile(r"(?:(?<=\s)|(?<![\s\S]))(?P<escape>\\?)@(?P<path>[^\s@]+)")
_ENDINGS = ".,;:!?)]}>'\"`"
_FENCE = re.compile(r"`{3,}")


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


def with_files(text: str, files: list[tuple[str, str]]) -> str:
    """Return a prompt with the text of files behind it, each under its name and in a fence that it cannot close.

    Args:
        text: the prompt; it may be empty.
        files: names and texts.
    """
    blocks = [text] if text else []
    for name, content in files:
        longest = max((len(run) for run in _FENCE.findall(content)), default=2)
        fence = "`" * (longest + 1)
        ending = "" if content.endswith("\n") or not content else "\n"
        blocks.append(f"File {name} ({len(content.encode())} bytes):\n{fence}\n{content}{ending}{fence}")
    return "\n\n".join(blocks)
