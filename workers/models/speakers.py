"""Which library speaks with an endpoint, by its provider. One that is an extra is imported when it is first needed.

The zygote does that before it forks, for the providers that are configured, so that workers share the memory.
"""

import importlib
from dataclasses import dataclass
from typing import Protocol

import httpx2
from pydantic_ai.models import Model
from pydantic_ai.settings import ModelSettings

from protocol.extras import EXTRAS, how_to_install
from protocol.messages import Endpoint
from workers.models import openai_speaker
from workers.models.port import ModelFailed

MODULES = {"anthropic": "workers.models.anthropic_speaker"}


class Speak(Protocol):
    """Makes the library's model and settings for an endpoint."""

    def __call__(self, endpoint: Endpoint, http: httpx2.AsyncClient) -> tuple[Model, ModelSettings]:
        """Return both."""
        ...


@dataclass(frozen=True, slots=True)
class Speaker:
    """How to speak with the endpoints of a provider.

    Args:
        speak: makes the library's model.
        errors: what its SDK raises by itself.
        always_says_why: its streams name the reason of their end, so one without was cut off.
        warm_answer: a stream that says "warm", for the warm-up.
    """

    speak: Speak
    errors: tuple[type[Exception], ...]
    always_says_why: bool
    warm_answer: str


def speaker_of(provider: str) -> Speaker:
    """Return who speaks with a provider's endpoints.

    Raises:
        ModelFailed: what it needs is not installed.
    """
    if provider not in MODULES:
        return Speaker(openai_speaker.speak, openai_speaker.ERRORS, False, openai_speaker.WARM_ANSWER)
    try:
        module = importlib.import_module(MODULES[provider])
    except ImportError as error:
        text = f"Models of the provider {provider!r} need the package {EXTRAS[provider][0]!r}: {error}."
        hint = f"Run `{how_to_install(provider)}`, then `chat-coord restart`, and send again."
        raise ModelFailed("model.not_installed", text, hint=hint) from error
    return Speaker(module.speak, module.ERRORS, True, module.WARM_ANSWER)
