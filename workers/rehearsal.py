"""A worker's first minute, played in the zygote before anything is forked from it.

Whatever an interpreter runs it writes to: it fills its caches and adapts its code to what it sees (PEP 659). What was
run here is written already, and stays shared: measured 0.5 MiB less of its own for each idle worker.
"""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

from protocol import messages as m
from protocol.codec import Decoder, encode
from protocol.launch import Fork
from protocol.logs import log_nowhere, log_to
from protocol.mailbox import Mailbox
from workers.models.pydantic_ai_adapter import PydanticAiModel
from workers.models.warm_up import SAID, transport_of
from workers.shell.kernel_limit import data_bytes
from workers.shell.loop import Worker
from workers.tools.offered import OFFERED

# CPython 3.11 adapts a function after eight calls.
BEATS = 10
BEAT_S = 0.002
TIMES = 4
LIMIT_S = 10.0
_BOOT = 1


class Prompter:
    """The coordinator's part: welcomes, gives an empty history and one prompt, asks for a snapshot, sends away.

    Args:
        endpoint: where the worker connects to.
    """

    def __init__(self, endpoint: str) -> None:
        self._decoder: Decoder[m.WorkerSays] = Decoder(m.WorkerSays)
        self._beats = 0
        self.reply: m.Reply | None = None
        self.mailbox = Mailbox(endpoint, self._on_frame, binds=True)

    def _on_frame(self, frame: bytes) -> None:
        for answer in self._answers(self._decoder.decode(frame)):
            self.mailbox.send(encode(answer))

    def _answers(self, said: m.WorkerSays) -> Iterator[m.ToWorker]:
        match said:
            case m.Hello():
                yield m.Welcome(boot=_BOOT, name="rehearsal", type="development", system=None)
            case m.RestoreWanted():
                yield m.Restore(snapshot=None, rows=[], more=False)
            case m.Restored():
                yield m.Deliver(seq=1, text="hi")
            case m.EndpointWanted():
                yield m.Endpoint(
                    provider="openai",
                    base_url="http://warm.up/v1",
                    model="m",
                    api_key="k",
                    context_tokens=None,
                    max_output_tokens=None,
                    tools=OFFERED,
                )
            case m.PermitWanted():
                yield m.Permit(boot=_BOOT, call=said.call)
            case m.Reply():
                self.reply = said
                yield m.Rack(turn_id=said.turn_id)
                yield m.SnapshotWanted(n=1)
            case m.Ping():
                yield m.Pong(boot=_BOOT)
                self._beats += 1
                if self._beats > BEATS and self.reply is not None:
                    yield m.Leave()


def rehearse() -> None:
    """Play it, with a model that needs no network and an outbox that nobody keeps.

    Raises:
        RuntimeError: the reply is not what the model said.
        TimeoutError: it did not come to its end.
    """
    for _ in range(TIMES):
        with tempfile.TemporaryDirectory(prefix="chat-coord-") as folder:
            asyncio.run(_play(Path(folder)))
            log_nowhere()


async def _play(folder: Path) -> None:
    log_to(folder / "log", "rehearsal")
    data_bytes()
    endpoint = f"ipc://{folder}/socket"
    fork = Fork(
        session="rehearsal",
        epoch=1,
        token=b"",
        name="rehearsal",
        cwd=str(folder),
        env={},
        endpoint=endpoint,
        log="",
        events_log="",
        home=str(folder),
        orphan_exit_s=LIMIT_S,
    )
    prompter = Prompter(endpoint)
    try:
        worker = Worker(fork, PydanticAiModel(transport_of("openai")), beat_s=BEAT_S)
        await asyncio.wait_for(worker.serve(), LIMIT_S)
    finally:
        prompter.mailbox.close()
    if prompter.reply is None or prompter.reply.text != SAID:
        raise RuntimeError(f"the rehearsal ended with {prompter.reply}")
