"""The sessions as a terminal lists them: their order, who waits, and what is told once an episode. Pure.

The order and the words are those of the coordinator's list, so that a list that grew by single changes looks like one
that was asked for whole.
"""

from collections.abc import Iterable

from protocol.views import SessionView

GLYPHS = {
    "requires_action": "!",
    "failed": "x",
    "backoff": "x",
    "running": "~",
    "throttled": "~",
    "unread": "*",
    "idle": "o",
    "starting": "+",
    "waking": "+",
    "queued": "=",
    "hibernated": "-",
    "stopped": ".",
}
# What a narrow list says instead of a display word.
SHORT = {"requires_action": "asks", "hibernated": "asleep"}
ORDER = (
    "requires_action",
    "failed",
    "backoff",
    "running",
    "throttled",
    "unread",
    "idle",
    "starting",
    "waking",
    "hibernating",
    "hibernated",
    "queued",
    "stopping",
    "stopped",
)
RANKS = {word: rank for rank, word in enumerate(ORDER)}
# Behind every number.
NO_NUMBER = 1 << 31
# Of so many the names stand in the indicator.
NAMED = 5
# What a person is told once, when it begins.
EPISODES = {
    "requires_action": "waits for you",
    "unread": "has an answer for you",
    "failed": "has failed",
}


class Roster:
    """The open sessions that a terminal knows of."""

    def __init__(self) -> None:
        self._sessions: dict[str, SessionView] = {}
        # By session, the episode that was told and still lasts.
        self._told: dict[str, str] = {}

    def replace(self, sessions: Iterable[SessionView]) -> None:
        """Take in the whole list."""
        self._sessions = {session.id: session for session in sessions if is_open(session)}

    def put(self, session: SessionView) -> None:
        """Take in one session as it is now."""
        if is_open(session):
            self._sessions[session.id] = session
        else:
            self._sessions.pop(session.id, None)

    def drop(self, session: str) -> None:
        """Forget one."""
        self._sessions.pop(session, None)

    def get(self, session: str) -> SessionView | None:
        """Return one by its id."""
        return self._sessions.get(session)

    def numbered(self, number: int) -> SessionView | None:
        """Return the session with this number."""
        return next((s for s in self._sessions.values() if s.number == number), None)

    def listed(self) -> list[SessionView]:
        """Return all, in the order of lists."""
        return sorted(self._sessions.values(), key=_place)

    def waiting(self) -> list[SessionView]:
        """Return those that need a person, the longest waiting first within asks and answers."""
        found = [s for s in self._sessions.values() if is_waiting(s)]
        return sorted(found, key=lambda s: (s.work != "requires_action", s.waiting_since or 0.0, s.id))

    def next_waiting(self, current: str) -> SessionView | None:
        """Return the next session after the one that is looked at that needs a person; None: no other does."""
        found = self.waiting()
        at = next((i for i, s in enumerate(found) if s.id == current), -1)
        return next((s for s in [*found[at + 1 :], *found[: at + 1]] if s.id != current), None)

    def begins(self, session: str, display: str) -> str | None:
        """Note what a session does now; return what to tell when an episode began, once for each."""
        if display not in EPISODES:
            self._told.pop(session, None)
            return None
        if self._told.get(session) == display:
            return None
        self._told[session] = display
        return EPISODES[display]


def is_open(session: SessionView) -> bool:
    """Say whether it belongs into a list that does not show everything."""
    return session.residency not in {"stopped", "stopping"} and not session.archived


def is_waiting(session: SessionView) -> bool:
    """Say whether a session needs a person: for a yes, or to see its answer."""
    return session.work == "requires_action" or session.unread


def state_word(session: SessionView, *, short: bool = False) -> str:
    """Return what a session does, in a word or two."""
    word = SHORT.get(session.display, session.display) if short else session.display
    is_stalled = session.display == "running" and bool((session.work_detail or {}).get("stalled"))
    return f"{word} (stalled)" if is_stalled else word


def since(session: SessionView) -> float:
    """Return since when it is in its state, as near as a client knows, in seconds since 1970."""
    return session.waiting_since or session.last_active_at


def short_age(at: float, now: float) -> str:
    """Return how long ago a time was, in as few characters as will do."""
    seconds = max(0, int(now - at))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def indicator(waiting: list[SessionView], now: float, width: int) -> str:
    """Return one ``[name]`` for each session that waits, with glyph, word and age: as many as fit, at most five.

    The rest is a number; names are as they are, for the caller to clean.
    """
    for named in range(min(NAMED, len(waiting)), -1, -1):
        parts = [
            f"{GLYPHS.get(s.display, '*')} [{s.name}] {state_word(s, short=True)} {short_age(since(s), now)}"
            for s in waiting[:named]
        ]
        if named < len(waiting):
            parts.append(f"+{len(waiting) - named} more" if named else f"! {len(waiting)} waiting")
        text = "  ".join(parts)
        if len(text) <= width:
            return text
    return f"!{len(waiting)}"


def title(waiting: int) -> str:
    """Return the title of the terminal's window."""
    return f"{waiting} awaiting input - chat-coord" if waiting else "chat-coord"


def _place(session: SessionView) -> tuple[int, int, float, str]:
    number = NO_NUMBER if session.number is None else session.number
    return RANKS.get(session.display, len(ORDER)), number, session.created_at, session.id
