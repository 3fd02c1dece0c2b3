"""The lines above and below: which session this is, who waits, and the keys."""

from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from client.core.roster import indicator, state_word
from client.tui.session_list import fit
from protocol.terminal_safe import clean_line
from protocol.views import SessionView

# Between what is at the left and at the right.
GAP = 2
KEYS = (
    ("Enter", "send"),
    ("Ctrl+J", "new line"),
    ("Esc", "interrupt"),
    ("Alt+W", "next waiting"),
    ("Alt+1…9", "session"),
    ("Ctrl+N", "new"),
    ("Ctrl+P", "find"),
    ("F2", "inbox"),
    ("F1", "help"),
    ("Ctrl+Q", "leave"),
)
# The same for a narrow screen; the way out comes first, because what is last may be cut.
SHORT_KEYS = (
    ("^Q", "leave"),
    ("F1", "help"),
    ("F2", "inbox"),
    ("Alt+W", "next"),
    ("Alt+1…9", "go"),
    ("^N", "new"),
    ("^P", "find"),
    ("Esc", "stop"),
)


class TopBar(Widget):
    """The session that is looked at, and at the right those that wait."""

    DEFAULT_CSS = """
    TopBar { height: 1; background: $panel; padding: 0 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._session: SessionView | None = None
        self._waiting: list[SessionView] = []
        self._now = 0.0
        self._more = ""

    def update(self, session: SessionView, waiting: list[SessionView], now: float, more: str = "") -> None:
        """Show this from now on."""
        self._session, self._waiting, self._now, self._more = session, waiting, now, more
        self.refresh()

    def render(self) -> RenderResult:
        """Return the line: the indicator gets the room that it needs, up to two thirds."""
        width = self.size.width
        if self._session is None:
            return ""
        right = clean_line(indicator(self._waiting, self._now, width * 2 // 3)) if self._waiting else ""
        session = self._session
        name = clean_line(session.name)
        about = clean_line(f"  {session.type} · {session.model} · {state_word(session)}{self._more}")
        room = max(0, width - Content(right).cell_length - GAP)
        left = fit(name + about, room)
        return Content.assemble(
            (left[: len(name)], "bold"), left[len(name) :], " " * GAP if right else "", (right, "bold $warning")
        )


class KeyBar(Widget):
    """Every key."""

    DEFAULT_CSS = """
    KeyBar { height: 1; background: $panel; padding: 0 1; color: $text-muted; }
    """

    def render(self) -> RenderResult:
        """Return the line: with whole words where they fit."""
        for keys in (KEYS, SHORT_KEYS):
            parts: list[str | tuple[str, str]] = []
            for key, word in keys:
                parts += [(key, "bold $foreground"), f" {word}  "]
            line = Content.assemble(*parts)
            if line.cell_length - GAP <= self.size.width:
                break
        return line.truncate(self.size.width)
