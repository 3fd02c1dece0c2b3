"""One turn without network, so that everything lazy is built in the zygote, before workers are forked.

It matters as much as the import: it builds the validators and the TLS context, so that a forked worker shares their
memory and answers its first prompt at once (models.md).
"""

import asyncio
from collections.abc import Sequence

import httpx2

from protocol.messages import Endpoint
from workers.core.calls import Toolbox
from workers.core.conversation import Line
from workers.models.port import Outcome, Question
from workers.models.pydantic_ai_adapter import PydanticAiModel
from workers.models.speakers import speaker_of

# What the model answers that is not there.
SAID = "warm"


class Free:
    """Permits where nobody has to be asked."""

    async def acquire(self) -> int:
        """Go on."""
        return 1

    def release(self, call: int, outcome: Outcome) -> None:
        """Nothing was counted."""


def transport_of(provider: str) -> httpx2.MockTransport:
    """Return what answers every request in that provider's words, without network."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        del request
        body = speaker_of(provider).warm_answer
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, text=body)

    return httpx2.MockTransport(answer)


async def warm_up(toolbox: Toolbox | None = None, providers: Sequence[str] = ("openai",)) -> None:
    """Answer one prompt for each provider.

    Args:
        toolbox: tools to offer in it, so that what they need is built, too.
        providers: who is spoken with.

    Raises:
        ModelFailed: what a provider needs is not installed.
        RuntimeError: the warm-up turn did not stream what its transport said.
    """
    for provider in providers:
        await _warm(provider, toolbox)
    await asyncio.sleep(0)


async def _warm(provider: str, toolbox: Toolbox | None) -> None:
    heard: list[str] = []
    endpoint = Endpoint(
        provider=provider, base_url="http://warm.up/v1", model="m", api_key="k", context_tokens=1, max_output_tokens=1
    )
    question = Question("be warm", [Line("user", "hi"), Line("assistant", "hello")], "warm up")
    model = PydanticAiModel(transport_of(provider))
    await model.stream(endpoint, question, heard.append, Free(), toolbox=toolbox)
    if "".join(heard) != SAID:
        raise RuntimeError(f"the warm-up turn of {provider} streamed {heard!r}")
