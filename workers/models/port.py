"""The port between a turn and a model: stream a reply, report what it cost, or say in one sentence what is wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from protocol.errors import ChatCoordError
from protocol.messages import Endpoint
from protocol.views import Usage
from workers.core.conversation import Line


class ModelFailed(ChatCoordError):
    """A model did not answer as it should. ``code`` is set per case.

    Args:
        code: the stable code.
        message: the sentence.
        hint: what to do.
    """

    code: ClassVar[str] = "model.failed"

    def __init__(self, code: str, message: str, *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.case = code


@dataclass(frozen=True, slots=True)
class Question:
    """What a model is asked: instructions, earlier exchanges, the prompt."""

    instructions: str | None
    earlier: list[Line]
    prompt: str


class ChatModel(Protocol):
    """Something that answers."""

    async def stream(self, endpoint: Endpoint, question: Question, on_piece: Callable[[str], None]) -> Usage:
        """Answer, calling back with each piece of text as it comes.

        Raises:
            ModelFailed: the endpoint cannot be reached, refuses, or breaks off.
        """
        ...
