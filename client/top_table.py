"""What ``top`` shows, as lines of a given width. It reads no clock and no terminal, so it can be shown twice the same.

Every cell is cleaned and cut to its column, by how many cells of a terminal a character takes, so no name can push the
next column aside.
"""

import unicodedata
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from client.output import gate_words, mib, sparkline
from protocol.terminal_safe import clean_line
from protocol.views import NextToSleep, TopSession, TopTotals

# Rates that are kept of a session for its sparkline.
RATES = 12
NEXT_SHOWN = 3
# Wide enough for both sparklines and the memory of whole trees.
WIDE = 104
PRINTED_WIDTH = 120
KEYS = "q quit  up/down choose  h hibernate  p pin  x cancel  k kill  sort: m c n s r"
WORDS = {"requires_action": "needs you", "hibernating": "leaving"}


class Top(msgspec.Struct, frozen=True, kw_only=True):
    """All pages in one document."""

    sessions: list[TopSession]
    totals: TopTotals
    next_to_hibernate: list[NextToSleep]


@dataclass(frozen=True, slots=True)
class Row:
    """A session, its place in the order of hibernation, and its pieces per second."""

    session: TopSession
    next: int | None
    rate: float | None
    rates: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A column; numbers stand to the right."""

    title: str
    width: int
    cell: Callable[[Row], str]
    is_number: bool = False


# Each order with the key that chooses it; what is largest comes first.
SORTS: dict[str, tuple[str, Callable[[Row], tuple[float | str, ...]]]] = {
    "m": ("memory", lambda r: (-(r.session.tree_uss_bytes or r.session.memory.uss_bytes or 0),)),
    "c": ("cpu", lambda r: (-(r.session.cpu_percent or 0.0),)),
    "n": ("name", lambda r: (r.session.name.casefold(),)),
    "s": ("state", lambda r: (r.session.display,)),
    "r": ("pieces", lambda r: (-(r.rate or 0.0),)),
}


@dataclass(slots=True)
class Table:
    """What is shown, how it is sorted, and which row is chosen."""

    top: Top | None = None
    sort: str = "m"
    chosen: str | None = None
    first: int = 0
    _pieces: dict[str, tuple[float, int]] = field(default_factory=dict)
    _rates: dict[str, deque[float]] = field(default_factory=dict)

    def take(self, top: Top, now_s: float) -> None:
        """Take in what was read at a monotonic time."""
        self.top = top
        rates: dict[str, deque[float]] = {}
        pieces: dict[str, tuple[float, int]] = {}
        for session in top.sessions:
            rates[session.id] = self._rates.get(session.id) or deque(maxlen=RATES)
            before = self._pieces.get(session.id)
            pieces[session.id] = (now_s, session.pieces)
            if before is not None and now_s > before[0]:
                rates[session.id].append(max(0, session.pieces - before[1]) / (now_s - before[0]))
        self._rates, self._pieces = rates, pieces

    def rows(self) -> list[Row]:
        """Return the sessions in their order."""
        if self.top is None:
            return []
        places = {n.session: place for place, n in enumerate(self.top.next_to_hibernate, 1)}
        rows = [
            Row(s, places.get(s.id), rates[-1] if rates else s.pieces_per_s, tuple(rates))
            for s in self.top.sessions
            for rates in [self._rates.get(s.id, deque())]
        ]
        return sorted(rows, key=lambda row: (*SORTS[self.sort][1](row), row.session.number or 0))

    def choose(self, step: int) -> None:
        """Choose the next row, or the one before."""
        ids = [row.session.id for row in self.rows()]
        if ids:
            here = ids.index(self.chosen) if self.chosen in ids else 0
            self.chosen = ids[max(0, min(len(ids) - 1, here + step))]

    def chosen_session(self) -> TopSession | None:
        """Return the session of the chosen row; the first one's when none is chosen, or the chosen one is gone."""
        rows = self.rows()
        return next((r.session for r in rows if r.session.id == self.chosen), rows[0].session if rows else None)

    def screen(self, width: int, height: int, message: str) -> list[str]:
        """Return the lines of a whole screen; the chosen row is among them."""
        if self.top is None:
            return [cut(line, width) for line in ("chat-coord top", "", message or "Waiting for the coordinator.")]
        head, rows = self.head(), self.rows()
        room = max(1, height - len(head) - 2)
        chosen = self.chosen_session()
        here = next((n for n, row in enumerate(rows) if chosen and row.session.id == chosen.id), 0)
        self.first = max(min(self.first, here, max(0, len(rows) - room)), here - room + 1)
        shown = rows[self.first : self.first + room]
        lines = [*head, _titles(width), *(_line(row, width, chosen) for row in shown)]
        lines += [""] * (height - 1 - len(lines))
        return [cut(line, width) for line in [*lines[: height - 1], message or KEYS]]

    def head(self) -> list[str]:
        """Return the totals against their limits, what is short, and who sleeps next."""
        assert self.top is not None  # noqa: S101 - the caller looked
        totals = self.top.totals
        count, permits, memory = totals.sessions, totals.permits, totals.memory
        cpu = "?" if totals.cpu_percent is None else f"{totals.cpu_percent:g}"
        used = "?" if memory.total_pss_bytes is None else mib(memory.total_pss_bytes)
        limit = "?" if memory.limit_bytes is None else mib(memory.limit_bytes)
        left = "?" if memory.available_bytes is None else mib(memory.available_bytes)
        lines = [
            (
                f"chat-coord top   {count.live} of {count.max_active} slots, {count.queued} in line, "
                f"{count.hibernated} asleep   sorted by {SORTS[self.sort][0]}"
            ),
            (
                f"cpu {cpu} %   memory {used} of {limit}, machine {left} left   "
                f"permits {permits.in_use} of {permits.limit}, {permits.waiting} in line"
            ),
        ]
        lines += [f"gate: {gate_words(gate)}" for gate in permits.gates]
        if memory.short is not None:
            lines.append(f"SHORT: {memory.short}")
        following = self.top.next_to_hibernate[:NEXT_SHOWN]
        lines.append("hibernated next: " + (", ".join(n.name for n in following) if following else "nobody"))
        return lines


