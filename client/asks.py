"""What waits for a yes, in the terminal: shown when it comes, answered by a command, and taken back when others did."""

from collections.abc import Callable

from client.asking import all_asks, cancel, decide
from client.connection import Connection
from client.output import ask_text, say
from protocol import messages as m
from protocol.terminal_safe import clean, clean_line
from protocol.views import AskView

# How much of an id, in hexadecimal, is meant as one.
PREFIX_CHARS = 4


class Asks:
    """The commands and messages about asks of one terminal.

    Args:
        connection: the terminal's.
        session: gives the id of the session that is looked at.
        aside: says a line beside the conversation.
    """

    def __init__(self, connection: Connection, session: Callable[[], str], aside: Callable[[str], None]) -> None:
        self._connection = connection
        self._session = session
        self._aside = aside
        self._shown: set[str] = set()

    # ---- commands

    async def inbox(self, rest: str) -> None:
        """Show what waits, in all sessions."""
        del rest
        asks = await all_asks(self._connection)
        for ask in asks:
            say(ask_text(ask))
        if not asks:
            say("Nothing waits for you.")

    async def approve(self, rest: str) -> None:
        """Say yes."""
        await self._decide(rest, "", approve=True)

    async def answer(self, rest: str) -> None:
        """Answer a question: of this session, or the one whose id comes first."""
        questions = [ask for ask in await all_asks(self._connection) if ask.kind == "question"]
        first, _, words = rest.partition(" ")
        named = [ask for ask in questions if len(first) >= PREFIX_CHARS and ask.id.startswith(first)]
        here = [ask for ask in questions if ask.session == self._session()]
        if len(named) == 1 and words.strip():
            ask, text = named[0], words.strip()
        elif len(here) == 1:
            ask, text = here[0], rest
        else:
            say("Say which one, /answer ID TEXT; /inbox shows them." if here else "This session asks nothing.")
            return
        if not text:
            say("Say what: /answer TEXT.")
            return
        await decide(self._connection, ask.id, approve=True, answer=text)
        self._aside("[answered]")

    async def deny(self, rest: str) -> None:
        """Say no, perhaps why."""
        first, _, why = rest.partition(" ")
        known = {ask.id for ask in await all_asks(self._connection)}
        if first and not any(key.startswith(first) for key in known):
            first, why = "", rest  # all of it is the reason
        await self._decide(first, why.strip(), approve=False)

    async def _decide(self, ask: str, why: str, *, approve: bool) -> None:
        wanted = ask
        if not wanted:
            here = [a for a in await all_asks(self._connection) if a.session == self._session()]
            if len(here) != 1:
                say("This session asks nothing." if not here else "Say which one; /inbox shows them.")
                return
            wanted = here[0].id
        decided = await decide(self._connection, wanted, approve=approve, why=why)
        self._aside(f"[{clean_line(decided.tool)} {'approved' if approve else 'denied'}]")

    async def cancel(self, rest: str) -> None:
        """End the turn of the session that is looked at."""
        del rest
        cancelled = await cancel(self._connection, self._session())
        if cancelled.stop_reason != "cancelled":
            self._aside(f"The turn had ended by then: {cancelled.stop_reason}.")

    # ---- pushed

    def told(self, pushed: m.Asking | m.AskResolved | m.ToolActivity) -> None:
        """Say what was pushed, when it is about the session that is looked at."""
        if pushed.session != self._session():
            return
        match pushed:
            case m.Asking():
                self.show(pushed.ask)
            case m.AskResolved():
                self._aside(clean_line(f"[{pushed.tool} {pushed.outcome} by {pushed.by}]"))
            case m.ToolActivity():
                if pushed.state != "running":
                    self._aside(clean_line(f"[{pushed.tool}: {pushed.text}]"))

    def show(self, ask: AskView) -> None:
        """Show an ask once, whole."""
        if ask.id in self._shown:
            return
        self._shown.add(ask.id)
        if ask.kind == "question":
            self._aside("[it asks you something: /answer TEXT, or /deny WHY]")
        else:
            self._aside(f"[{clean_line(ask.tool)} needs your yes: /approve, or /deny WHY]")
        self._aside("\n".join(f"    {line}" for line in clean(ask.text).splitlines()))
