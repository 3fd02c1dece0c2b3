"""An editor: the client of the protocol's own library, with a person who answers as the test says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from acp import PROTOCOL_VERSION, spawn_agent_process
from acp.schema import AllowedOutcome, DeniedOutcome, RequestPermissionResponse

from tests.support.product import COMMAND, Product, wait_for


class Editor:
    """What one editor heard. ``answer`` is the option it chooses, None: it says that the turn was cancelled."""

    def __init__(self) -> None:
        self.updates: list[tuple[str, Any]] = []
        self.questions: list[Any] = []
        self.answer: Callable[[Any], str | None] = lambda _: "approve"
        self.wait: asyncio.Event | None = None
        self.agent: Any = None
        self.pid = 0

    # ---- the library's interface

    def on_connect(self, agent: Any) -> None:
        self.agent = agent

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        self.updates.append((session_id, update))

    async def request_permission(self, session_id: str, tool_call: Any, options: Any, **_: Any) -> Any:
        self.questions.append((session_id, tool_call, options))
        if self.wait is not None:
            await self.wait.wait()
        chosen = self.answer(tool_call)
        if chosen is None:
            return RequestPermissionResponse(outcome=DeniedOutcome(outcome="cancelled"))
        return RequestPermissionResponse(outcome=AllowedOutcome(outcome="selected", option_id=chosen))

    # ---- what a test does

    async def say(self, session: str, text: str) -> Any:
        return await self.agent.prompt(session_id=session, prompt=[{"type": "text", "text": text}])

    def heard(self, session: str, kind: str = "agent_message_chunk") -> str:
        found = [u for s, u in self.updates if s == session and u.session_update == kind]
        return "".join(u.content.text for u in found)

    def of_kind(self, kind: str) -> list[Any]:
        return [u for _, u in self.updates if u.session_update == kind]

    async def until(self, look: Callable[[], Any]) -> Any:
        return await asyncio.to_thread(wait_for, look)


@asynccontextmanager
async def editor(product: Product) -> AsyncIterator[Editor]:
    """An editor with the bridge as its agent."""
    client = Editor()
    spawned = spawn_agent_process(client, COMMAND, "acp", env=product.environment, use_unstable_protocol=True)
    async with spawned as (agent, process):
        client.agent, client.pid = agent, process.pid
        hello = await agent.initialize(protocol_version=PROTOCOL_VERSION)
        assert hello.agent_info.name == "chat-coord"
        yield client
