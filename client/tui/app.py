"""The full-screen terminal: what is on the screen, and what the keys do. What it knows is in ``client.tui.talk``."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import ClassVar

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import OptionList, Static

from client.connection import Connection
from client.core.input_router import COMMANDS
from client.core.record import Record
from client.core.roster import title
from client.core.suggesting import Suggestion, suggestions
from client.tui.bars import KeyBar, TopBar
from client.tui.conversation import Conversation
from client.tui.dialogs import Paper, Picker
from client.tui.driver import Driver
from client.tui.entry import Entry
from client.tui.inbox import Inbox
from client.tui.keys import teach
from client.tui.session_list import SessionList
from client.tui.talk import Talk
from protocol.errors import ChatCoordError
from protocol.limits import PROMPT_BYTES
from protocol.paths import Home
from protocol.terminal_safe import clean, clean_line
from protocol.views import SessionView

# A reply that streams is drawn at most fifteen times a second, also over a slow line.
FRAME_S = 1 / 15
# Ages are shown anew so often; nothing is asked for that.
AGES_S = 5.0
DRAFT_S = 1.0
HINTS = 6
HELP = """Keys
  Enter          send                      Ctrl+J, Alt+Enter  begin a new line
  Up, Down       what was sent before      Tab                complete a command or a name
  PgUp, PgDn     scroll the conversation   Ctrl+End           back to its end
  Esc            interrupt the turn        Ctrl+N             a new session
  Alt+1 … Alt+9  session by its number     Alt+W              the next session that waits for you
  Ctrl+P         find a session, and peek  F2                 the inbox: approve and deny
  Ctrl+B         hide or show the list     Ctrl+Q             leave; sessions go on

Commands
{commands}
  @NAME TEXT  send to another session without leaving this one; //TEXT sends a text that begins with /"""


