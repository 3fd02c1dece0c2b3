"""Where a person types: Enter sends, Ctrl+J and Alt+Enter begin a line, up and down bring back what was sent.

What is shown is cleaned; what is sent is what was typed.
"""

from rich.text import Text
from textual import events
from textual.message import Message
from textual.widgets import TextArea

from client.core.input_history import InputHistory
from protocol.limits import PROMPT_BYTES
from protocol.terminal_safe import clean_line

NEW_LINE = frozenset({"ctrl+j", "alt+enter", "shift+enter", "ctrl+enter"})
HIGHEST = 8


class LargePaste(events.Paste):
    """A paste of which only the beginning was kept: it has more than any prompt may have."""

    def __init__(self, text: str, size: int) -> None:
        super().__init__(text)
        self.size = size


class Entry(TextArea):
    """The input."""

    DEFAULT_CSS = """
    Entry { height: 1; border: none; padding: 0; background: transparent; scrollbar-size-vertical: 1; }
    Entry:focus { border: none; }
    """

    class Sent(Message):
        """Enter was typed."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Refused(Message):
        """A paste is too large to become a prompt."""

        def __init__(self, size: int) -> None:
            super().__init__()
            self.size = size

    class Completing(Message):
        """Tab was typed."""

    class Paging(Message):
        """The conversation shall move a page."""

        def __init__(self, direction: int) -> None:
            super().__init__()
            self.direction = direction

    def __init__(self) -> None:
        super().__init__(
            soft_wrap=True, show_line_numbers=False, highlight_cursor_line=False, tab_behavior="focus", compact=True
        )
        self.sent = InputHistory()
        self._height = 1

    def get_line(self, line_index: int) -> Text:
        """Return a line as it is shown: cell for cell what was typed, without what would steer the terminal."""
        return Text(clean_line(self.document.get_line(line_index)), end="", no_wrap=True)

    def put(self, text: str) -> None:
        """Replace what stands here, with the cursor at the end."""
        self.load_text(transportable(text))
        self.move_cursor(self.document.end)

    def fit(self) -> None:
        """Be as high as the text, up to a limit."""
        limit = max(1, min(HIGHEST, self.app.size.height // 3))
        height = max(1, min(limit, self.wrapped_document.height))
        if height != self._height:  # or all of the screen would be laid out anew for each key
            self._height = height
            self.styles.height = height

    def on_resize(self) -> None:
        """Lines break elsewhere now."""
        self.fit()

    async def _on_key(self, event: events.Key) -> None:
        key = event.key
        if key == "enter":
            self._take(event)
            self.post_message(self.Sent(self.text))
        elif key in NEW_LINE:
            self._take(event)
            self.insert("\n")
        elif key == "tab":
            self._take(event)
            self.post_message(self.Completing())
        elif key in {"pageup", "pagedown"}:
            self._take(event)
            self.post_message(self.Paging(-1 if key == "pageup" else 1))
        elif (key == "up" and self._at_first_row()) or (key == "down" and self._at_last_row()):
            self._take(event)
            self._look_back(-1 if key == "up" else 1)
        else:
            if event.is_printable or key in {"backspace", "delete"}:
                self.sent.leave()
            await super()._on_key(event)

    async def _on_paste(self, event: events.Paste) -> None:
        """Take a paste, or refuse it whole: a piece of it is never taken for a prompt."""
        size = len(event.text.encode(errors="surrogatepass"))
        if size > PROMPT_BYTES:
            self._take(event)
            self.post_message(self.Refused(size))
            return
        event.prevent_default()
        event.stop()
        text = transportable(event.text.replace("\r\n", "\n").replace("\r", "\n"))
        self.sent.leave()
        self.replace(text, *self.selection, maintain_selection_offset=False)

    def _on_large_paste(self, event: LargePaste) -> None:
        """Refuse it."""
        self._take(event)
        self.post_message(self.Refused(event.size))

    def _take(self, event: events.Event) -> None:
        event.stop()
        event.prevent_default()

    def _at_first_row(self) -> bool:
        return self.navigator.is_first_wrapped_line(self.cursor_location)

    def _at_last_row(self) -> bool:
        return self.navigator.is_last_wrapped_line(self.cursor_location) if self.text else True

    def _look_back(self, direction: int) -> None:
        found = self.sent.older(self.text) if direction < 0 else self.sent.newer()
        if found is not None:
            self.put(found)


def transportable(text: str) -> str:
    """Return the text without halves of characters, which no message can carry."""
    return text.encode("utf-8", errors="replace").decode()
