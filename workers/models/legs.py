"""One leg of a turn for pydantic-ai: our tools as its tools, the state that it ends with, and the one it begins with.

A tool that needs a yes raises ``ApprovalRequired``: the run then ends with ``DeferredToolRequests`` instead of text,
and its messages are all that any other process needs to go on. Calls that the rules allow run in between. Only what
this turn added is kept as state; what was said before it comes out of the store.
"""

import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from pydantic import ValidationError
from pydantic_ai import Tool
from pydantic_ai.exceptions import ApprovalRequired
from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter, ToolCallPart
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults, RunContext, ToolApproved, ToolDenied
from pydantic_core import SchemaValidator, core_schema

from protocol.limits import STATE_BYTES
from workers.core import calls
from workers.models.port import ModelFailed

VERSION = 1
# What is no object cannot be passed as arguments; what is in it is checked by the toolbox.
ANYTHING: dict[str, Any] = {"type": "object"}
OBJECT = SchemaValidator(core_schema.dict_schema(keys_schema=core_schema.str_schema()))


class Leg:
    """What a run of the agent gets, besides the conversation.

    Args:
        toolbox: what the model may use; None: nothing.
        resume: what it goes on with; None for a turn that begins.
    """

    def __init__(self, toolbox: calls.Toolbox | None, resume: calls.Resume | None) -> None:
        self._toolbox = toolbox
        self._approved = {} if resume is None else resume.approved
        self._answers = {} if resume is None else resume.answers
        self._asked: dict[str, tuple[calls.Call, calls.NeedsYes]] = {}
        self.requests = 0
        self.messages: list[ModelMessage] = []
        self.results: DeferredToolResults | None = None
        # Tools that were asked for and are not there any more: the model is told why instead of what they do.
        self._gone: set[str] = set()
        if resume is not None:
            self.requests, self.messages = _read(resume.state)
            answers: dict[str, bool | ToolApproved | ToolDenied] = {}
            for call in resume.approved:
                answers[call] = ToolApproved()
            for call, why in resume.denied.items():
                answers[call] = ToolDenied(f"The user said no to this call{_why(why)}.")
            called = _called(self.messages, answers.keys())
            self._gone = called - {tool.name for tool in toolbox.tools} if toolbox is not None else set()
            self.results = DeferredToolResults(approvals=answers)

    @property
    def output_type(self) -> Any:
        """What the run may end with."""
        return str if self._toolbox is None else [str, DeferredToolRequests]

    @property
    def tools(self) -> list[Tool[None]]:
        """The tools as pydantic-ai wants them; one after the other, so that a person can follow."""
        if self._toolbox is None:
            return []
        gone = [calls.Tool(name, "Not available any more.", ANYTHING) for name in sorted(self._gone)]
        return [self._tool(tool) for tool in [*self._toolbox.tools, *gone]]

    def _tool(self, known: calls.Tool) -> Tool[None]:
        function = self._function(known.name)
        tool = Tool.from_schema(function, known.name, known.description, known.schema, takes_ctx=True, sequential=True)
        tool.function_schema.validator = OBJECT
        return tool

    def _function(self, name: str) -> Callable[..., Awaitable[str]]:
        async def use(context: RunContext[None], **arguments: Any) -> str:
            return await self._use(calls.Call(context.tool_call_id or "", name, arguments), context)

        return use

    async def _use(self, call: calls.Call, context: RunContext[None]) -> str:
        toolbox = self._toolbox
        assert toolbox is not None  # noqa: S101 - no toolbox, no tools
        if context.tool_call_approved and call.id in self._approved and call.tool not in self._gone:
            if call.tool == calls.QUESTION:
                return self._answers.get(call.id, "")
            return await toolbox.run(call, self._approved[call.id])
        verdict = toolbox.judge(call)
        if isinstance(verdict, calls.Refusal):
            return f"Error: {verdict.reason}"
        if verdict is None:
            return await toolbox.run(call, None)
        if len(self._asked) >= calls.ASKS_AT_ONCE or call.id in self._asked or not call.id:
            return "Error: too many calls at once that need a yes. Ask for this one again."
        self._asked[call.id] = (call, verdict)
        raise ApprovalRequired

    def pause(self, requests: DeferredToolRequests, messages: list[ModelMessage], spent: int) -> calls.Paused:
        """Return what a person is asked, and the state to go on with.

        Raises:
            ModelFailed: it is too large to be kept.
        """
        head = json.dumps({"v": VERSION, "requests": self.requests + spent}).encode()
        state = head + b"\n" + ModelMessagesTypeAdapter.dump_json(messages)
        if len(state) > STATE_BYTES:
            text = f"The turn has come to {len(state)} bytes, and at most {STATE_BYTES} can wait for a person."
            raise ModelFailed("turn.too_large", text, hint="Ask for less at once.")
        ids = [call.tool_call_id for call in requests.approvals]
        return calls.Paused({key: self._asked[key] for key in ids}, state)


def _read(state: bytes) -> tuple[int, list[ModelMessage]]:
    head, _, body = state.partition(b"\n")
    try:
        facts = json.loads(head)
        if facts["v"] != VERSION:
            raise ValueError(f"version {facts['v']}")  # noqa: TRY301
        return int(facts["requests"]), ModelMessagesTypeAdapter.validate_json(body)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        text = f"The state of this turn cannot be read: {str(error)[:200]}."
        raise ModelFailed("turn.state_unreadable", text, hint="Send the prompt again.") from error


def _called(messages: list[ModelMessage], ids: Iterable[str]) -> set[str]:
    """Return the names of the tools that these calls are of."""
    wanted = set(ids)
    parts = [part for message in messages for part in message.parts if isinstance(part, ToolCallPart)]
    return {part.tool_name for part in parts if part.tool_call_id in wanted}


def _why(why: str) -> str:
    return f": {why}" if why else ""
