"""The check-up: it finds what is wrong, says how to mend it, and touches nothing."""

import contextlib
import os
import resource
import shlex
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from protocol.embedded import model_path
from protocol.paths import Home, runtime_folder
from tests.support.product import COMMAND, Product

pytestmark = pytest.mark.integration

NAMES = [
    *("python", "platform", "home", "runtime folder", "configuration", "descriptors", "sqlite", "database"),
    *("coordinator", "engine", "model libraries", "embedded model", "leftovers"),
]


def look(product: Product, code: int) -> dict[str, dict]:
    return {check["name"]: check for check in product.json("doctor", code=code)}


def found(product: Product) -> set[str]:
    return {name for name, check in look(product, 1).items() if not check["ok"]}


def traces(folder: Path) -> dict[Path, tuple]:
    """Everything about every file below a folder that a write would change."""
    facts = {path: path.lstat() for path in [folder, *folder.rglob("*")]}
    return {
        path: (f.st_ino, f.st_mode, f.st_size, f.st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path, f in facts.items()
    }


def test_a_fresh_home_is_well_and_is_not_made(fresh: Product):
    fresh.env["CHAT_COORD_DEFAULT_MODEL"] = "embedded"
    checks = look(fresh, 1)

    assert list(checks) == NAMES
    assert all(set(check) == {"name", "ok", "finding", "fix"} for check in checks.values())
    assert [name for name, check in checks.items() if not check["ok"]] == ["embedded model"]
    assert checks["embedded model"]["fix"] == "Run `chat-coord model pull`, or just chat."
    assert not fresh.home.exists()


def test_all_is_well_before_while_and_after_a_coordinator_runs(product: Product):
    look(product, 0)
    product.run("new", "a")
    product.run("send", "a", "hello")
    running = look(product, 0)

    assert running["database"]["finding"].startswith("skipped")
    assert "runs and answers" in running["coordinator"]["finding"]

    product.run("stop")
    before = traces(product.home)
    stopped = look(product, 0)

    assert "quick_check is ok" in stopped["database"]["finding"]
    assert traces(product.home) == before

    table = product.run("doctor")

    assert all(line.startswith("ok ") for line in table.splitlines())


def test_what_a_killed_coordinator_left_is_found_and_not_touched(product: Product):
    product.run("new", "a")
    product.run("send", "a", "hello")
    product.live("a")
    pid = product.json("status")["pid"]
    os.kill(pid, signal.SIGKILL)
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.01)
    sockets = runtime_folder(Home(product.home))
    before = traces(product.home), traces(sockets)
    checks = look(product, 1)

    assert (product.home / "chat-coord.db-wal").stat().st_size > 0
    assert "quick_check is ok" in checks["database"]["finding"]
    assert "left coordinator.json" in checks["coordinator"]["finding"]
    assert str(sockets / "clients.sock") in checks["leftovers"]["finding"]
    assert (traces(product.home), traces(sockets)) == before

    product.run("start")

    look(product, 0)


def test_a_coordinator_that_does_not_answer_is_found_in_time(product: Product):
    product.run("start")
    pid = product.json("status")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        began_s = time.monotonic()
        checks = look(product, 1)

        assert f"pid {pid} did not answer" in checks["coordinator"]["finding"]
        assert time.monotonic() - began_s < 10
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_bad_configuration_is_a_finding_and_the_rest_is_still_checked(product: Product):
    product.configure("max_active_sessions = 0\n")
    checks = look(product, 1)

    assert list(checks) == NAMES
    assert "max_active_sessions" in checks["configuration"]["finding"]
    assert "from 1 to 10000" in checks["configuration"]["fix"]


def test_a_damaged_or_foreign_database_is_found(product: Product):
    product.run("new", "a")
    product.run("send", "a", "big 300000")
    product.run("stop")
    database = product.home / "chat-coord.db"
    with database.open("r+b") as file:
        file.seek(8_192)
        file.write(b"\xff" * 100_000)
    damaged = look(product, 1)["database"]

    assert "chat-coord.db*" in damaged["fix"]

    database.write_bytes(b"not a database at all, but somebody's file" * 100)

    assert "file is not a database" in look(product, 1)["database"]["finding"]


def test_for_a_newer_database_a_newer_program_is_the_fix(product: Product):
    product.run("new", "a")
    product.run("stop")
    with contextlib.closing(sqlite3.connect(product.home / "chat-coord.db")) as database:
        database.execute("PRAGMA user_version = 99")
    newer = look(product, 1)["database"]

    assert "version 99" in newer["finding"]
    assert newer["fix"] == "Install the chat-coord that wrote it, or a newer one."


def test_an_open_home_and_an_open_runtime_folder_are_found_and_stay_as_they_are(product: Product):
    product.home.chmod(0o755)

    assert found(product) == {"home"}
    assert product.home.stat().st_mode & 0o777 == 0o755

    product.home.chmod(0o700)
    long = product.home.parent / ("x" * 200)
    long.mkdir()
    product.env |= {"XDG_RUNTIME_DIR": str(long), "TMPDIR": str(long)}

    look(product, 0)  # the last candidate is short
    assert list(long.iterdir()) == []


def test_too_few_descriptors_for_the_sessions_are_found(product: Product):
    limited = subprocess.run(
        [COMMAND, "doctor"],
        env=product.environment | {"CHAT_COORD_MAX_ACTIVE_SESSIONS": "5000"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1_000, 1_000)),
        capture_output=True,
        text=True,
        check=False,
    )

    assert limited.returncode == 1
    assert "up to 1000 open files; 5000 sessions need about 15064" in limited.stdout
    assert "fix: Raise the hard limit" in limited.stdout


def test_files_of_dead_processes_are_named_with_a_command_that_removes_them(product: Product):
    ended = subprocess.Popen(["true"])
    ended.wait()
    (product.home / "models").mkdir(mode=0o700)
    (product.home / "model-server.json").write_text(f'{{"pid": {ended.pid}, "start_ticks": 1}}')
    (product.home / f".config.toml.{ended.pid}").write_text("half")
    (product.home / f".config.toml.{os.getpid()}").write_text("being written")
    old, new = product.home / "models" / ".pull-old", product.home / "models" / ".pull-new"
    old.mkdir()
    new.mkdir()
    os.utime(old, (1, 1))
    checks = look(product, 1)
    fix = checks["leftovers"]["fix"]

    assert [name for name, check in checks.items() if not check["ok"]] == ["leftovers"]
    subprocess.run(shlex.split(fix.removeprefix("Run `").removesuffix("`.")), check=True)
    look(product, 0)
    assert new.exists()
    assert not old.exists()
    assert (product.home / f".config.toml.{os.getpid()}").exists()


def test_a_model_of_the_wrong_size_is_found(product: Product):
    path = model_path(Home(product.home))
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"half")
    checks = look(product, 1)

    assert "has 4 bytes instead of" in checks["embedded model"]["finding"]
    shutil.rmtree(path.parent)
