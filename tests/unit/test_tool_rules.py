"""What may be touched, and what is asked for: paths are resolved before they are judged, approved is what runs."""

import asyncio
import os

import pytest

from protocol.messages import ToolRule
from workers.core.calls import Call, NeedsYes, Refusal
from workers.tools.box import Box, Silence, Where
from workers.tools.command import scrubbed
from workers.tools.rules import ArgumentBad, resolve, rule_for

ALLOW, ASK, DENY = (ToolRule(rule=rule) for rule in ("allow", "ask", "deny"))


@pytest.fixture
def cwd(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "inside.txt").write_text("inside")
    (tmp_path / "outside.txt").write_text("outside")
    (folder / "link").symlink_to(tmp_path / "outside.txt")
    (folder / "up").symlink_to(tmp_path)
    return folder


@pytest.mark.parametrize("given", ["inside.txt", ".", "new/deep.txt", "up/work/inside.txt", "../work/inside.txt"])
def test_a_path_that_leads_inside_is_judged_by_the_rule(cwd, given):
    assert rule_for(ALLOW, resolve(cwd, given), cwd) == "allow"


@pytest.mark.parametrize("given", ["../outside.txt", "link", "up/outside.txt", "/etc/passwd", "~", "../work2/x", "/"])
def test_a_path_that_leads_outside_is_denied_without_a_pattern_for_it(cwd, given):
    assert rule_for(ALLOW, resolve(cwd, given), cwd) == "deny"


@pytest.mark.parametrize("given", ["", "a\0b", "x" * 5_000])
def test_what_is_no_path_is_refused(cwd, given):
    with pytest.raises(ArgumentBad):
        resolve(cwd, given)


def test_of_the_patterns_that_fit_the_strictest_counts(cwd):
    rule = ToolRule(rule="allow", deny=["*.txt"], ask=["*"], allow=["/"])

    assert rule_for(rule, resolve(cwd, "inside.txt"), cwd) == "deny"
    assert rule_for(rule, resolve(cwd, "inside.md"), cwd) == "ask"
    assert rule_for(rule, resolve(cwd, "/etc/hosts"), cwd) == "allow"


def test_a_pattern_that_names_a_folder_means_what_is_in_it(cwd):
    rule = ToolRule(rule="deny", allow=["sub"])

    assert rule_for(rule, resolve(cwd, "sub/deep/x"), cwd) == "allow"
    assert rule_for(rule, resolve(cwd, "subway"), cwd) == "deny"


# ---- the box


def box(cwd, **rules: ToolRule) -> Box:
    return Box(rules, Where(cwd, "s.1", 5.0), Silence())


def run(box: Box, call: Call, digest: str | None = None) -> str:
    return asyncio.run(box.run(call, digest))


def test_a_command_is_asked_for_whole_with_its_folder(cwd):
    question = box(cwd, run_command=ASK).judge(Call("c", "run_command", {"command": "make\tall"}))

    assert isinstance(question, NeedsYes)
    assert question.argv == ["/bin/sh", "-c", "make\tall"]
    assert question.text == f"in {cwd}: make\tall"


def test_a_text_that_is_to_be_written_is_shown_whole(cwd):
    question = box(cwd, write_file=ASK).judge(Call("c", "write_file", {"path": "a", "text": "x" * 10_000}))

    assert question.argv == ["write_file", str(cwd / "a")]
    assert "x" * 10_000 in question.text


