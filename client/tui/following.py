"""The roster, kept as the coordinator pushes changes: what has changed is asked about, soon and together."""

import asyncio
from collections.abc import Callable

from client.asking import get_session
from client.connection import Connection
from client.core.roster import Roster
from protocol import messages as m
from protocol.errors import ChatCoordError, RemoteError
from protocol.views import SessionView

# The list shows so many; /sessions and the picker's search in it have no more either.
LISTED = 500
# Changes of state are gathered for so long before they are asked about: at most twenty questions a second.
GATHER_S = 0.05
# Beyond so many changed sessions the list is asked for whole.
FEW = 8


class Following:
    """Keeps a roster.

    Args:
        connection: one that listens.
        listed: called when the roster may look otherwise.
    """

    def __init__(self, connection: Connection, listed: Callable[[], None]) -> None:
        self.roster = Roster()
        self._connection = connection
        self._listed = listed
        self._changed: set[str] = set()
        self._is_stale = True
        self._woken = asyncio.Event()
        self._woken.set()

    def changed(self, change: m.Changed) -> None:
        """Note that a session has changed."""
        if change.after == "gone":
            self.roster.drop(change.session)
        self._changed.add(change.session)
        self._woken.set()

    def missed(self) -> None:
        """Note that changes were missed: everything is asked for."""
        self._is_stale = True
        self._woken.set()

    async def run(self) -> None:
        """Ask about what has changed, for ever; many changes at once are one question."""
        while True:
            await self._woken.wait()
            await asyncio.sleep(GATHER_S)
            self._woken.clear()
            changed, self._changed = self._changed, set()
            try:
                if self._is_stale or len(changed) > FEW:
                    self.roster.replace(await self._list())
                    self._is_stale = False
                else:
                    for session in changed:
                        await self._refresh(session)
            except ChatCoordError:
                self._is_stale = True  # gone: whoever comes back calls missed()
            self._listed()

    async def _refresh(self, session: str) -> None:
        try:
            view = await get_session(self._connection, session)
        except RemoteError:
            self.roster.drop(session)
            return
        if view is not None:
            self.roster.put(view)

    async def _list(self) -> list[SessionView]:
        sessions: list[SessionView] = []
        while len(sessions) < LISTED:
            order = m.ListSessions(
                request=self._connection.number(), offset=len(sessions), waiting=False, everything=False
            )
            page = await self._connection.ask(order, m.SessionsAnswer)
            sessions += page.sessions
            if not page.more:
                break
        return sessions
