"""A scripted model on loopback, as a process of its own: it speaks enough of the OpenAI protocol to stream a reply.

The prompt is the script: ``say N TEXT`` streams TEXT N times, each in a chunk of its own, as fast as it can, ``drip N
TEXT`` does so a hundred times a second. Anything
else is answered with one short chunk. Chunks are rendered once and written in blocks, so that the server is not what
is measured.
"""

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator

CHUNKS_PER_WRITE = 64
DRIP_S = 0.01
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def _chunk(facts: dict[str, object]) -> bytes:
    whole = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "scripted"} | facts
    return f"data: {json.dumps(whole)}\n\n".encode()


def _text(piece: str) -> bytes:
    return _chunk({"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]})


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = re.search(r"content-length: *(\d+)", head, re.IGNORECASE)
        body = json.loads(await reader.readexactly(int(length.group(1)) if length else 0))
        words = str(body["messages"][-1]["content"]).split(" ")
        is_script = len(words) == 3 and words[0] in {"say", "drip"}
        is_slow = is_script and words[0] == "drip"
        number, piece = (int(words[1]), words[2]) if is_script else (1, "ok")
        writer.write(HEAD)
        left, one = number, _text(piece)
        while left > 0:
            writer.write(one * (1 if is_slow else min(left, CHUNKS_PER_WRITE)))
            left -= 1 if is_slow else CHUNKS_PER_WRITE
            await writer.drain()
            if is_slow:
                await asyncio.sleep(DRIP_S)
        usage = {"prompt_tokens": 1, "completion_tokens": number, "total_tokens": number + 1}
        writer.write(_chunk({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        writer.write(_chunk({"choices": [], "usage": usage}) + b"data: [DONE]\n\n")
        await writer.drain()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def _serve() -> None:
    """Print the address, then answer until standard input ends."""
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    async with server:
        await asyncio.to_thread(sys.stdin.read)


@contextlib.asynccontextmanager
async def scripted_model() -> AsyncIterator[str]:
    """Run a server and yield its base address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.model", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()


if __name__ == "__main__":
    asyncio.run(_serve())