@pytest.mark.parametrize(
    "call",
    [
        Call("c", "run_command", {}),
        Call("c", "run_command", {"command": 5}),
        Call("c", "run_command", {"command": "x", "more": "y"}),
        Call("c", "run_command", {"command": " "}),
        Call("c", "run_command", {"command": "a\0b"}),
        Call("c", "run_command", {"command": "x" * 40_000}),
        Call("c", "read_file", {"path": "/etc/passwd"}),
        Call("c", "search_text", {"pattern": "", "path": "."}),
        Call("c", "fetch_url", {"url": "file:///etc/passwd"}),
        Call("c", "fetch_url", {"url": "http://user:pass@host/"}),
        Call("c", "write_file", {"path": "a", "text": "x" * 140_000}),
        Call("c", "unknown", {}),
    ],
)
def test_a_call_that_cannot_be_is_refused_with_a_reason(cwd, call):
    rules = {"run_command": ASK, "read_file": ALLOW, "search_text": ALLOW, "fetch_url": ASK, "write_file": ASK}

    assert isinstance(box(cwd, **rules).judge(call), Refusal)


def test_what_was_approved_is_what_runs(cwd):
    tools = box(cwd, write_file=ASK)
    call = Call("c", "write_file", {"path": "a.txt", "text": "new"})
    digest = tools.judge(call).digest

    assert "not what was approved" in run(tools, Call("d", "write_file", {"path": "a.txt", "text": "other"}), digest)
    assert "not what was approved" in run(box(cwd.parent, write_file=ASK), call, digest)
    assert not (cwd / "a.txt").exists()

    (cwd / "a.txt").symlink_to(cwd / "inside.txt")

    assert "not what was approved" in run(tools, call, digest)
    assert (cwd / "inside.txt").read_text() == "inside"

    (cwd / "a.txt").unlink()

    assert "3 bytes are written" in run(tools, call, digest)
    assert (cwd / "a.txt").read_text() == "new"


def test_an_approved_call_runs_once(cwd):
    tools = box(cwd, write_file=ASK)
    call = Call("c", "write_file", {"path": "a.txt", "text": "new"})
    digest = tools.judge(call).digest
    run(tools, call, digest)

    assert "has run already" in run(tools, call, digest)


def test_a_tool_that_is_always_denied_is_not_offered(cwd):
    tools = box(cwd, run_command=DENY, read_file=ToolRule(rule="deny", allow=["/tmp"]), fetch_url=ASK)

    assert [tool.name for tool in tools.tools] == ["read_file", "fetch_url"]


def test_reading_a_pipe_or_a_folder_waits_for_nobody(cwd):
    os.mkfifo(cwd / "pipe")
    tools = box(cwd, read_file=ALLOW)

    assert "no regular file" in run(tools, Call("a", "read_file", {"path": "pipe"}))
    assert "no regular file" in run(tools, Call("b", "read_file", {"path": "."}))


def test_files_are_listed_read_and_searched(cwd):
    (cwd / "long.txt").write_text("needle\n" + "y" * 100_000)
    (cwd / "binary").write_bytes(b"needle\0")
    tools = box(cwd, read_file=ALLOW, list_directory=ALLOW, search_text=ALLOW)
    listed = run(tools, Call("a", "list_directory", {"path": "."}))

    assert [line.split()[-1] for line in listed.splitlines()] == ["binary", "inside.txt", "link", "long.txt", "up"]
    assert "cut: 100007 bytes in all" in run(tools, Call("b", "read_file", {"path": "long.txt"}))
    assert run(tools, Call("c", "search_text", {"pattern": "needle", "path": "."})) == f"{cwd}/long.txt:1: needle"


def test_a_file_that_is_replaced_keeps_its_mode(cwd):
    (cwd / "inside.txt").chmod(0o755)
    run(box(cwd, write_file=ALLOW), Call("c", "write_file", {"path": "inside.txt", "text": "new"}))

    assert (cwd / "inside.txt").stat().st_mode & 0o777 == 0o755


def test_a_tools_environment_has_no_keys_and_carries_its_mark():
    names = ["PATH", "KEYBOARD", "OPENAI_API_KEY", "GITHUB_TOKEN", "db_password", "CHAT_COORD_HOME", "MY_SECRET_1"]

    assert scrubbed(dict.fromkeys(names, "x"), "s.1.c") == {"PATH": "x", "KEYBOARD": "x", "CHAT_COORD_TOOL": "s.1.c"}
