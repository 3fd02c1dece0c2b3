"""From the words of the Agent Client Protocol to ours, and back."""

import base64
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from acp import RequestError
from acp.schema import (
    AgentMessageChunk,
    AvailableCommand,
    AvailableCommandInput,
    AvailableCommandsUpdate,
    ContentToolCallContent,
    EmbeddedResourceContentBlock,
    ImageContentBlock,
    PermissionOption,
    ResourceContentBlock,
    SessionConfigOptionSelect,
    SessionConfigSelectOption,
    SessionInfo,
    TextContentBlock,
    TextResourceContents,
    ToolCallProgress,
    ToolCallStart,
    ToolCallUpdate,
    UnstructuredCommandInput,
    UserMessageChunk,
)

from client.attachments import File, attach
from client.core.attaching import Prompt, image_type
from protocol import messages as m
from protocol.errors import ChatCoordError, RemoteError
from protocol.settings import Settings
from protocol.terminal_safe import clean_line
from protocol.views import SESSION_TYPES, AskView, HistoryRow, SessionView

if TYPE_CHECKING:
    from acp.schema import ToolCallStatus, ToolKind

Category = Literal["model", "mode"]
# The protocol's kinds for our tools; whatever else there is, is other.
KINDS: "dict[str, ToolKind]" = {
    "read_file": "read",
    "list_directory": "read",
    "search_text": "search",
    "write_file": "edit",
    "run_command": "execute",
    "fetch_url": "fetch",
}
STATUSES: "dict[str, ToolCallStatus]" = {"running": "in_progress", "done": "completed"}
APPROVE, DENY = "approve", "deny"
OPTIONS = [
    PermissionOption(option_id=APPROVE, name="Allow this once", kind="allow_once"),
    PermissionOption(option_id=DENY, name="Deny", kind="reject_once"),
]
# Commands of a prompt that begins with a slash: name, what it does, and what may follow.
COMMANDS = {
    "retry": ("Run the last turn again, if it did not complete.", None),
    "rename": ("Give the session another name.", "new name"),
    "search": ("Look for words in every conversation.", "words"),
    "status": ("Show the coordinator at a glance.", None),
}


def refusal(error: ChatCoordError) -> RequestError:
    """Return an error of ours as the protocol has it, with our code for programs and the hint for people."""
    code = error.remote_code if isinstance(error, RemoteError) else error.code
    facts = {"code": code, "hint": error.hint}
    if code == "session.unknown":
        return RequestError(-32002, error.message, facts)
    if code in {"value.illegal", "model.unknown", "prompt.too_large", "prompt.empty", "attachment.bad", "name.illegal"}:
        return RequestError(-32602, error.message, facts)
    return RequestError(-32603, error.message, facts)


def prompt_of(blocks: Iterable[Any]) -> Prompt:
    """Return a prompt, with the texts and pictures that came with it behind it.

    Raises:
        RequestError: it has sounds or files of other kinds, which were not offered.
        PromptTooLarge: it is over the bounds of every prompt.
    """
    words: list[str] = []
    files: list[File] = []
    for block in blocks:
        if isinstance(block, TextContentBlock):
            words.append(block.text)
        elif isinstance(block, ResourceContentBlock):
            words.append(f"{block.name} ({block.uri})")
        elif isinstance(block, EmbeddedResourceContentBlock) and isinstance(block.resource, TextResourceContents):
            files.append((clean_line(block.resource.uri), block.resource.text))
        elif isinstance(block, ImageContentBlock):
            files.append((clean_line(block.uri or f"picture {len(files) + 1}"), _image(block)))
        else:
            text = f"A prompt may have text, pictures, and resources of text, no {block.type}."
            raise RequestError(-32602, text, None)
    return attach("\n".join(words), files)


def _image(block: ImageContentBlock) -> m.Image:
    try:
        data = base64.b64decode(block.data, validate=True)
    except ValueError:
        data = b""
    kind = image_type(data)
    if kind is None:
        raise RequestError(-32602, "A picture must be PNG, JPEG, GIF or WebP, in base64.", None)
    return m.Image(media_type=kind, data=data)