def top_text(top: Top, width: int = PRINTED_WIDTH) -> str:
    """Return everything once."""
    table = Table(top=top)
    lines = [*table.head(), _titles(width), *(_line(row, width, None) for row in table.rows())]
    return "\n".join(cut(line, width).rstrip() for line in lines)


# ---- lines


def _columns(width: int) -> list[Column]:
    is_wide = width >= WIDE
    fixed = [
        Column("#", 3, lambda r: "" if r.session.number is None else str(r.session.number), is_number=True),
        Column("NAME", 0, lambda r: r.session.name),
        Column("STATE", 10, lambda r: WORDS.get(r.session.display, r.session.display)),
        Column("CPU%", 5, lambda r: _number(r.session.cpu_percent), is_number=True),
        Column("OWN", 6, lambda r: _size(r.session.memory.uss_bytes), is_number=True),
        *([Column("TREE", 6, lambda r: _size(r.session.tree_uss_bytes), is_number=True)] if is_wide else []),
        Column("MEMORY", 16 if is_wide else 8, lambda r: sparkline(r.session.history, 16 if is_wide else 8)),
        Column("PCS/S", 5, lambda r: _number(r.rate), is_number=True),
        *([Column("PIECES", RATES, lambda r: sparkline(r.rates, RATES))] if is_wide else []),
        Column("PERMIT", 6, _permit),
        Column("NEXT", 4, _next, is_number=True),
        Column("PID", 7, lambda r: "" if r.session.pid is None else str(r.session.pid), is_number=True),
    ]
    taken = 1 + sum(column.width + 1 for column in fixed)
    return [c if c.width else Column(c.title, max(6, width - taken), c.cell) for c in fixed]


def _titles(width: int) -> str:
    return "  " + " ".join(_fit(c.title, c.width, is_number=c.is_number) for c in _columns(width))


def _line(row: Row, width: int, chosen: TopSession | None) -> str:
    mark = ">" if chosen is not None and chosen.id == row.session.id else " "
    cells = (_fit(clean_line(c.cell(row)), c.width, is_number=c.is_number) for c in _columns(width))
    return f"{mark} " + " ".join(cells)


def _permit(row: Row) -> str:
    permit = row.session.permit
    if permit.position is not None:
        return f"line {permit.position}"
    return "held" if permit.held else ""


def _next(row: Row) -> str:
    return "pin" if row.session.pinned else "" if row.next is None else str(row.next)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _size(count: int | None) -> str:
    if count is None:
        return ""
    return f"{count / (1 << 20):.1f}M" if count < 1000 << 20 else f"{count / (1 << 30):.1f}G"


# ---- cells of a terminal


def cells_of(character: str) -> int:
    """Return how many cells a character takes."""
    if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def cut(text: str, width: int) -> str:
    """Return a cleaned line of at most so many cells."""
    found, room = [], width
    for character in clean_line(text):
        room -= cells_of(character)
        if room < 0:
            break
        found.append(character)
    return "".join(found)


def _fit(text: str, width: int, *, is_number: bool) -> str:
    shown = cut(text, width)
    rest = " " * (width - sum(map(cells_of, shown)))
    return rest + shown if is_number else shown + rest
