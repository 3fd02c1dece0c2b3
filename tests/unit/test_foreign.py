"""Conversations of other programs, in the shapes that those programs write."""

import json

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from client.core.arranging import LOST, arranged
from client.core.foreign import chatgpt, claude_code, codex
from client.core.foreign.times import seconds
from client.core.foreign.turns import slug
from client.core.since import since
from protocol.limits import REPLY_BYTES
from protocol.views import HistoryRow


def lines(*records: object) -> list[bytes]:
    return [record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]


def said(rows: list[HistoryRow]) -> list[tuple[str, str]]:
    return [(row.role, row.text) for row in rows]


def check(rows: list[HistoryRow]) -> None:
    """What every import must be, so that the store takes it."""
    for i, row in enumerate(rows):
        assert row.seq == i + 1
        assert row.role == ("assistant" if i % 2 else "user")
        assert row.reply_to == (i if i % 2 else None)
        assert len(row.text.encode()) <= REPLY_BYTES


# How Claude Code writes


def claude(kind: str, uuid: str, parent: str | None, content: object, **more: object) -> dict:
    return {
        "parentUuid": parent, "isSidechain": False, "userType": "external", "cwd": "/home/u/project",
        "sessionId": "4f35e220-c435-4cf7-b9b9-f40426042847", "version": "2.0.61", "gitBranch": "main", "type": kind,
        "message": {"role": kind, "content": content}, "uuid": uuid, "timestamp": "2025-05-26T07:27:40.079Z",
    } | more  # fmt: skip


