"""A reply of very many tiny pieces, streamed as fast as everybody can."""

import time

from benchmarks.measure import OURS, Comparison, Samples, in_turn
from benchmarks.model import scripted_model
from benchmarks.peers import python
from benchmarks.processes import Driver
from benchmarks.product import running
from protocol.messages import Final, Piece

CHUNKS = 10_000
TEXT = "tok_"
PROMPT = f"say {CHUNKS} {TEXT}"
ALONE = "same stack without a coordinator"
KERNEL = "Jupyter kernel, stream messages"


async def run(rounds: int) -> list[Comparison]:
    """Measure."""
    messages: list[list[float]] = []
    async with (
        scripted_model() as url,
        running(url) as product,
        product.client() as client,
        Driver("stack.py") as stack,
        Driver("kernels.py", python=python()) as kernels,
    ):
        await kernels.ask("hold")
        await stack.ask("turn", url=url, prompt="say 3 word_")
        session, _ = await client.create()
        await client.turn(session, "say 3 word_")

        async def ours() -> list[float]:
            await client.submit(session, PROMPT)
            pieces: list[Piece] = []
            first_s = last_s = 0.0
            while True:
                message = await client.until(lambda p: isinstance(p, Piece | Final))
                if isinstance(message, Final):
                    break
                assert isinstance(message, Piece)
                last_s = time.perf_counter()
                first_s = first_s or last_s
                pieces.append(message)
            assert [piece.n for piece in pieces] == list(range(len(pieces)))
            assert "".join(piece.text for piece in pieces) == TEXT * CHUNKS
            messages.append([len(pieces) / (last_s - first_s)])
            return [CHUNKS / (last_s - first_s)]

        async def alone() -> list[float]:
            done = await stack.ask("turn", url=url, prompt=PROMPT)
            assert done["bytes"] == len(TEXT) * CHUNKS
            return [CHUNKS / done["seconds"]]

        async def kernel() -> list[float]:
            done = await kernels.ask("stream", number=CHUNKS, text=TEXT)
            assert done["bytes"] == len(TEXT) * CHUNKS
            return [done["messages"] / done["seconds"]]

        sides = await in_turn({OURS: ours, ALONE: alone, KERNEL: kernel}, rounds)
    chunks = Comparison(f"model chunks of {len(TEXT)} bytes through worker and coordinator to a client", "1/s", sides)
    chunks.notes.append(
        "A worker gathers pieces for 20 ms, so the coordinator passes on few large messages: chunks count what the "
        "model said, PIECE messages what travelled. Every piece came, in order."
    )
    size = Comparison(
        "the same in bytes of text",
        "B/s",
        {name: Samples([[v * len(TEXT) for v in one] for one in s.rounds]) for name, s in sides.items()},
    )
    sent = Comparison("the same in PIECE messages, after gathering", "1/s", {OURS: Samples(messages)})
    return [chunks, size, sent]