class ChatApp(App[None]):
    """One terminal.

    Args:
        connection: an open one of its own.
        home: for settings and models.
        session: the one to open first.
        observes: only look, and keep nothing awake.
        now: the wall clock, which ages are counted by.
    """

    TITLE = "chat-coord"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (64, "-normal"), (110, "-wide")]  # noqa: RUF012 - so Textual has it
    VERTICAL_BREAKPOINTS = [(0, "-short"), (8, "-tall")]  # noqa: RUF012
    CSS = """
    Screen { background: $background; }
    * { scrollbar-color: $primary-muted; scrollbar-background: $background; scrollbar-color-hover: $primary; }
    #main { width: 1fr; }
    #entry { height: auto; border-top: solid $panel; }
    #mark { width: 2; color: $accent; text-style: bold; }
    #entry Entry { width: 1fr; }
    #hints { height: auto; max-height: 7; padding: 0 1; color: $text-muted; display: none; }
    #state { height: auto; max-height: 2; padding: 0 1; background: $error; color: $text; display: none; }
    .-wide SessionList { width: 38; }
    .-narrow SessionList, .-without-list SessionList { display: none; }
    .-short TopBar, .-short KeyBar, .-short #hints { display: none; }
    .-short #entry { border-top: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "leave", "leave", priority=True),
        Binding("alt+w", "next_waiting", "next waiting", priority=True),
        Binding("ctrl+n", "new", "new", priority=True),
        Binding("ctrl+p", "find", "find", priority=True),
        Binding("ctrl+b", "list", "list", priority=True),
        Binding("f1", "help", "help"),
        Binding("f2", "inbox", "inbox"),
        Binding("escape", "interrupt", "interrupt"),
        Binding("ctrl+c", "interrupt", "interrupt"),
        Binding("ctrl+end", "end", "end", priority=True),
        *(Binding(f"alt+{n}", f"session({n})", f"session {n}", priority=True) for n in range(1, 10)),
    ]

    def __init__(
        self,
        connection: Connection,
        home: Home,
        session: SessionView,
        *,
        observes: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        teach()
        # Served in a browser, the server chooses the driver.
        super().__init__(driver_class=None if os.environ.get("TEXTUAL_DRIVER") else Driver)
        self.talk = Talk(connection, home, session, self, observes=observes)
        self._now = now
        self._dues: dict[str, asyncio.TimerHandle] = {}
        self._drawn_s = 0.0
        self._window_title = ""
        self._found: list[Suggestion] = []
        self._shown = session.id

    def compose(self) -> ComposeResult:
        """Lay out."""
        yield TopBar()
        with Horizontal():
            yield SessionList()
            with Vertical(id="main"):
                yield Conversation()
                yield Static(id="state")
                yield Static(id="hints")
                with Horizontal(id="entry"):
                    yield Static("> ", id="mark")
                    yield Entry()
        yield KeyBar()

    async def on_mount(self) -> None:
        """Begin."""
        self.conversation, self.entry = self.query_one(Conversation), self.query_one(Entry)
        self.entry.placeholder = "only looking" if self.talk.observes else "type here; / lists the commands"
        self.entry.focus()
        self.talk.remember = self.entry.sent.add  # type: ignore[method-assign]
        if not self.is_headless:
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self.exit)
        self._write("\x1b[22;0t")  # the title comes back in the end
        self._started_by = os.getppid()
        self.set_interval(AGES_S, self._look_around)
        self.run_worker(self._begin(), exclusive=False)

    def _look_around(self) -> None:
        """Show the ages anew; a server of browsers that was killed leaves no terminal behind."""
        self.listed()
        if os.environ.get("TEXTUAL_DRIVER") and os.getppid() != self._started_by:
            self.exit()

    async def _begin(self) -> None:
        try:
            await self.talk.begin()
        except ChatCoordError as error:
            self.talk.problem(error)

    async def on_unmount(self) -> None:
        """Put away what was begun."""
        self._put_draft_down()
        await self.talk.end()
        self._write("\x1b[23;0t")

    # ---- the face

    def show(self, record: Record) -> None:
        """Another session is looked at, or the same with more."""
        current = self.talk.session.id
        if current != self._shown:
            self.talk.record(self._shown).draft = self.entry.text
            self._shown = current
            self.entry.put(record.draft)
        elif record.draft and not self.entry.text:
            self.entry.put(record.draft)
        self.conversation.show(record)
        self.listed()

    def grew(self) -> None:
        """Draw the record that is looked at, soon."""
        self._soon("grew", max(0.0, self._drawn_s + FRAME_S - time.monotonic()), self._draw)

    def _draw(self) -> None:
        self._drawn_s = time.monotonic()
        if self.talk.record(self._shown) is self.conversation.record:
            self.conversation.update()

    def listed(self) -> None:
        """Draw list, indicator and title, soon."""
        self._soon("listed", FRAME_S, self._draw_list)

    def _draw_list(self) -> None:
        now, session, waiting = self._now(), self.talk.session, self.talk.roster.waiting()
        self.query_one(SessionList).update(self.talk.roster.listed(), session.id, now)
        more = " · only looking" if self.talk.observes else ""
        self.query_one(TopBar).update(session, waiting, now, more)
        if isinstance(self.screen, Inbox):
            self.run_worker(self.screen.refresh_asks(), exclusive=True, group="inbox")
        words = title(len(waiting))
        if words != self._window_title:
            self._window_title = words
            self._write(f"\x1b]0;{words}\x07")

    def ring(self, session: str, text: str) -> None:
        """Tell a person who looks elsewhere, once for each episode."""
        del session
        if not self.app_focus:
            self.bell()
            self._write(f"\x1b]9;chat-coord: {clean_line(text)}\x07")

    def state(self, text: str) -> None:
        """Say that something is amiss until it is well again."""
        line = self.query_one("#state", Static)
        line.update(Content(clean(text)))
        line.display = bool(text)

    def heard(self, command: str, text: str) -> None:
        """Show a long answer."""
        self.push_screen(Paper(command, text))

    def open_inbox(self) -> None:
        """Show everything that waits."""
        self.action_inbox()

    def give_back(self, session: str, line: str) -> None:
        """The line was not taken: it stands where it was typed, before what was begun since."""
        record = self.talk.record(session)
        if session == self._shown:
            rest = self.entry.text
            self.entry.put(f"{line}\n{rest}" if rest else line)
        else:
            record.draft = f"{line}\n{record.draft}" if record.draft else line

    # ---- the input

    def on_entry_sent(self, event: Entry.Sent) -> None:
        """Enter was typed."""
        line = event.text
        if not line.strip():
            return
        self.entry.sent.add(line)
        self.entry.put("")
        self._put_draft_down()
        self.conversation.to_end()
        self.run_worker(self._obey(line), exclusive=False)

    async def _obey(self, line: str) -> None:
        if not await self.talk.obey(line):
            self.exit()

    def on_text_area_changed(self) -> None:
        """The input has changed: fit it, offer what it could become, keep the draft."""
        self.entry.fit()
        self._put_draft_down()
        self._soon("draft", DRAFT_S, lambda: self.run_worker(self._keep_draft(), exclusive=True, group="draft"))
        names = [clean_line(s.name) for s in self.talk.roster.listed()]
        found = suggestions(self.entry.text, names)[:HINTS]
        if found == self._found:
            return
        self._found = found
        hints = self.query_one("#hints", Static)
        lines = [
            Content.assemble((f"{'Tab ' if i == 0 else '    '}{s.label}", "bold"), f"  {s.about}")
            for i, s in enumerate(self._found)
        ]
        hints.update(Content("\n").join(lines))
        hints.display = bool(lines)

    async def _keep_draft(self) -> None:
        with contextlib.suppress(ChatCoordError):
            await self.talk.keep_draft(self._shown)

    def _put_draft_down(self) -> None:
        self.talk.record(self._shown).draft = self.entry.text

    def on_entry_refused(self, event: Entry.Refused) -> None:
        """A paste was too large."""
        self.talk.record(self._shown).note(
            f"The paste has {event.size} bytes; {PROMPT_BYTES} are allowed. Put it into a file and name it: @path",
            "problem",
        )
        self.grew()

    def on_entry_completing(self) -> None:
        """Tab was typed: take the first suggestion."""
        if self._found:
            self.entry.put(self._found[0].line)

    async def on_entry_paging(self, event: Entry.Paging) -> None:
        """The conversation moves; at its beginning what is older is fetched."""
        if event.direction < 0 and self.conversation.scroll_offset.y == 0:
            with contextlib.suppress(ChatCoordError):
                self.conversation.grew_before(await self.talk.earlier())
        self.conversation.page(event.direction)

    # ---- keys

    def action_leave(self) -> None:
        """Leave; it works over every dialog."""
        self.exit()

    def action_end(self) -> None:
        """Follow the conversation again."""
        self.conversation.to_end()

    def action_list(self) -> None:
        """Hide or show the list."""
        self.screen.toggle_class("-without-list")

    def action_help(self) -> None:
        """Show keys and commands."""
        commands = "\n".join(f"  {line}" for line in COMMANDS.values())
        self.push_screen(Paper("Help", HELP.format(commands=commands)))

    def action_inbox(self) -> None:
        """Show everything that waits."""
        if not isinstance(self.screen, Inbox):
            self.push_screen(Inbox(self.talk, self._now), self._go_by_id)

    def action_find(self) -> None:
        """Choose a session by some letters."""
        if not isinstance(self.screen, Picker):
            listed = self.talk.roster.listed()
            self.push_screen(Picker(listed, self.talk.session.id, self._now(), self.talk.peek), self._go)

    def action_interrupt(self) -> None:
        """End the turn that runs here."""
        self.run_worker(self.talk.interrupt(), exclusive=False)

    def action_new(self) -> None:
        """Make a session and look at it."""
        self.run_worker(self._obey("/new"), exclusive=False)

    def action_next_waiting(self) -> None:
        """Look at the next session that needs a person."""
        self._go(self.talk.roster.next_waiting(self.talk.session.id))

    def action_session(self, number: int) -> None:
        """Look at the session with this number."""
        self._go(self.talk.roster.numbered(number))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A session was clicked."""
        if isinstance(event.option_list, SessionList):
            self._go_by_id(event.option_id)
            self.entry.focus()

    def _go_by_id(self, session: str | None) -> None:
        self._go(self.talk.roster.get(session) if session else None)

    def _go(self, session: SessionView | None) -> None:
        while len(self.screen_stack) > 1:
            self.pop_screen()
        if session is not None and session.id != self.talk.session.id:
            self.run_worker(self.talk.go(session), exclusive=False)

    # ---- what Textual does otherwise

    def on_resize(self, event: events.Resize) -> None:
        """The list is as wide as the screen lets it."""
        del event
        self.listed()

    def watch_theme(self) -> None:
        """Colours have changed."""
        if self.is_running:
            self.conversation.repaint()

    def _soon(self, what: str, delay_s: float, deed: Callable[[], object]) -> None:
        """Do it once after the delay, however often it is asked for meanwhile. A timer of Textual's may be skipped."""
        if what not in self._dues:
            self._dues[what] = asyncio.get_running_loop().call_later(delay_s, self._due, what, deed)

    def _due(self, what: str, deed: Callable[[], object]) -> None:
        del self._dues[what]
        if self.is_running:
            deed()

    def _write(self, sequence: str) -> None:
        """Send the terminal something of our own making."""
        if self._driver is not None and not self.is_headless:
            self._driver.write(sequence)