CLAUDE = (
    {"type": "file-history-snapshot", "messageId": "x", "snapshot": {}},
    claude("user", "m", None, "Caveat: the messages below were generated", isMeta=True),
    claude("user", "a", "m", "list the files"),
    claude("assistant", "b", "a", [{"type": "thinking", "thinking": "hm", "signature": "s"}]),
    claude("assistant", "c", "b", [{"type": "text", "text": "I look."}]),
    claude("assistant", "d", "c", [{"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}}]),
    claude(
        "user", "e", "d",
        [{"tool_use_id": "toolu_1", "type": "tool_result", "content": [{"type": "text", "text": "a.py"}]}],
        toolUseResult={"stdout": "a.py"},
    ),
    claude("assistant", "f", "e", [{"type": "text", "text": "One file: a.py"}]),
    claude("user", "g", "f", [{"type": "text", "text": "thanks"}, {"type": "image", "source": {"data": "…"}}]),
    claude("assistant", "h", "g", [{"type": "text", "text": "welcome"}], timestamp="2025-05-26T07:28:00Z"),
    claude("user", "s", "h", "a sub-agent", isSidechain=True),
    {"type": "summary", "summary": "Listing the files", "leafUuid": "h"},
)  # fmt: skip


def test_a_transcript_of_claude_code():
    found = claude_code.parse(lines(*CLAUDE), "file")

    assert said(found.rows) == [
        ("user", "list the files"),
        ("assistant", 'I look.\n\n[tool Bash: {"command":"ls"}]\n\n[tool result: a.py]\n\nOne file: a.py'),
        ("user", "thanks\n\n[image]"),
        ("assistant", "welcome"),
    ]
    check(found.rows)
    assert (found.key, found.title, found.cwd) == (
        "4f35e220-c435-4cf7-b9b9-f40426042847", "Listing the files", "/home/u/project",
    )  # fmt: skip
    assert (found.created_at, found.last_active_at, found.malformed) == (1748244460.079, 1748244480.0, 0)


def test_what_was_taken_back_is_left_out_and_parallel_tools_stay():
    found = claude_code.parse(
        lines(
            claude("user", "a", None, "one"),
            claude("assistant", "b", "a", [{"type": "text", "text": "first answer"}]),
            claude("user", "x", "b", "a prompt that was taken back"),
            claude("assistant", "y", "x", [{"type": "text", "text": "what came of it"}]),
            claude("user", "c", "b", "another prompt"),
            claude("assistant", "d1", "c", [{"type": "tool_use", "name": "A", "input": {}}]),
            claude("assistant", "d2", "d1", [{"type": "tool_use", "name": "B", "input": {}}]),
            claude("user", "r1", "d1", [{"type": "tool_result", "content": "of A"}]),
            claude("user", "r2", "d2", [{"type": "tool_result", "content": "of B"}]),
            claude("assistant", "e", "r2", [{"type": "text", "text": "end"}]),
        ),
        "file",
    )

    text = " ".join(row.text for row in found.rows)
    assert "taken back" not in text
    assert "came of it" not in text
    assert "of A" in text
    assert "of B" in text
    assert found.rows[0].text == "one"


def test_what_came_before_a_compaction_stays():
    found = claude_code.parse(
        lines(
            claude("user", "a", None, "one"),
            claude("assistant", "b", "a", "old"),
            {"type": "system", "subtype": "compact_boundary", "uuid": "z", "parentUuid": None},
            claude("user", "c", "z", "This session is being continued…", isCompactSummary=True),
            claude("user", "d", "c", "two"),
            claude("assistant", "e", "d", "new"),
        ),
        "file",
    )

    assert [row.text for row in found.rows] == ["one", "old", "two", "new"]


def test_lines_that_cannot_be_read_are_counted():
    broken = lines(b"{not json", b"[1]", claude("user", "a", None, "hi") | {"message": "text"})
    rest = lines(claude("user", "b", None, "there"), b'{"a":' * 100_000)
    found = claude_code.parse([*broken, None, b"\n", *rest], "file")

    assert found.malformed == 5
    assert said(found.rows) == [("user", "there"), ("assistant", "")]
    assert found.rows[1].stop_reason == "interrupted"


def test_a_ring_of_parents_ends():
    found = claude_code.parse(lines(claude("user", "a", "b", "x"), claude("assistant", "b", "a", "y")), "file")

    assert len(found.rows) == 2


# How Codex writes


def item(**payload: object) -> dict:
    return {"timestamp": "2025-10-29T00:59:38.317Z", "type": "response_item", "payload": payload}


def message(role: str, kind: str, text: str) -> dict:
    return item(type="message", role=role, content=[{"type": kind, "text": text}])


CODEX = (
    {"timestamp": "2025-10-29T00:59:38.317Z", "type": "session_meta",
     "payload": {"id": "019a2d7a-41c4", "timestamp": "2025-10-29T00:59:38.308Z", "cwd": "/w", "cli_version": "0.46.0"}},
    message("developer", "input_text", "be good"),
    message("user", "input_text", "<environment_context>\n  <cwd>/w</cwd>\n</environment_context>"),
    message("user", "input_text", "list files"),
    {"timestamp": "2025-10-29T00:59:38.317Z", "type": "event_msg",
     "payload": {"type": "user_message", "message": "list files", "kind": "plain"}},
    {"timestamp": "2025-10-29T00:59:38.317Z", "type": "turn_context", "payload": {"cwd": "/w", "model": "gpt-5-codex"}},
    item(type="reasoning", summary=[], content=None, encrypted_content="gAAA"),
    item(type="function_call", name="shell", arguments='{"command":["ls"]}', call_id="call_1"),
    item(type="function_call_output", call_id="call_1", output='{"output":"file1.txt\\n","metadata":{"exit_code":0}}'),
    item(type="custom_tool_call", call_id="call_2", name="apply_patch", input="*** Begin Patch"),
    item(type="custom_tool_call_output", call_id="call_2", output="Success."),
    message("assistant", "output_text", "There is file1.txt."),
)  # fmt: skip


CODEX_REPLY = (
    *('[tool shell: {"command":["ls"]}]', "[tool result: file1.txt\n]"),
    *("[tool apply_patch: *** Begin Patch]", "[tool result: Success.]", "There is file1.txt."),
)


def test_a_rollout_of_codex():
    found = codex.parse(lines(*CODEX), "rollout-x")

    assert said(found.rows) == [
        ("user", "list files"),
        ("assistant", "\n\n".join(CODEX_REPLY)),
    ]
    check(found.rows)
    assert (found.key, found.cwd, found.malformed) == ("019a2d7a-41c4", "/w", 0)


def test_a_rollout_of_an_old_codex_has_its_items_bare():
    found = codex.parse(
        lines(
            {"id": "old-1", "timestamp": "2025-07-01T10:00:00Z", "instructions": None},
            {"record_type": "state"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]},
        ),
        "rollout-x",
    )

    assert said(found.rows) == [("user", "hello"), ("assistant", "hi")]
    assert found.key == "old-1"


# How ChatGPT exports


def node(key: str, parent: str | None, children: list[str], role: str | None = None, content: object = "", **more):
    said_there = None
    if role is not None:
        body = {"content_type": "text", "parts": [content]} if isinstance(content, str) else content
        said_there = {
            "id": key, "author": {"role": role, "name": None, "metadata": {}}, "create_time": 1699564800.0,
            "update_time": None, "content": body, "status": "finished_successfully", "end_turn": True, "weight": 1.0,
            "metadata": {}, "recipient": "all",
        } | more  # fmt: skip
    return key, {"id": key, "message": said_there, "parent": parent, "children": children}


def conversation(*nodes: tuple, current: str | None, **more: object) -> dict:
    return {
        "title": "Größe & Gewicht?", "create_time": 1699564800.0, "update_time": 1699568400.0,
        "mapping": dict(nodes), "moderation_results": [], "current_node": current, "conversation_id": "6717e1c0-5b84",
    } | more  # fmt: skip


CHATGPT = conversation(
    node("root", None, ["sys"]),
    node("sys", "root", ["u1"], "system", "", metadata={"is_visually_hidden_from_conversation": True}),
    node("u1", "sys", ["old", "a1"], "user", "draw a cat"),
    node("old", "u1", [], "assistant", "an answer that was replaced"),
    node("a1", "u1", ["t1"], "assistant", {"content_type": "code", "language": "json", "text": '{"prompt":"cat"}'},
         recipient="dalle.text2im"),
    node("t1", "a1", ["a2"], "tool", {"content_type": "multimodal_text", "parts": [
        {"content_type": "image_asset_pointer", "asset_pointer": "file-service://x"}]}),
    node("a2", "t1", ["u2"], "assistant", "Here it is."),
    node("u2", "a2", ["a3"], "user", {"content_type": "multimodal_text", "parts": [
        {"content_type": "image_asset_pointer", "asset_pointer": "file-service://y"}, "and this?"]}),
    node("th", "u2", [], "assistant", {"content_type": "thoughts", "thoughts": []}),
    node("a3", "u2", [], "assistant", "A dog."),
    current="a3",
)  # fmt: skip


def test_an_export_of_chatgpt_is_the_way_that_was_shown():
    (found,) = chatgpt.parse(json.dumps([CHATGPT]).encode())

    assert said(found.rows) == [
        ("user", "draw a cat"),
        ("assistant", '[tool dalle.text2im: {"prompt":"cat"}]\n\n[tool result: [image]]\n\nHere it is.'),
        ("user", "[image]\n\nand this?"),
        ("assistant", "A dog."),
    ]
    check(found.rows)
    assert (found.key, found.title, found.created_at) == ("6717e1c0-5b84", "Größe & Gewicht?", 1699564800.0)


def test_an_export_without_a_current_node_follows_the_last_children():
    (found,) = chatgpt.parse(json.dumps([CHATGPT | {"current_node": None}]).encode())

    assert found.rows[-1].text == "A dog."


def test_what_is_no_conversation_is_counted_and_a_ring_ends():
    ring = conversation(node("a", "b", ["b"], "user", "x"), node("b", "a", ["a"], "assistant", "y"), current="b")
    broken = conversation(node("a", None, [], "user", "x"), ("b", {"message": "?", "parent": "a"}), current="b")
    first, second, third = chatgpt.parse(json.dumps([{"title": "x"}, ring, broken]).encode())

    assert first is None
    assert [row.text for row in second.rows] == ["x", "y"]
    assert third.malformed == 1


@pytest.mark.parametrize("data", [b"", b"{}", b"[", b"[" * 100_000, b"\xff\xfe", b'[{"a":' * 50_000])
def test_a_file_that_is_no_export_is_refused(data):
    with pytest.raises(chatgpt.NoExport):
        list(chatgpt.parse(data))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["type", "message", "content", "role", "payload", "uuid", "parentUuid", "text", "mapping", "id",
                         "current_node", "parent", "children", "author", "parts", "timestamp", "name", "input"]),
        inner | st.sampled_from(["user", "assistant", "tool", "response_item", "message", "tool_use", "tool_result"]),
        max_size=6,
    ),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(documents=st.lists(JSON, max_size=5))
