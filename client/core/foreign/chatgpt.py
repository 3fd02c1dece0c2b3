"""Exports of ChatGPT: ``conversations.json``, a list of conversations, each a tree of messages.

``mapping`` has the nodes by id, with ``parent``, ``children`` and ``message``; ``current_node`` is the last one of the
way that was shown. Other ways (edited prompts, other answers) are left out.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from client.core.foreign.times import seconds
from client.core.foreign.turns import Conversation, Turns, listed, part, record, word

# What the model thought, and what the program put in.
UNSAID = frozenset({"thoughts", "reasoning_recap", "model_editable_context", "user_editable_context"})


class NoExport(ValueError):
    """The file is no list of conversations."""


def parse(data: bytes) -> Iterator[Conversation | None]:
    """Yield the conversations of an export; None for one that is none.

    Raises:
        NoExport: it is no export at all; says why.
    """
    try:
        found = msgspec.json.decode(data, type=list[msgspec.Raw])
    except RecursionError as error:
        raise NoExport("it is nested too deeply") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NoExport(f"it is no list of conversations: {error}") from error
    return (_conversation(bytes(raw)) for raw in found)


def _conversation(raw: bytes) -> Conversation | None:
    document = record(raw)
    mapping = part(document, "mapping")
    key = word(part(document).get("conversation_id")) or word(part(document).get("id"))
    if document is None or not mapping or not key:
        return None
    turns, malformed = Turns(), 0
    for node in _way(mapping, word(document.get("current_node"))):
        said = node.get("message")
        if said is None:
            continue
        if isinstance(said, dict) and isinstance(said.get("content"), dict):
            _take(turns, said)
        else:
            malformed += 1
    created_at = seconds(document.get("create_time")) or turns.first_at
    last_at = max(seconds(document.get("update_time")), turns.last_at, created_at)
    title = word(document.get("title")) or turns.title()
    return Conversation(key, title, None, created_at, last_at, turns.rows(), malformed)


def _way(mapping: dict[str, Any], last: str) -> list[dict[str, Any]]:
    """Return the nodes from the root to the last one that was shown; without that, by every last child."""
    way: list[dict[str, Any]] = []
    seen: set[str] = set()
    if last not in mapping:
        last = _last_of(mapping)
    while last in mapping and last not in seen:
        seen.add(last)
        node = part(mapping[last])
        way.append(node)
        last = word(node.get("parent"))
    return way[::-1]


def _last_of(mapping: dict[str, Any]) -> str:
    last = next((key for key, node in mapping.items() if not word(part(node).get("parent"))), "")
    seen: set[str] = set()
    while last not in seen:
        seen.add(last)
        children = [word(c) for c in listed(part(mapping.get(last)).get("children")) if word(c) in mapping]
        last = children[-1] if children else last
    return last


def _take(turns: Turns, said: dict[str, Any]) -> None:
    content, role, at = part(said, "content"), word(part(said, "author").get("role")), seconds(said.get("create_time"))
    is_hidden = part(said, "metadata").get("is_visually_hidden_from_conversation")
    if is_hidden or word(content.get("content_type")) in UNSAID or role == "system":
        return
    text = _text(content)
    recipient = word(said.get("recipient")) or "all"
    if role == "user":
        turns.ask(text, at)
    elif role == "assistant" and recipient != "all":
        turns.tool(recipient, text, at)
    elif role == "assistant":
        turns.reply(text, at)
    elif role == "tool" and text.strip():
        turns.result(text, at)


def _text(content: dict[str, Any]) -> str:
    pieces = []
    for piece in listed(content.get("parts")):
        if isinstance(piece, str):
            pieces.append(piece)
        else:
            kind = word(part(piece).get("content_type"))
            pieces.append(word(part(piece).get("text")) or f"[{kind.removesuffix('_asset_pointer') or 'attachment'}]")
    return "\n\n".join(p for p in pieces if p) or word(content.get("text")) or word(content.get("result"))
