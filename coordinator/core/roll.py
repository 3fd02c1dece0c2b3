"""Every session in the order and under the names by which people find it, kept up to date instead of searched.

A coordinator may keep a hundred thousand sleeping sessions beside ten live ones, so nothing that happens often may
look at all of them: names and numbers are tables, those that hold a slot are counted as they move, and the list is kept
sorted in a bucket for each word that it shows.
"""

import unicodedata
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from coordinator.core.lifecycle import HOLDS_SLOT, LIST_ORDER, Residency
from coordinator.core.naming import UNNAMED

if TYPE_CHECKING:
    from coordinator.core.world import Session

# Where archived sessions are kept; no list shows this word.
ARCHIVED = "archived"
ORDER = (*LIST_ORDER, ARCHIVED)
# Buckets that only `--all` shows.
HIDDEN = frozenset({"stopping", "stopped", ARCHIVED})

Place = tuple[int, float, str]


class Roll:
    """The sessions by name, number, residency and place in the list."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._by_name: dict[str, dict[str, None]] = {}
        self._names: dict[str, str] = {}
        self._by_number: dict[int, str] = {}
        self._lowest = 1
        self._buckets: dict[str, list[Place]] = {word: [] for word in ORDER}
        self._shown: dict[str, tuple[str, Place]] = {}
        self._waiting: dict[str, None] = {}
        self._groups: dict[str, dict[str, None]] = {}
        self._holders: dict[str, Session] = {}
        self._residencies: Counter[Residency] = Counter()

    # ---- kept up to date

    def add(self, session: "Session") -> None:
        """Take in a new session, with its name and number; lists show it when it is shown."""
        self._sessions[session.id] = session
        self._residencies[session.residency] += 1
        self._by_name.setdefault(session.name, {})[session.id] = None
        if session.holds_name:
            self.reserve(session.name, session.id)
            self._by_number[session.number] = session.id
        if session.holds_slot:
            self._holders[session.id] = session
        if session.group is not None:
            self._groups.setdefault(session.group, {})[session.id] = None

    def moved(self, session: "Session", before: Residency) -> None:
        """Its residency changed."""
        self._residencies[before] -= 1
        self._residencies[session.residency] += 1
        if session.residency in HOLDS_SLOT:
            self._holders[session.id] = session
        else:
            self._holders.pop(session.id, None)

    def show(self, session: "Session") -> None:
        """Put it where lists show it now."""
        word = ARCHIVED if session.is_archived else session.display
        place = (session.number, session.created_at, session.id)
        if self._shown.get(session.id) != (word, place):
            self._hide(session.id)
            insort(self._buckets[word], place)
            self._shown[session.id] = (word, place)
        if session.needs_person:
            self._waiting[session.id] = None
        else:
            self._waiting.pop(session.id, None)

    def remove(self, session: "Session") -> None:
        """Forget it; its name and number are free."""
        self._hide(session.id)
        self._waiting.pop(session.id, None)
        self._holders.pop(session.id, None)
        if self._sessions.pop(session.id, None) is None:
            return
        self._residencies[session.residency] -= 1
        if session.group is not None:
            self._groups[session.group].pop(session.id)
            if not self._groups[session.group]:
                del self._groups[session.group]
        self.release(session)
        self._unname(session.name, session.id)

    def _hide(self, key: str) -> None:
        known = self._shown.pop(key, None)
        if known is not None:
            word, place = known
            del self._buckets[word][bisect_left(self._buckets[word], place)]

    # ---- names and numbers

    def reserve(self, name: str, key: str) -> None:
        """Nobody else may have the name: it is this session's, or will be."""
        self._names[name] = key

    def unreserve(self, name: str, key: str) -> None:
        """The name was wanted and is not needed."""
        if self._names.get(name) == key:
            del self._names[name]

    def renamed(self, session: "Session", before: str) -> None:
        """It is called by the name that was reserved; the former one is free."""
        self._unname(before, session.id)
        self.unreserve(before, session.id)
        self._by_name.setdefault(session.name, {})[session.id] = None
        if session.holds_name:
            self.reserve(session.name, session.id)

    def release(self, session: "Session") -> None:
        """Its name and number are free for others: its close is durable."""
        for name in {session.name, session.renaming, session.naming} - {None}:
            self.unreserve(str(name), session.id)
        if self._by_number.get(session.number) == session.id:
            del self._by_number[session.number]
            self._lowest = min(self._lowest, session.number)

    def _unname(self, name: str, key: str) -> None:
        keys = self._by_name.get(name, {})
        keys.pop(key, None)
        if not keys:
            self._by_name.pop(name, None)

    def owner_of(self, name: str) -> "Session | None":
        """Return the session that has the name or is about to get it."""
        key = self._names.get(name)
        return self._sessions.get(key) if key is not None else None

    def free_number(self) -> int:
        """Return the lowest number that no session has."""
        while self._lowest in self._by_number:
            self._lowest += 1
        return self._lowest

    # ---- found

    def candidates(self, text: str) -> "list[Session]":
        """Return the sessions that a text may mean: by name or number, and only when there is none, by id prefix."""
        wanted = unicodedata.normalize("NFC", text).strip(" ")
        keys = list(self._by_name.get(wanted, {}))
        if wanted.isascii() and wanted.isdigit() and len(wanted) < 19:  # noqa: PLR2004 - what SQLite counts to
            keys += [
                key for key in [self._by_number.get(int(wanted))] if key is not None and str(int(wanted)) == wanted
            ]
        number = wanted.removeprefix(UNNAMED)
        if not keys and number != wanted and number.isascii() and number.isdigit() and len(number) < 19:  # noqa: PLR2004
            keys += [key for key in [self._by_number.get(int(number))] if key is not None]
        if not keys and wanted:
            keys = [key for key in self._sessions if key.startswith(wanted.casefold())]
        return [self._sessions[key] for key in dict.fromkeys(keys)]

    @property
    def holders(self) -> "tuple[Session, ...]":
        """The sessions that hold a slot."""
        return tuple(self._holders.values())

    @property
    def slots_held(self) -> int:
        """How many sessions hold a slot."""
        return len(self._holders)

    def count(self, residency: Residency) -> int:
        """Return how many sessions are there."""
        return self._residencies[residency]

    def shown(self, word: str) -> "list[Session]":
        """Return the sessions that lists show with this word."""
        return [self._sessions[key] for _, _, key in self._buckets[word]]

    def page(
        self, offset: int, limit: int, *, waiting: bool, everything: bool, group: str | None = None
    ) -> "list[Session]":
        """Return a part of the list: those first that need a person, within a word by number."""
        words = [word for word in ORDER if everything or word not in HIDDEN]
        buckets = [self._buckets[word] for word in words]
        if waiting or group is not None:
            few = self._waiting if group is None else self._groups.get(group, {})
            keys = [key for key in few if not waiting or key in self._waiting]
            places = [self._shown[key] for key in keys if key in self._shown]
            buckets = [sorted(place for shown, place in places if shown == word) for word in words]
        return [self._sessions[key] for key in _slice(buckets, offset, limit)]


def _slice(buckets: Iterable[list[Place]], offset: int, limit: int) -> list[str]:
    """Return the ids of a part of several lists in a row, without walking what is before it."""
    found: list[str] = []
    for bucket in buckets:
        if offset >= len(bucket):
            offset -= len(bucket)
            continue
        found += [key for _, _, key in bucket[offset : offset + limit - len(found)]]
        offset = 0
        if len(found) >= limit:
            break
    return found