def test_whatever_is_in_a_file_ends_in_a_conversation_that_the_store_takes(documents):
    raw = [json.dumps(document).encode() for document in documents]
    check(claude_code.parse(raw, "file").rows)
    check(codex.parse(raw, "file").rows)
    for found in chatgpt.parse(json.dumps([{"mapping": {"a": d}, "id": "x"} for d in documents]).encode()):
        check(found.rows if found else [])


# Times and names


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1970-01-01", 0.0),
        ("2000-02-29T12:00:00Z", 951825600.0),
        ("2025-05-26T07:27:40.079Z", 1748244460.079),
        ("2025-05-26T07:27:40+02:00", 1748237260.0),
        ("yesterday", 0.0),
        (None, 0.0),
        (1699564800.5, 1699564800.5),
        (-1, 0.0),
        (True, 0.0),
        (float("nan"), 0.0),
    ],
)
def test_times_as_others_write_them(text, at):
    assert seconds(text) == at


def test_since_is_a_date_or_how_long_ago():
    assert since("7d", 1_000_000.0, 0) == 1_000_000.0 - 604_800
    assert since("90m", 10_000.0, 0) == 4_600.0
    assert since("2000-01-01", 0.0, 3_600) == 946684800.0 - 3_600
    assert since("2000-01-01T00:00:00Z", 0.0, 3_600) == 946684800.0
    assert since("soon", 0.0, 0) is None


