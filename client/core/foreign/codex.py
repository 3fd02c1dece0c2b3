"""Rollouts of Codex: a line of JSON for each item, ``~/.codex/sessions/YYYY/MM/DD/rollout-TIME-SESSION.jsonl``.

A line has ``timestamp``, ``type`` and ``payload``: session_meta first, then response_item (messages, tool calls, their
outputs), turn_context and event_msg, which says again what items say. Older files have the items bare.
"""

from collections.abc import Iterable
from typing import Any

from client.core.foreign.times import seconds
from client.core.foreign.turns import Conversation, Turns, listed, part, record, records, word

# What the program tells the model at the beginning, as if the user had said it.
OWN_WORDS = ("<environment_context>", "<user_instructions>", "<INSTRUCTIONS>", "# AGENTS.md instructions")
CALLS = frozenset({"function_call", "custom_tool_call", "local_shell_call", "web_search_call"})
OUTPUTS = frozenset({"function_call_output", "custom_tool_call_output"})
ITEMS = CALLS | OUTPUTS | {"message"}


def parse(lines: Iterable[bytes | None], key: str) -> Conversation:
    """Return the conversation of a rollout.

    Args:
        lines: the file's; None for one that was too long.
        key: what to call it when no line says it.
    """
    turns = Turns()
    malformed, cwd, session, is_first = 0, "", "", True
    for line in records(lines):
        if line is None:
            malformed += 1
            continue
        kind, payload = word(line.get("type")), part(line, "payload")
        if kind == "session_meta" or (is_first and not kind):
            meta = payload or line
            session, cwd = session or word(meta.get("id")), cwd or word(meta.get("cwd"))
        elif kind == "response_item" and not payload:
            malformed += 1
        elif kind == "response_item" or kind in ITEMS:
            _take(turns, payload or line, seconds(line.get("timestamp")))
        is_first = False
    return Conversation(
        session or key, turns.title(), cwd or None, turns.first_at, turns.last_at, turns.rows(), malformed
    )


def _take(turns: Turns, item: dict[str, Any], at: float) -> None:
    kind = word(item.get("type"))
    if kind == "message":
        parts = [word(part(p).get("text")) or _stand_in(part(p)) for p in listed(item.get("content"))]
        text = "\n\n".join(p for p in parts if p)
        if item.get("role") == "user" and not text.lstrip().startswith(OWN_WORDS):
            turns.ask(text, at)
        elif item.get("role") == "assistant":
            turns.reply(text, at)
    elif kind in CALLS:
        said = next((item[k] for k in ("arguments", "input", "action") if k in item), "")
        turns.tool(word(item.get("name")) or kind.removesuffix("_call"), said, at)
    elif kind in OUTPUTS:
        turns.result(_output(item.get("output")), at)


def _stand_in(content: dict[str, Any]) -> str:
    return "[image]" if content.get("type") == "input_image" else ""


def _output(output: object) -> str:
    """Return what a tool answered; it may be an object with ``output`` or ``content``, also within a text."""
    if isinstance(output, list):
        return "\n".join(word(part(p).get("text")) for p in output)
    inner = record(output.encode(errors="replace")) if isinstance(output, str) and output.startswith("{") else output
    found = part(inner).get("output", part(inner).get("content"))
    return found if isinstance(found, str) else word(output)
