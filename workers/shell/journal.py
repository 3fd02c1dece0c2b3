"""What is told of a tool call: an intent on disk before it runs, a mark behind it, and a line for who looks on."""

import asyncio
import logging
from collections.abc import Callable

from protocol import messages as m
from protocol.failpoints import hit
from workers.core.calls import Call
from workers.core.turns import Running
from workers.shell.children import Children
from workers.shell.outbox import Outbox

# How soon a disk that took nothing is tried again.
DISK_RETRY_S = 1.0
# How long a tool that writes waits to hear who else wrote that file.
HOLDERS_S = 1.0

log = logging.getLogger(__name__)


class ToolJournal:
    """The journal of one leg of a turn.

    Args:
        session: whose.
        epoch: of this worker.
        running: the turn.
        outbox: where the intent is noted: without its mark nobody knows what the tool did.
        send: sends to the coordinator.
        children: knows why they were ended.
    """

    def __init__(  # noqa: PLR0917 - what a worker has
        self,
        session: str,
        epoch: int,
        running: Running,
        outbox: Outbox,
        send: Callable[[m.WorkerSays], None],
        children: Children,
    ) -> None:
        self._session = session
        self._epoch = epoch
        self._running = running
        self._outbox = outbox
        self._send = send
        self.why_killed = children.take_reason
        self._answers: dict[str, asyncio.Future[list[str]]] = {}

    async def begin(self, call: Call, text: str) -> None:
        """Note the intent, however long the disk is full: a tool must not run unnoted."""
        running = self._running
        intent = m.ToolIntent(
            session=self._session,
            epoch=self._epoch,
            seq=running.seq,
            turn_id=running.turn_id,
            call=call.id,
            tool=call.tool,
            text=text,
        )
        while True:
            try:
                self._outbox.append(intent)
            except OSError as failure:
                log.warning("intent not noted", extra={"turn": running.turn_id, "reason": str(failure)})
                await asyncio.sleep(DISK_RETRY_S)
            else:
                break
        hit("worker.intent_noted")
        self._tell(call, "running", text)

    def end(self, call: Call, state: str, text: str) -> None:
        """Note that it has run, however it ended."""
        running = self._running
        done = m.ToolDone(
            session=self._session, epoch=self._epoch, seq=running.seq, turn_id=running.turn_id, call=call.id
        )
        hit("worker.tool_ran")
        try:
            self._outbox.append(done)
        except OSError as failure:  # then it counts as unfinished, which only makes people look
            log.warning("tool's end not noted", extra={"turn": running.turn_id, "reason": str(failure)})
        self._tell(call, state, text)

    def _tell(self, call: Call, state: str, text: str) -> None:
        self._send(
            m.ToolState(
                session=self._session,
                epoch=self._epoch,
                seq=self._running.seq,
                turn_id=self._running.turn_id,
                call=call.id,
                tool=call.tool,
                state=state,
                text=text,
            )
        )

    async def holders(self, path: str) -> list[str]:
        """Ask who else wrote the file lately; nobody, when there is no coordinator to ask."""
        answer: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self._answers[path] = answer
        self._send(m.WriteWanted(session=self._session, epoch=self._epoch, path=path))
        try:
            async with asyncio.timeout(HOLDERS_S):
                return await answer
        except TimeoutError:
            return []
        finally:
            self._answers.pop(path, None)

    def heard(self, known: m.WriteKnown) -> None:
        """The coordinator's answer."""
        answer = self._answers.get(known.path)
        if answer is not None and not answer.done():
            answer.set_result(known.holders)
