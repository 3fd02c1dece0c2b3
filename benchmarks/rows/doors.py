"""What the bridge for editors takes beyond the native client: a new session, and the first piece of a reply."""

import os
import sys
import time
from pathlib import Path
from typing import Any

from acp import PROTOCOL_VERSION, spawn_agent_process

from benchmarks.measure import Comparison, Samples, in_turn
from benchmarks.model import scripted_model
from benchmarks.product import Client, running
from protocol.messages import Piece

SESSIONS = 4
LATER_TURNS = 5
PROMPT = "say 3 word_"
EDITOR = "through chat-coord acp"
NATIVE = "native client"
COMMAND = str(Path(sys.executable).with_name("chat-coord"))


class Editor:
    """The client of the protocol's own library; it notes when a piece comes."""

    def __init__(self) -> None:
        self.first_s: float | None = None

    def on_connect(self, agent: Any) -> None:
        """Nothing to do."""

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        """Note the first piece."""
        del session_id
        if update.session_update == "agent_message_chunk" and self.first_s is None:
            self.first_s = time.perf_counter()


async def _native_turn_ms(client: Client, session: str) -> float:
    begun_s = time.perf_counter()
    await client.submit(session, PROMPT)
    await client.until(lambda p: isinstance(p, Piece) and p.session == session)
    taken_ms = (time.perf_counter() - begun_s) * 1000
    await client.final(session)
    return taken_ms


async def _editor_turn_ms(editor: Editor, agent: Any, session: str) -> float:
    editor.first_s, begun_s = None, time.perf_counter()
    await agent.prompt(session_id=session, prompt=[{"type": "text", "text": PROMPT}])
    assert editor.first_s is not None
    return (editor.first_s - begun_s) * 1000


def _beyond(ours: Samples, native: Samples) -> Samples:
    """Take each round's native median off our samples of that round."""
    pairs = zip(ours.rounds, native.round_medians, strict=True)
    return Samples([[value - base for value in one] for one, base in pairs])


async def run(rounds: int) -> list[Comparison]:
    """Measure."""
    editor = Editor()
    async with scripted_model() as url, running(url, max_active_sessions=50) as product, product.client() as client:
        env = dict(os.environ) | {"CHAT_COORD_HOME": str(product.home.root)}
        folder = str(product.folder)
        async with spawn_agent_process(editor, COMMAND, "acp", env=env, use_unstable_protocol=True) as (agent, _):
            await agent.initialize(protocol_version=PROTOCOL_VERSION)
            warm = (await agent.new_session(cwd=folder, mcp_servers=[])).session_id
            await _editor_turn_ms(editor, agent, warm)
            firsts: dict[str, list[list[float]]] = {EDITOR: [], NATIVE: []}

            async def through_editor() -> list[float]:
                made, turns = [], []
                for _ in range(SESSIONS):
                    begun_s = time.perf_counter()
                    session = (await agent.new_session(cwd=folder, mcp_servers=[])).session_id
                    made.append((time.perf_counter() - begun_s) * 1000)
                    await _editor_turn_ms(editor, agent, session)
                    turns += [await _editor_turn_ms(editor, agent, session) for _ in range(LATER_TURNS)]
                    await client.close(session)
                firsts[EDITOR].append(turns)
                return made

            async def native() -> list[float]:
                made, turns = [], []
                for _ in range(SESSIONS):
                    begun_s = time.perf_counter()
                    session = await client.order()
                    made.append((time.perf_counter() - begun_s) * 1000)
                    await _native_turn_ms(client, session)
                    turns += [await _native_turn_ms(client, session) for _ in range(LATER_TURNS)]
                    await client.close(session)
                firsts[NATIVE].append(turns)
                return made

            sides = await in_turn({EDITOR: through_editor, NATIVE: native}, rounds)
    new = Comparison("a new session, from the request until it is committed and answered", "ms", sides)
    new.within(10, "session/new through chat-coord acp, warm: ≤ 10 ms")
    pieces = {name: Samples(taken) for name, taken in firsts.items()}
    whole = Comparison("prompt to first piece, later turn of a worker", "ms", pieces)
    more = _beyond(pieces[EDITOR], pieces[NATIVE])
    beyond = Comparison("the same, beyond the native client in its round", "ms", {EDITOR: more})
    beyond.within(5, "first piece through chat-coord acp: ≤ 5 ms more than the native client")
    return [new, whole, beyond]
