"""The exchange of a door that is opened by its first order: a start that fails is that order's answer."""

import asyncio

from client.connection import Connection
from client.starting import connect
from client.talking import Exchange
from protocol.ids import new_id
from protocol.paths import Home


class Opening:
    """A way to the coordinator, which is started when none runs.

    Args:
        home: whose coordinator.
        door: what the client is called.
    """

    def __init__(self, home: Home, door: str) -> None:
        self._home = home
        self._door = door
        self._exchange: Exchange | None = None
        self._lock = asyncio.Lock()

    async def exchange(self) -> Exchange:
        """Return the exchange.

        Raises:
            ChatCoordError: no coordinator runs, and none can be started.
        """
        async with self._lock:
            if self._exchange is None:
                connection = await connect(self._home, f"{self._door}-{new_id()}", start=True)
                self._exchange = await Exchange(connection, self._home).__aenter__()
            return self._exchange

    async def ready(self) -> Connection:
        """Return the connection, with a coordinator behind it."""
        return await (await self.exchange()).ready()

    async def close(self) -> None:
        """Let go; everything else goes on."""
        if self._exchange is not None:
            await self._exchange.__aexit__(None, None, None)
