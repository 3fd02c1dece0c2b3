"""The list of sessions at the side: number, glyph, name, word and age, in the order of every list."""

from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from client.core.roster import GLYPHS, short_age, since, state_word
from protocol.terminal_safe import clean_line
from protocol.views import SessionView

# Colours say nothing that glyph and word do not say.
STYLES = {
    "requires_action": "bold $warning",
    "failed": "bold $error",
    "backoff": "bold $error",
    "running": "$accent",
    "throttled": "$accent",
    "unread": "bold $success",
    "hibernated": "dim",
    "queued": "dim",
}
SHORTEST_NAME = 6


class SessionList(OptionList, can_focus=False):
    """Shows the roster; a click opens a session."""

    DEFAULT_CSS = """
    SessionList { width: 30; height: 1fr; border: none; padding: 0 1 0 0; background: $surface;
                  scrollbar-size-vertical: 1; overflow-x: hidden; }
    SessionList > .option-list--option-highlighted { background: $panel; text-style: none; color: $foreground; }
    SessionList > .option-list--option { padding: 0; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown: list[tuple[str, str]] = []

    def update(self, sessions: list[SessionView], current: str, now: float) -> None:
        """Show the sessions as they are now; nothing is drawn when nothing has changed."""
        width = max(10, self.size.width - 2)
        rows = [(s, row(s, current, now, width)) for s in sessions]
        wanted = [(s.id, content.markup) for s, content in rows]
        if wanted != self._shown:
            y = self.scroll_offset.y
            self.clear_options()
            self.add_options([Option(content, id=s.id) for s, content in rows])
            self._shown = wanted
            self.scroll_to(y=y, animate=False)
        at = next((i for i, s in enumerate(sessions) if s.id == current), None)
        if self.highlighted != at:
            self.highlighted = at


def row(session: SessionView, current: str, now: float, width: int) -> Content:
    """Return one line of the list, cleaned, exactly as wide as the list.

    The word stays whole; a long name is cut, and the age goes where there is no room for it.
    """
    style = STYLES.get(session.display, "")
    mark = ">" if session.id == current else " "
    number = "" if session.number is None else str(session.number)
    head = f"{mark}{number:>2} {GLYPHS.get(session.display, ' ')} "
    tail = f" {state_word(session, short=True)} {short_age(since(session), now):>3}"
    if width - len(head) - len(tail) < min(SHORTEST_NAME, len(session.name)):
        tail = f" {state_word(session, short=True)}"
    pin = "^" if session.pinned else ""
    name = fit(clean_line(session.name) + pin, width - len(head) - len(tail))
    return Content.assemble((head, style), (name, "bold" if session.id == current else ""), (tail, style))


def fit(text: str, width: int) -> str:
    """Return the text in exactly so many cells, with a mark when it was cut."""
    if width <= 0:
        return ""
    content = Content(text)
    if content.cell_length > width:
        content = content.truncate(width, ellipsis=True)
    return content.plain + " " * (width - content.cell_length)
