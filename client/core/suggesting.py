"""What a begun line could become: commands, names of sessions, words that a command takes. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from client.core.input_router import ALIASES, COMMANDS
from protocol.views import SESSION_TYPES

# The words that come behind a command; None: names of sessions.
ARGUMENTS: dict[str, tuple[str, ...] | None] = {
    "new": SESSION_TYPES,
    "type": SESSION_TYPES,
    "sessions": ("--waiting", "--all"),
    "switch": None,
    "close": None,
    "hibernate": None,
    "wake": None,
    "pin": None,
    "kill": None,
    "inspect": None,
}


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What the whole line would be, and a few words about it."""

    line: str
    label: str
    about: str = ""


def suggestions(line: str, names: Sequence[str]) -> list[Suggestion]:
    """Return what a line that is being typed could become, the best first.

    Args:
        line: as it stands; only one that begins with ``/`` or ``@`` can become something else.
        names: of the open sessions, in the order of the list.
    """
    if "\n" in line or line.startswith("//"):
        return []
    if line.startswith("/"):
        return _of_command(line, names)
    if line.startswith("@") and " " not in line:
        begun = line[1:]
        found = [name for name in names if " " not in name and name.startswith(begun)]
        return [Suggestion(f"@{name} ", f"@{name}", "sends to that session") for name in found]
    return []


def _of_command(line: str, names: Sequence[str]) -> list[Suggestion]:
    word, space, rest = line[1:].partition(" ")
    if not space:
        found = [name for name in COMMANDS if name.startswith(word)]
        return [Suggestion(f"/{name} ", f"/{name}", _about(name)) for name in found]
    command = ALIASES.get(word, word)
    if command not in ARGUMENTS:
        return []
    words = ARGUMENTS[command]
    found = [w for w in (names if words is None else words) if w.startswith(rest) and w != rest]
    return [Suggestion(f"/{word} {w}", w) for w in found]


def _about(name: str) -> str:
    return COMMANDS[name].partition("  ")[2]


def matches(query: str, names: Sequence[str]) -> list[str]:
    """Return the names that have the letters of a query in this order, the closest together first."""
    found = []
    for at, name in enumerate(names):
        span = _span(query.casefold(), name.casefold())
        if span is not None:
            found.append((span, at, name))
    return [name for _, _, name in sorted(found)]


def _span(query: str, name: str) -> tuple[int, int] | None:
    """Return how far apart the letters lie, and where they begin; None when they are not there in this order."""
    best: tuple[int, int] | None = None
    if not query:
        return (0, 0)
    for begin, letter in enumerate(name):
        if letter != query[0]:
            continue
        at = begin
        for wanted in query[1:]:
            at = name.find(wanted, at + 1)
            if at < 0:
                return best
        if best is None or (at - begin, begin) < best:
            best = (at - begin, begin)
    return best
