"""Endpoints that speak the OpenAI protocol, local ones among them."""

import json

import httpx2
import openai
from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIChatModelSettings
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings

from protocol.messages import Endpoint
from workers.models.port import SDK_RETRIES

ERRORS: tuple[type[Exception], ...] = (openai.OpenAIError,)
# A local model answers the same way every time, unless a temperature is set.
LOCAL = OpenAIChatModelSettings(temperature=0.0, seed=1)
# Without a penalty so small a model as the embedded one falls into loops at temperature 0; with more than this its
# short answers get worse (docs/adr/0004-embedded-model.md).
SMALL_PENALTY = 0.3


def speak(endpoint: Endpoint, http: httpx2.AsyncClient) -> tuple[Model, ModelSettings]:
    """Return the library's model and settings for an endpoint."""
    client = openai.AsyncOpenAI(
        base_url=endpoint.base_url, api_key=endpoint.api_key or "none", http_client=http, max_retries=SDK_RETRIES
    )
    model = OpenAIChatModel(endpoint.model, provider=OpenAIProvider(openai_client=client))
    settings = LOCAL.copy() if endpoint.provider == "local" else OpenAIChatModelSettings()
    if endpoint.is_small:
        settings["frequency_penalty"] = SMALL_PENALTY
    if endpoint.max_output_tokens is not None:
        settings["max_tokens"] = endpoint.max_output_tokens
    if endpoint.temperature is not None:
        settings["temperature"] = endpoint.temperature
    return model, settings


def _warm_answer() -> str:
    chunk = {"id": "w", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choices: list[dict[str, object]] = [
        {"index": 0, "delta": {"role": "assistant", "content": "wa"}, "finish_reason": None},
        {"index": 0, "delta": {"content": "rm"}, "finish_reason": None},
        {"index": 0, "delta": {}, "finish_reason": "stop"},
    ]
    chunks: list[dict[str, object]] = [chunk | {"choices": [choice]} for choice in choices]
    chunks.append(
        chunk | {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}},
    )
    return "".join(f"data: {json.dumps(c)}\n\n" for c in chunks) + "data: [DONE]\n\n"


WARM_ANSWER = _warm_answer()