def said(text: str) -> AgentMessageChunk:
    """Return a piece of a reply."""
    return AgentMessageChunk(session_update="agent_message_chunk", content=TextContentBlock(type="text", text=text))


def replayed(row: HistoryRow) -> AgentMessageChunk | UserMessageChunk:
    """Return a message of the history."""
    content = TextContentBlock(type="text", text=row.text)
    if row.role == "user":
        return UserMessageChunk(session_update="user_message_chunk", content=content)
    return AgentMessageChunk(session_update="agent_message_chunk", content=content)


def tool_begins(activity: m.ToolActivity) -> ToolCallStart:
    """Return that a tool runs."""
    return ToolCallStart(
        session_update="tool_call",
        tool_call_id=activity.call,
        title=activity.text or activity.tool,
        kind=KINDS.get(activity.tool, "other"),
        status=STATUSES.get(activity.state, "failed"),
        raw_input={"tool": activity.tool},
    )


def tool_goes_on(call: str, state: str, text: str) -> ToolCallProgress:
    """Return what became of a call."""
    content = ContentToolCallContent(type="content", content=TextContentBlock(type="text", text=text))
    return ToolCallProgress(
        session_update="tool_call_update",
        tool_call_id=call,
        status=STATUSES.get(state, "failed"),
        content=[content] if text else None,
    )


def asked_start(ask: AskView) -> ToolCallStart:
    """Return that a call waits for a yes; it has the ask's id until it runs."""
    return ToolCallStart(
        session_update="tool_call",
        tool_call_id=ask.id,
        title=_title(ask),
        kind=KINDS.get(ask.tool, "other"),
        status="pending",
        raw_input={"tool": ask.tool, "argv": ask.argv},
    )


def asked(ask: AskView) -> ToolCallUpdate:
    """Return the call as the question about it shows it: whole."""
    content = ContentToolCallContent(type="content", content=TextContentBlock(type="text", text=ask.text))
    return ToolCallUpdate(
        tool_call_id=ask.id,
        title=_title(ask),
        kind=KINDS.get(ask.tool, "other"),
        status="pending",
        content=[content],
        raw_input={"tool": ask.tool, "argv": ask.argv},
    )


def _title(ask: AskView) -> str:
    first = ask.text.partition("\n")[0]
    return f"{ask.tool}: {first}"[:200]


def commands() -> AvailableCommandsUpdate:
    """Return what may follow a slash."""
    listed = [
        AvailableCommand(
            name=name,
            description=text,
            input=None if hint is None else AvailableCommandInput(root=UnstructuredCommandInput(hint=hint)),
        )
        for name, (text, hint) in COMMANDS.items()
    ]
    return AvailableCommandsUpdate(session_update="available_commands_update", available_commands=listed)


def command_of(text: str) -> tuple[str, str] | None:
    """Return the command that a prompt is, and what follows it; None when it is a prompt."""
    first, _, rest = text.partition(" ")
    return (first[1:], rest.strip()) if first.startswith("/") and first[1:] in COMMANDS else None


def config_options(session: SessionView, settings: Settings) -> list[SessionConfigOptionSelect]:
    """Return what of a session can be chosen: its model and its type."""
    models = sorted({*settings.all_models(), session.model})
    return [
        _select("model", "Model", "model", session.model, models),
        _select("type", "Type", "mode", session.type, SESSION_TYPES),
    ]


def _select(key: str, name: str, category: Category, current: str, values: Iterable[str]) -> SessionConfigOptionSelect:
    options = [SessionConfigSelectOption(value=value, name=value) for value in values]
    return SessionConfigOptionSelect(
        id=key, name=name, category=category, type="select", current_value=current, options=options
    )


def listed(session: SessionView) -> SessionInfo:
    """Return a session as lists have it."""
    at = datetime.fromtimestamp(session.last_active_at, UTC).isoformat()
    return SessionInfo(session_id=session.id, cwd=session.cwd, title=session.name, updated_at=at)
