"""A person's own commands: told what they need, and never in anybody's way."""

import json
import logging
import os
import time
from pathlib import Path

import pytest

from coordinator.core.effects import RunHook
from coordinator.shell import hooks as hooks_module
from coordinator.shell.hooks import Hooks
from protocol.errors import ConfigBad
from protocol.paths import Home
from protocol.processes import start_ticks
from protocol.settings import parse, settings_of
from tests.support.product import wait_for

TELL = (
    "import os, json, pathlib; pathlib.Path('told').write_text(json.dumps(dict(os.environ))); print('said', flush=True)"
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = Home(tmp_path)
    found.prepare()
    return found


@pytest.fixture
def hooks(home: Home):
    private = {"OPENAI_API_KEY": "secret", "DISPLAY": ":1", "MINE": "yes", "OTHER": "no"}
    found = Hooks(home, private, ["MINE"])
    yield found
    found.close()


def order(*words: str) -> RunHook:
    return RunHook("failed", words, "0123456789abcdef", "größer; rm -rf /", "unread")


def test_a_command_is_told_the_session_and_gets_no_key(hooks: Hooks, home: Home):
    hooks.run(order("/usr/bin/env", "python3", "-c", TELL))
    told = wait_for(lambda: (home.root / "told").exists() and (home.root / "told").read_text())
    wait_for(lambda: "said\n" in (home.logs / "hooks.log").read_text())
    found = json.loads(told)

    assert found["CHAT_COORD_SESSION"] == "0123456789abcdef"
    assert found["CHAT_COORD_SESSION_NAME"] == "größer; rm -rf /"
    assert (found["CHAT_COORD_EVENT"], found["CHAT_COORD_STATE"]) == ("failed", "unread")
    assert found["CHAT_COORD_HOME"] == str(home.root)
    assert (found["DISPLAY"], found["MINE"]) == (":1", "yes")
    assert not {"OPENAI_API_KEY", "OTHER", "CC_FAILPOINT"} & set(found)


def test_one_that_hangs_is_killed_with_all_that_it_started_and_the_next_run(
    hooks: Hooks, home: Home, monkeypatch, caplog
):
    monkeypatch.setattr(hooks_module, "LONGEST_S", 3.0)
    hooks.run(order("sh", "-c", "sleep 600 & echo $! >child; wait"))
    child = int(wait_for(lambda: (home.root / "child").exists() and (home.root / "child").read_text().strip()))
    wait_for(lambda: start_ticks(child) is None, 30)
    wait_for(lambda: "hook killed" in caplog.text)
    hooks.run(order("touch", "next"))
    wait_for((home.root / "next").exists)


@pytest.mark.parametrize("words", [("/no/such/command",), ("/etc/passwd",)])
def test_one_that_is_missing_or_no_program_is_a_line_in_the_log(hooks: Hooks, caplog, words):
    hooks.run(order(*words))
    record = wait_for(lambda: next((r for r in caplog.records if r.message == "hook not run"), None))

    assert (record.event, record.command) == ("failed", words[0])


def test_one_that_fails_is_a_line_in_the_log(hooks: Hooks, caplog):
    hooks.run(order("sh", "-c", "exit 3"))
    record = wait_for(lambda: next((r for r in caplog.records if r.message == "hook failed"), None))

    assert record.exit_code == 3


def test_ordering_one_waits_for_nobody_and_what_is_too_much_is_said(hooks: Hooks, caplog):
    begun_s = time.monotonic()
    for _ in range(hooks_module.AT_ONCE + hooks_module.MOST_WAITING + 3):
        hooks.run(order("sleep", "600"))
    took_s = time.monotonic() - begun_s
    refused = [r for r in caplog.records if r.message == "hook not run"]

    assert len(refused) == 3
    assert took_s < 2
    assert all(record.levelno == logging.WARNING for record in refused)


def test_closing_ends_those_that_run_and_begins_no_other(home: Home):
    hooks = Hooks(home, {}, [])
    for n in range(hooks_module.AT_ONCE):
        hooks.run(order("sh", "-c", f"echo $$ >run{n}; sleep 600"))
    hooks.run(order("touch", "late"))
    pids = [
        int(wait_for(lambda path=home.root / f"run{n}": path.exists() and path.read_text().strip()))
        for n in range(hooks_module.AT_ONCE)
    ]
    begun_s = time.monotonic()
    hooks.close()

    assert time.monotonic() - begun_s < 5
    assert [pid for pid in pids if start_ticks(pid) is not None] == []
    assert not (home.root / "late").exists()


# ---- settings


def test_a_command_is_a_list_of_words_in_the_file_and_a_line_elsewhere():
    in_file = settings_of("config.toml", {"hook_failed": ["notify-send", "it failed"]}, {}).settings
    variable = {"CHAT_COORD_HOOK_COMPLETED": "notify-send 'it is done' --urgency=low"}
    in_environment = settings_of("config.toml", {}, variable).settings

    assert in_file.hook_failed == ["notify-send", "it failed"]
    assert in_environment.hook_completed == ["notify-send", "it is done", "--urgency=low"]
    assert parse("config.toml", "hook_requires_action", "say hello, you") == ["say", "hello,", "you"]
    with pytest.raises(ConfigBad, match="hook_failed: No closing quotation"):
        parse("config.toml", "hook_failed", "say 'hello")


def test_the_environment_of_this_process_is_untouched(hooks: Hooks):
    before = dict(os.environ)
    hooks.run(order("true"))

    assert dict(os.environ) == before
