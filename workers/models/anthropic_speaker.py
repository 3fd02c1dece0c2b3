"""Endpoints that speak the Anthropic protocol. Imported only where one is configured (``speakers``)."""

import json

import anthropic
import httpx2
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel, AnthropicModelSettings
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.settings import ModelSettings

from protocol.messages import Endpoint
from workers.models.port import SDK_RETRIES

ERRORS: tuple[type[Exception], ...] = (anthropic.AnthropicError,)


def speak(endpoint: Endpoint, http: httpx2.AsyncClient) -> tuple[Model, ModelSettings]:
    """Return the library's model and settings for an endpoint."""
    client = anthropic.AsyncAnthropic(
        base_url=endpoint.base_url, api_key=endpoint.api_key or "none", http_client=http, max_retries=SDK_RETRIES
    )
    settings = AnthropicModelSettings()
    if endpoint.max_output_tokens is not None:
        settings["max_tokens"] = endpoint.max_output_tokens
    if endpoint.temperature is not None:
        # What the protocol allows ends at 1; the range of the setting is that of the OpenAI protocol.
        settings["temperature"] = min(1.0, endpoint.temperature)
    return AnthropicModel(endpoint.model, provider=AnthropicProvider(anthropic_client=client)), settings


def _warm_answer() -> str:
    usage = {"input_tokens": 1, "output_tokens": 1}
    message: dict[str, object] = {"id": "w", "type": "message", "role": "assistant", "content": [], "model": "m"}
    message |= {"stop_reason": None, "stop_sequence": None, "usage": usage}
    events: list[dict[str, object]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "warm"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ]
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)


WARM_ANSWER = _warm_answer()
