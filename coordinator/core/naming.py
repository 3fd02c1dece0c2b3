"""Names of sessions: what is one, and which session a text means. A name is a label; the id is the key."""

import unicodedata
from collections.abc import Iterable
from typing import Protocol, TypeVar

from protocol.errors import NameAmbiguous, NameIllegal, SessionUnknown
from protocol.limits import NAME_CHARS
from protocol.terminal_safe import clean
from protocol.views import SESSION_TYPES


class Named(Protocol):
    """What can be looked up."""

    id: str
    name: str
    number: int

    @property
    def is_closed(self) -> bool:
        """Closed sessions keep their name, but others may take it."""


N = TypeVar("N", bound=Named)
# What a session is called that was given no name, with its number.
UNNAMED = "session-"


def normal_name(text: str, limit: int = NAME_CHARS) -> str:
    """Return the name in its normal form (NFC, no space at the ends).

    Raises:
        NameIllegal: says which rule it breaks.
    """
    name = normal_group(text, limit)
    if name.isdigit():
        raise NameIllegal(f"The name {name!r} has digits alone; those are numbers of sessions.")
    if name == "-":
        raise NameIllegal("The name '-' means the previous session.")
    if name.casefold() in SESSION_TYPES:
        raise NameIllegal(f"The name {name!r} is a type of session.")
    return name


def normal_group(text: str, limit: int = NAME_CHARS) -> str:
    """Return the name of a group in its normal form: like a session's, but it may be digits or a type's word.

    Raises:
        NameIllegal: says which rule it breaks.
    """
    name = unicodedata.normalize("NFC", text).strip(" ")
    shown = repr(name if len(name) <= NAME_CHARS else name[:NAME_CHARS] + "…")
    if not name:
        raise NameIllegal("A name needs at least one character.")
    if len(name) > limit:
        raise NameIllegal(f"The name {shown} has {len(name)} characters; {limit} are allowed.")
    for char in name:
        is_mark = unicodedata.category(char) in {"Mn", "Mc"}  # scripts such as Devanagari write vowels with them
        if not (char in " -_" or char.isalnum() or is_mark) or clean(char) != char:
            raise NameIllegal(f"The name {shown} has a character that is not allowed: {char!r}.")
    if unicodedata.category(name[0]).startswith("M"):
        raise NameIllegal(f"The name {shown} begins with a mark that belongs to a letter before it.")
    return name


def resolve(text: str, sessions: Iterable[N]) -> N:
    """Return the session that a text means: exact name, then number, then unique prefix of an id.

    Living sessions come before closed ones, whose names may have been taken again. ``session-N``, which a session is
    called before it gets a name by itself, means number N as long as none is named so: scripts go on.

    Raises:
        SessionUnknown: none.
        NameAmbiguous: several; lists them.
    """
    wanted = unicodedata.normalize("NFC", text).strip(" ")
    everyone = list(sessions)
    living = [s for s in everyone if not s.is_closed]
    closed = [s for s in everyone if s.is_closed]
    for found in (
        [s for s in living if s.name == wanted],
        [s for s in living if wanted == str(s.number)],
        [s for s in closed if s.name == wanted],
        [s for s in living if wanted == f"{UNNAMED}{s.number}"],
        [s for s in everyone if wanted and s.id.startswith(wanted.casefold())],
    ):
        if len(found) == 1:
            return found[0]
        if found:
            names = [f"{s.id} ({s.name})" for s in found[:10]]
            raise NameAmbiguous(f"{wanted!r} can mean {len(found)} sessions: {', '.join(names)}.", candidates=names)
    raise SessionUnknown(f"There is no session {wanted[:NAME_CHARS]!r}.")
