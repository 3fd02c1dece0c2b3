"""Transcripts of Claude Code: a line of JSON for each message, ``~/.claude/projects/FOLDER/SESSION.jsonl``.

A line has ``type`` user or assistant, ``uuid`` and ``parentUuid``, and a ``message`` as the model's API has it: a text,
or blocks of text, thinking, tool_use and tool_result (results come as user lines). Side chains are conversations of
sub-agents and are left out, as is what the program itself put in (``isMeta``), and what was taken back: prompts that
are not on the way from the last message to the first.
"""

from collections.abc import Iterable
from typing import Any

from client.core.foreign.times import seconds
from client.core.foreign.turns import Conversation, Turns, listed, part, records, word

SAID = frozenset({"user", "assistant"})
# What the program puts between the lines when a command of its own is typed.
OWN_WORDS = ("<command-name>", "<command-message>", "<local-command-")


def parse(lines: Iterable[bytes | None], key: str) -> Conversation:
    """Return the conversation of a transcript.

    Args:
        lines: the file's; None for one that was too long.
        key: what to call it when no line says it.
    """
    found: list[dict[str, Any]] = []
    malformed, title, cwd, session = 0, "", "", ""
    for record in records(lines):
        if record is None:
            malformed += 1
            continue
        title = word(record.get("customTitle")) or word(record.get("summary")) or title
        session = session or word(record.get("sessionId"))
        if word(record.get("type")) in SAID and not isinstance(record.get("message"), dict):
            malformed += 1
        elif not record.get("isSidechain"):
            cwd = cwd or word(record.get("cwd"))
            found.append(record)
    turns = Turns()
    for record in _kept(found):
        if word(record.get("type")) in SAID:
            _take(turns, record)
    return Conversation(
        session or key, title or turns.title(), cwd or None, turns.first_at, turns.last_at, turns.rows(), malformed
    )


def _take(turns: Turns, record: dict[str, Any]) -> None:
    at, is_prompt = seconds(record.get("timestamp")), record["type"] == "user"
    if record.get("isMeta") or record.get("isCompactSummary"):
        return
    content = part(record, "message").get("content")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else listed(content)
    for block in blocks:
        kind, text = word(part(block).get("type")), word(part(block).get("text"))
        if kind == "text" and is_prompt and not text.startswith(OWN_WORDS):
            turns.ask(text, at)
        elif kind == "text" and not is_prompt:
            turns.reply(text, at)
        elif kind == "tool_use":
            turns.tool(word(block.get("name")), block.get("input"), at)
        elif kind == "tool_result":
            turns.result(_result(block.get("content")), at)
        elif kind in {"image", "document"} and is_prompt:
            turns.ask(f"[{kind}]", at)


def _result(content: object) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(word(part(block).get("text")) or f"[{word(part(block).get('type'))}]" for block in listed(content))


def _is_prompt(record: dict[str, Any]) -> bool:
    """Say whether a person said it; results of tools come as user lines too."""
    content = part(record, "message").get("content")
    results = [block for block in listed(content) if part(block).get("type") == "tool_result"]
    return record.get("type") == "user" and not results and not record.get("isMeta")


def _kept(found: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """Yield the lines without the prompts that were taken back, and what came of those.

    Lines of another tree than the last one's are an earlier part of the conversation, and stay.
    """
    parents = {word(record.get("uuid")): word(record.get("parentUuid")) for record in found}
    last = next((word(record.get("uuid")) for record in reversed(found) if word(record.get("type")) in SAID), "")
    way, root = set[str](), last
    while last in parents and last not in way:
        way.add(last)
        root, last = last, parents[last]
    fates: dict[str, bool] = {}
    for record in found:
        uuid, parent = word(record.get("uuid")), word(record.get("parentUuid"))
        is_kept = fates.get(parent, True)
        if uuid == root or parent in fates:  # of the tree
            is_kept = is_kept and (uuid in way or not _is_prompt(record))
            fates[uuid] = is_kept
        if is_kept:
            yield record
