"""The port between a turn and a model: stream a reply, report what it cost, or say in one sentence what is wrong."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from protocol.errors import ChatCoordError
from protocol.messages import Endpoint, Image
from protocol.views import Usage
from workers.core.calls import Paused, Resume, Toolbox
from workers.core.conversation import Line

# So often an SDK tries again by itself; each time it waits in line.
SDK_RETRIES = 2


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


class ContextTooLong(ModelFailed):
    """The conversation is longer than what the model takes.

    Args:
        message: the sentence.
        counts: how many tokens were sent and how many may be, if the endpoint says so.
        is_first: nothing was answered in this leg of the turn yet, so it can begin anew with less.
    """

    def __init__(self, message: str, *, counts: tuple[int, int] | None, is_first: bool) -> None:
        hint = "Send a shorter prompt, set context_tokens of that model, or go on in a new session."
        super().__init__("model.context_too_long", message, hint=hint)
        self.counts = counts
        self.is_first = is_first


@dataclass(frozen=True, slots=True)
class Question:
    """What a model is asked: instructions, earlier exchanges, the prompt and its images."""

    instructions: str | None
    earlier: list[Line]
    prompt: str
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class Answered:
    """What it cost; ``paused`` when the model wants a tool that needs a person's yes."""

    usage: Usage
    paused: Paused | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request ended: the answer's status (None: no answer came), what it asked for, what it cost."""

    status: int | None = None
    retry_after_s: float | None = None
    usage: Usage = field(default_factory=Usage)


class Permits(Protocol):
    """Who is asked before each request."""

    async def acquire(self) -> int:
        """Wait in line, however long, and return the call's number.

        Raises:
            ModelFailed: the request must not go out.
        """
        ...

    def release(self, call: int, outcome: Outcome) -> None:
        """The call is over, or is not wanted any more; said twice is said once."""
        ...


class ChatModel(Protocol):
    """Something that answers."""

    async def stream(
        self,
        endpoint: Endpoint,
        question: Question,
        on_piece: Callable[[str], None],
        permits: Permits,
        *,
        toolbox: Toolbox | None = None,
        resume: Resume | None = None,
    ) -> Answered:
        """Answer, calling back with each piece of text as it comes. Each request takes a permit of its own.

        Args:
            endpoint: where the model is.
            question: what it is asked.
            on_piece: takes text.
            permits: who is asked before each request.
            toolbox: what it may use; None when it cannot use tools.
            resume: what it goes on with, after a person has answered.

        Raises:
            ModelFailed: the endpoint cannot be reached, refuses, or breaks off.
        """
        ...
