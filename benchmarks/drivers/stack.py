"""The same model library, through the same adapter, in a fresh process without a coordinator."""

import asyncio
import time
from typing import Any

from serve import serve


def turn(url: str, prompt: str) -> dict[str, Any]:
    """Answer a prompt.

    Returns:
        ``pieces`` and ``bytes`` that came, ``first_ms`` from the call to the first piece, and ``seconds`` from the
        first piece to the last.
    """
    from protocol.messages import Endpoint  # noqa: PLC0415 - the import is part of what a first turn costs
    from workers.models.port import Question  # noqa: PLC0415
    from workers.models.pydantic_ai_adapter import PydanticAiModel  # noqa: PLC0415
    from workers.models.warm_up import Free  # noqa: PLC0415

    endpoint = Endpoint(
        provider="openai", base_url=url, model="scripted", api_key=None, context_tokens=None, max_output_tokens=None
    )
    heard: list[str] = []
    times: list[float] = []

    def on_piece(text: str) -> None:
        heard.append(text)
        times.append(time.perf_counter())

    begun_s = time.perf_counter()
    asyncio.run(PydanticAiModel().stream(endpoint, Question("be short", [], prompt), on_piece, Free()))
    return {
        "pieces": len(heard),
        "bytes": len("".join(heard)),
        "first_ms": (times[0] - begun_s) * 1000,
        "seconds": times[-1] - times[0],
    }


if __name__ == "__main__":
    serve({"turn": turn})