@pytest.mark.parametrize(
    ("title", "name"),
    [("Fix the Login-Bug!", "fix-the-login-bug"), ("../../etc/passwd", "etc-passwd"), ("\x1b[2J", "2j"), ("", ""),
     ("Größe & Gewicht?", "größe-gewicht"), ("x" * 100, "x" * 40), ("a " * 50, "-".join("a" * 20))],
)  # fmt: skip
def test_a_name_is_made_of_the_words_of_a_title(title, name):
    assert slug(title) == name


# Conversations of ours


def row(seq: int, role: str, reply_to: int | None = None, text: str = "x", stop: str | None = None) -> HistoryRow:
    return HistoryRow(seq=seq, role=role, text=text, turn_id="t", stop_reason=stop, at=1.0, reply_to=reply_to)


WHOLE = [
    row(1, "user"),
    row(2, "user"),
    row(3, "assistant", 1, stop="failed"),
    row(4, "assistant", 2, stop="completed"),
]


def test_what_is_whole_stays_as_it_is():
    assert arranged([WHOLE[0], WHOLE[2], WHOLE[1], WHOLE[3]]) == (WHOLE, [])
    assert arranged([]) == ([], [])


def test_a_prompt_without_a_reply_gets_the_mark_of_an_interrupted_turn():
    rows, notes = arranged(WHOLE[:3])

    assert rows[:3] == WHOLE[:3]
    assert (rows[3].seq, rows[3].reply_to, rows[3].stop_reason) == (4, 2, "interrupted")
    assert notes == ["prompt 2 had no reply"]


def test_what_is_missing_gets_a_stand_in_and_all_get_new_numbers():
    rows, notes = arranged([row(2, "assistant", 1, "answer", "completed"), row(7, "user", text="q"), row(8, "tool")])

    assert [(r.seq, r.role, r.text, r.reply_to) for r in rows] == [
        (1, "user", LOST, None), (2, "assistant", "answer", 1), (3, "user", "q", None), (4, "assistant", "", 3),
    ]  # fmt: skip
    assert len(notes) == 2


@given(
    rows=st.lists(
        st.builds(
            row,
            st.integers(0, 6),
            st.sampled_from(["user", "assistant", "tool"]),
            st.none() | st.integers(0, 6),
            stop=st.sampled_from([None, "completed", "?"]),
        ),
        max_size=8,
    )
)
def test_whatever_is_in_an_export_becomes_a_conversation_that_the_store_takes(rows):
    found, _ = arranged(rows)

    prompts = {r.seq for r in found if r.role == "user"}
    assert [r.seq for r in found] == list(range(1, len(found) + 1))
    assert sorted(r.reply_to for r in found if r.role == "assistant") == sorted(prompts)
    assert all(r.reply_to < r.seq for r in found if r.reply_to is not None)
