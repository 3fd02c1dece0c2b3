"""The check-up's own reading of tables."""

import os
from pathlib import Path

import pytest

from coordinator.shell import checkup_named, checkup_running, redacting
from coordinator.shell.checkup import NETWORKED, file_system
from coordinator.shell.finding import Check, Looker, ask, ask_and_mend
from protocol.mcp_settings import McpSettings
from protocol.settings import ModelSettings, Settings
from protocol.version import __version__
from protocol.views import ModelView, PermitsView, SessionCounts, Status, StatusMemory, StoreView, ZygoteView

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/export /home nfs4 rw 0 0
/dev/sdb1 /home/me/local\\040disk xfs rw 0 0
tmpfs /home/other tmpfs rw 0 0
"""


def test_the_file_system_of_a_folder_is_that_of_the_nearest_mount(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    kinds = [file_system(Path(p), mounts) for p in ("/var/x", "/home/me", "/home/me/local disk/x", "/homes")]

    assert kinds == ["ext4", "nfs4", "xfs", "ext4"]
    assert [kind in NETWORKED for kind in kinds] == [False, True, False, False]
    assert file_system(Path("/"), tmp_path / "none") == ""


def status(**fields: object) -> Status:
    facts = {
        "pid": 1, "boot": 1, "version": __version__, "home": "/h", "uptime_s": 100.0, "permits": PermitsView(),
        "sessions": SessionCounts(live=0, queued=0, hibernated=0, total=0, max_active=1), "rejected_frames": 0,
        "memory": StatusMemory(coordinator_rss_bytes=1, workers_uss_bytes=1),
        "model": ModelView(name="m", provider="openai", server_pid=None),
        "store": StoreView(path="/h/db", bytes=1, writable=True),
        "zygote": ZygoteView(pid=2, frozen_objects=200_000, threads=1),
    } | fields  # fmt: skip
    return Status(**facts)


def test_an_older_coordinator_that_runs_on_after_an_upgrade_is_found():
    assert checkup_running.version(status()).ok
    assert checkup_running.version(None).ok
    old = checkup_running.version(status(version="0.0.9"))

    assert (old.ok, old.fix) == (False, "Run `chat-coord restart`.")
    assert "0.0.9" in old.finding


@pytest.mark.parametrize(
    ("fields", "is_ok"),
    [
        ({}, True),
        ({"zygote": ZygoteView(pid=2, frozen_objects=0, threads=1)}, False),
        ({"zygote": ZygoteView(pid=2, frozen_objects=200_000, threads=2)}, False),
        ({"zygote": None}, False),
        ({"zygote": None, "uptime_s": 3.0}, True),
        ({"zygote": None, "launcher": "spawn"}, True),
    ],
)
def test_a_zygote_that_is_not_frozen_or_not_alone_is_found(fields, is_ok):
    assert checkup_running.zygote(status(**fields)).ok is is_ok


def test_keys_are_looked_for_where_they_will_be_read(tmp_path):
    by_variable = Settings(models={"a": ModelSettings(provider="openai", model="m", api_key_env="CANARY_KEY")})
    key = tmp_path / "key"
    by_file = Settings(models={"a": ModelSettings(provider="openai", model="m", api_key_file=str(key))})

    assert checkup_named.keys(by_variable, {"CANARY_KEY": "x"}, None).ok
    assert not checkup_named.keys(by_variable, {}, None).ok
    assert "coordinator that runs" in checkup_named.keys(by_variable, {"CANARY_KEY": "x"}, os.getpid()).finding
    assert "cannot be read" in checkup_named.keys(by_file, {}, None).finding
    key.write_text("\n")
    assert "empty" in checkup_named.keys(by_file, {}, None).finding
    key.write_text("secret")
    key.chmod(0o640)
    assert "other users" in checkup_named.keys(by_file, {}, None).finding
    checkup_named.close_key_files(by_file)
    assert checkup_named.keys(by_file, {}, None).ok


def test_keys_of_mcp_servers_are_keys_too(tmp_path):
    key = tmp_path / "key"
    key.write_text("hunter22\n")
    key.chmod(0o644)
    settings = Settings(mcp={"a": McpSettings(url="https://x.example/", api_key_file=str(key))})

    assert checkup_named.keys(settings, {}, None).finding.startswith("mcp.a.api_key_file: ")
    assert list(checkup_named.open_key_files(settings)) == [key]
    assert "hunter22" not in redacting.Redactor(tmp_path, settings, {}).text("it is hunter22")


def test_what_cannot_be_mended_stays_a_finding():
    def fail() -> None:
        raise OSError("no")

    bad = Looker("x", lambda: Check("x", False, "bad.", "do"), fail)

    assert ask_and_mend(bad).finding == "bad. It could not be mended: no."
    assert ask(Looker("y", fail)).finding == "This could not be looked at: no."


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("max_active_sessions", 7, 7),
        ("models.a.base_url", "https://user:pw@inner.example/v1?k=v", "https://…"),
        ("models.a.base_url", "https://api.openai.com/v1", "https://api.openai.com"),
        ("models.a.model", "gpt", "gpt"),
        ("models.a.model", "/home/me/x.gguf", "<15 characters>"),
        ("types.review.system", "be kind", "<7 characters>"),
        ("hook_failed", ["a", "b"], "<2 entries>"),
        ("a_key_of_tomorrow", {"a": "secret"}, "<1 entries>"),
        ("models.a.api_key_env", "MY_KEY", "MY_KEY"),
    ],
)
def test_settings_that_may_be_private_are_left_out(key, value, shown):
    assert redacting.setting(key, value) == shown


@pytest.mark.parametrize(
    "text", ["sk-abcdefghijklmnop", "Bearer abc", "api_key = 'x'", "https://me:pw@host/", "hunter22", "/h/o/me/x"]
)
def test_what_looks_like_a_secret_goes(text, tmp_path):
    redactor = redacting.Redactor(Path("/h/o/me"), Settings(), {"MY_PASSWORD": "hunter22", "LANG": "it is kept"})
    shown = redactor.document({"a": [text, "it is kept"]})

    assert text not in str(shown)
    assert shown["a"][1] == "it is kept"
