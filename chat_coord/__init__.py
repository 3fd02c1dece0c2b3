"""Sessions with language models, for programs: each a process of its own behind one coordinator.

``Coordinator`` for plain programs, ``AsyncCoordinator`` for those with an event loop; docs/library.md has examples.
What is named here is what may be relied on; it changes as semantic versions say.
"""

from chat_coord._async import AsyncCoordinator, AsyncSession
from chat_coord._plain import Coordinator, Session
from chat_coord.errors import Absent, Error, TimedOut
from chat_coord.types import (
    Answered,
    Ask,
    Change,
    Event,
    Message,
    Reply,
    SessionInfo,
    Text,
    ToolUse,
    Until,
    Usage,
)

__all__ = [
    "Absent",
    "Answered",
    "Ask",
    "AsyncCoordinator",
    "AsyncSession",
    "Change",
    "Coordinator",
    "Error",
    "Event",
    "Message",
    "Reply",
    "Session",
    "SessionInfo",
    "Text",
    "TimedOut",
    "ToolUse",
    "Until",
    "Usage",
]
