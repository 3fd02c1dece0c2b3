"""The inbox: everything that waits for a person in all sessions, whole, answered in place."""

from collections.abc import Callable
from typing import ClassVar, Protocol

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from client.core.roster import short_age
from protocol.errors import ChatCoordError
from protocol.terminal_safe import clean, clean_line
from protocol.views import AskView

KEYS = "a approve or answer · d deny · g go there · Esc later"
WHY = "why not? (Enter denies, Esc does not)"
ANSWER = "your answer (Enter sends it, Esc does not)"


class Decider(Protocol):
    """Answers asks."""

    async def asks(self) -> list[AskView]:
        """Return what waits."""

    async def decide(self, ask: AskView, *, approve: bool, why: str = "", answer: str | None = None) -> None:
        """Answer one; a question with words."""


class Inbox(ModalScreen[str | None]):
    """What waits, above; the one under the bar whole, below. It closes with the id of the session to go to, if any."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "later", "Later"),
        ("a", "approve", "Approve"),
        ("d", "deny", "Deny"),
        ("g", "go", "Go there"),
        ("f2,q", "later", "Later"),
    ]
    DEFAULT_CSS = """
    Inbox { align: center middle; }
    Inbox > Vertical { width: 92%; height: 90%; border: round $warning; background: $surface; }
    Inbox OptionList, Inbox OptionList:focus { height: auto; max-height: 40%; border: none; background: $surface; }
    Inbox OptionList:focus > .option-list--option-highlighted { background: $primary-muted; color: $foreground; }
    Inbox #whole { height: 1fr; border-top: solid $panel; padding: 0 1; }
    Inbox #said { height: auto; max-height: 3; padding: 0 1; color: $text-muted; }
    Inbox Input, Inbox Input:focus { border: none; height: 1; padding: 0 1; display: none; }
    Inbox Input.open { display: block; }
    """

    def __init__(self, decider: Decider, now: Callable[[], float]) -> None:
        super().__init__()
        self._decider, self._now = decider, now
        self._asks: list[AskView] = []

    def compose(self) -> ComposeResult:
        """Lay out."""
        with Vertical() as box:
            box.border_title = "Inbox"
            box.border_subtitle = KEYS
            yield OptionList()
            with VerticalScroll(id="whole"):
                yield Static(id="text")
            yield Input(placeholder=WHY)
            yield Static(id="said")

    async def on_mount(self) -> None:
        """Show what waits."""
        await self.refresh_asks()
        self.query_one(OptionList).focus()

    async def refresh_asks(self) -> None:
        """Something was asked or answered: show it, with the bar where it was."""
        at = self._chosen()
        try:
            self._asks = await self._decider.asks()
        except ChatCoordError as error:
            self._say(error.message)
            return
        found = self.query_one(OptionList)
        found.clear_options()
        found.add_options([Option(_head(ask, self._now())) for ask in self._asks])
        if self._asks:
            place = next((i for i, a in enumerate(self._asks) if at is not None and a.id == at.id), 0)
            found.highlighted = place
        self._show()

    def on_option_list_option_highlighted(self) -> None:
        """Show the one under the bar whole."""
        self._show()

    async def action_approve(self) -> None:
        """Say yes; to a question, what is asked for."""
        ask = self._chosen()
        if ask is not None and ask.kind == "question":
            self._open_input(ANSWER)
        else:
            await self._answer(approve=True)

    def action_deny(self) -> None:
        """Ask why, and then say no."""
        if self._chosen() is not None:
            self._open_input(WHY)

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        """Say no, or what was asked for."""
        words, is_answer = event.value.strip(), event.input.placeholder == ANSWER
        self._close_input()
        if not is_answer:
            await self._answer(approve=False, why=words)
        elif words:
            await self._answer(approve=True, answer=words)

    def action_later(self) -> None:
        """Leave it; from the reason back to the list first."""
        if self.query_one(Input).has_class("open"):
            self._close_input()
        else:
            self.dismiss(None)

    def action_go(self) -> None:
        """Open the session that asks."""
        ask = self._chosen()
        self.dismiss(None if ask is None else ask.session)

    def _open_input(self, placeholder: str) -> None:
        line = self.query_one(Input)
        line.value, line.placeholder = "", placeholder
        line.add_class("open")
        line.focus()

    def _close_input(self) -> None:
        self.query_one(Input).remove_class("open")
        self.query_one(OptionList).focus()

    async def _answer(self, *, approve: bool, why: str = "", answer: str | None = None) -> None:
        ask = self._chosen()
        if ask is None:
            return
        try:
            await self._decider.decide(ask, approve=approve, why=why, answer=answer)
        except ChatCoordError as error:
            self._say(error.message)
        else:
            done = "answered" if answer is not None else "approved" if approve else "denied"
            self._say(f"{ask.tool} of {ask.name}: {done}")
        await self.refresh_asks()

    def _chosen(self) -> AskView | None:
        at = self.query_one(OptionList).highlighted
        return self._asks[at] if at is not None and at < len(self._asks) else None

    def _show(self) -> None:
        ask = self._chosen()
        text = "Nothing waits for you." if ask is None else clean(ask.text)
        self.query_one("#text", Static).update(Content(text))
        self.query_one("#whole").scroll_home(animate=False)

    def _say(self, text: str) -> None:
        self.query_one("#said", Static).update(Content(clean_line(text)))


def _head(ask: AskView, now: float) -> Content:
    return Content.assemble(
        ("! ", "bold $warning"),
        (f"[{clean_line(ask.name)}]", "bold"),
        " asks you  " if ask.kind == "question" else f" wants {clean_line(ask.tool)}  ",
        (short_age(ask.since, now), "dim"),
    )
