"""What waits for a yes, in the terminal: shown when it comes, answered by a command, and taken back when others did."""

from collections.abc import Callable

from client.asking import all_asks, cancel, decide
from client.connection import Connection
from client.output import ask_text, say
from protocol import messages as m
from protocol.terminal_safe import clean, clean_line
from protocol.views import AskView


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
        self._aside(f"[{clean_line(ask.tool)} needs your yes: /approve, or /deny WHY]")
        self._aside("\n".join(f"    {line}" for line in clean(ask.text).splitlines()))
