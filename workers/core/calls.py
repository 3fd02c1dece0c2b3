"""A tool call as everything on this side of the model library sees it, and what a toolbox says to it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from protocol.views import AskKind

# Rounds of calls within a turn; a model that needs more is in a circle.
ROUNDS = 50
# Calls of one leg that a person is asked for at once.
ASKS_AT_ONCE = 16
# The tool that is a question to the person; the answer is what it returns.
QUESTION = "ask_person"


@dataclass(frozen=True, slots=True)
class Tool:
    """What a model is told of a tool."""

    name: str
    description: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """The model wants this. ``id`` is the model's name for the call."""

    id: str
    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NeedsYes:
    """A person must be asked: what is shown whole, and the digest of what exactly would run."""

    argv: list[str]
    text: str
    digest: str
    kind: AskKind = "approval"


@dataclass(frozen=True, slots=True)
class Refusal:
    """It is not run, and the model is told why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Paused:
    """The model's turn stopped: these calls need a yes, and ``state`` is what it goes on with."""

    questions: dict[str, tuple[Call, NeedsYes]] = field(default_factory=dict)
    state: bytes = b""


@dataclass(frozen=True, slots=True)
class Resume:
    """A turn goes on: its state, the digest that was approved by call, the reason of each no by call.

    ``answers`` is what was said, by call, beside a yes: the answers to questions.
    """

    state: bytes
    approved: dict[str, str]
    denied: dict[str, str]
    answers: dict[str, str] = field(default_factory=dict)


class Toolbox(Protocol):
    """What a model may use in one leg of a turn."""

    @property
    def tools(self) -> list[Tool]:
        """Say what there is."""
        ...

    def judge(self, call: Call) -> NeedsYes | Refusal | None:
        """Say whether a call may run: None is yes."""
        ...

    async def run(self, call: Call, digest: str | None) -> str:
        """Run a call that is allowed, or approved under this digest, and return what the model is told."""
        ...
