"""What opens over the conversation and closes with Esc: long answers of commands, and the choice of a session."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from client.core.suggesting import matches
from client.tui.session_list import row
from protocol.errors import ChatCoordError
from protocol.terminal_safe import clean, clean_line
from protocol.views import HistoryRow, SessionView

PEEKED = 600


class Paper(ModalScreen[None]):
    """A text to read: scroll with the arrows, Esc closes."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,q,enter,f1", "dismiss", "Close")]
    DEFAULT_CSS = """
    Paper { align: center middle; }
    Paper > VerticalScroll { width: 92%; height: 90%; border: round $primary; padding: 0 1; background: $surface;
                             overflow-x: auto; }
    Paper Static { width: auto; min-width: 100%; }
    """

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._head, self._body = clean_line(title), clean(text)

    def compose(self) -> ComposeResult:
        """Lay out."""
        with VerticalScroll() as box:
            box.border_title = Content(self._head)
            box.border_subtitle = "Esc closes"
            yield Static(Content(self._body))

    def on_mount(self) -> None:
        """The arrows scroll at once."""
        self.query_one(VerticalScroll).focus()


class Picker(ModalScreen[SessionView | None]):
    """Find a session by some letters of its name; the one under the bar is peeked at, without waking it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "dismiss", "Close"),
        ("down", "move(1)", "Down"),
        ("up", "move(-1)", "Up"),
    ]
    DEFAULT_CSS = """
    Picker { align: center middle; }
    Picker > Vertical { width: 92%; max-width: 100; height: 90%; border: round $primary; background: $surface; }
    Picker Input, Picker Input:focus { border: none; height: 1; padding: 0 1; }
    Picker OptionList { height: 1fr; border: none; background: $surface; }
    Picker #peek { height: 8; padding: 0 1; border-top: solid $panel; color: $text-muted; }
    """

    def __init__(
        self,
        sessions: list[SessionView],
        current: str,
        now: float,
        peek: Callable[[str], Awaitable[list[HistoryRow]]],
    ) -> None:
        super().__init__()
        self._sessions, self._current, self._now, self._peek = sessions, current, now, peek
        self._found = sessions
        self._peeking: asyncio.Task[None] | None = None

    def compose(self) -> ComposeResult:
        """Lay out."""
        with Vertical() as box:
            box.border_title = "Sessions"
            box.border_subtitle = "Enter opens - Esc closes"
            yield Input(placeholder="some letters of a name", select_on_focus=False)
            found = OptionList()
            found.can_focus = False
            yield found
            yield Static(id="peek")

    def on_mount(self) -> None:
        """Show all."""
        self.query_one(Input).focus()
        self.call_after_refresh(self._list, "")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show those that fit."""
        self._list(event.value)

    def on_input_submitted(self) -> None:
        """Open the one under the bar."""
        at = self.query_one(OptionList).highlighted
        self.dismiss(self._found[at] if at is not None and at < len(self._found) else None)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Open the one that was clicked."""
        self.dismiss(self._found[event.option_index])

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Peek at it."""
        if self._peeking is not None:
            self._peeking.cancel()
        self._peeking = asyncio.ensure_future(self._show_peek(self._found[event.option_index].id))

    def action_move(self, by: int) -> None:
        """Move the bar."""
        found = self.query_one(OptionList)
        if self._found:
            found.highlighted = ((found.highlighted or 0) + by) % len(self._found)

    def _list(self, query: str) -> None:
        names = {clean_line(s.name): s for s in self._sessions}
        self._found = [names[name] for name in matches(query, list(names))]
        found = self.query_one(OptionList)
        found.clear_options()
        width = max(20, found.size.width - 4)
        found.add_options([Option(row(s, self._current, self._now, width)) for s in self._found])
        if self._found:
            found.highlighted = 0
        else:
            self.query_one("#peek", Static).update("No name has these letters in this order.")

    async def _show_peek(self, session: str) -> None:
        with contextlib.suppress(ChatCoordError):
            rows = await self._peek(session)
            lines = [f"{'>' if r.role == 'user' else ' '} {' '.join(clean(r.text).split())[:PEEKED]}" for r in rows]
            text = "\n".join(lines[-4:]) or "Nothing was said yet."
            self.query_one("#peek", Static).update(Content(text))
