"""The check-up: it finds what is wrong, says how to mend it, and touches nothing."""

import contextlib
import json
import os
import resource
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.embedded import model_path
from protocol.launch import MARK
from protocol.paths import Home, runtime_folder
from tests.support.model_server import ModelServer
from tests.support.product import COMMAND, Product

pytestmark = pytest.mark.integration

NAMES = [
    *("python", "platform", "home", "runtime folder", "configuration", "keys", "hooks", "observers", "descriptors"),
    *("sqlite", "database", "coordinator", "version", "zygote", "engine", "model libraries", "embedded model"),
    *("leftovers", "processes"),
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
    assert all(set(check) == {"name", "ok", "finding", "fix", "fixed"} for check in checks.values())
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
    assert "objects frozen, one thread" in running["zygote"]["finding"]

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


@pytest.fixture
def faulty(product: Product, model: ModelServer) -> Iterator[Product]:
    """A home with eleven faults, and nothing that runs."""
    product.use_model(model.url, more="hook_failed = ['no-such-command']\n")
    made = product.json("new", "a")
    product.live("a")
    product.run("stop")
    with (product.home / "chat-coord.db").open("r+b") as file:
        file.truncate(5_000)
    (product.home / "coordinator.json").write_text('{"boot": 3}')
    ended = subprocess.Popen(["true"])
    ended.wait()
    (product.home / f".config.toml.{ended.pid}").write_text("half")
    path = model_path(Home(product.home))
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_bytes(b"half")
    runtime_folder(Home(product.home)).chmod(0o755)
    (product.home.parent / "key").chmod(0o644)
    product.home.chmod(0o755)
    tool = subprocess.Popen(["sleep", "60"], env=os.environ | {MARK: f"{made['id']}-1"})
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        product.env["CHAT_COORD_METRICS_PORT"] = str(other.getsockname()[1])
        product.env["CHAT_COORD_MAX_ACTIVE_SESSIONS"] = "5000"
        yield product
    tool.kill()
    tool.wait()


def doctor(product: Product, *flags: str) -> dict[str, dict]:
    done = subprocess.run(
        [COMMAND, "doctor", "--json", *flags],
        env=product.environment,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1_000, 1_000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    return {check["name"]: check for check in json.loads(done.stdout)}


def test_each_of_eleven_planted_faults_is_found_with_its_fix_and_the_safe_ones_are_mended(faulty: Product):
    before = traces(faulty.home)
    found = doctor(faulty)
    bad = {name: check["fix"] for name, check in found.items() if not check["ok"]}

    assert traces(faulty.home) == before
    assert set(bad) == {
        "home", "runtime folder", "keys", "hooks", "observers", "descriptors", "database", "coordinator",
        "embedded model", "leftovers", "processes",
    }  # fmt: skip
    assert bad["home"] == f"Run `chmod 700 {faulty.home}`."
    assert bad["keys"] == f"Run `chmod 600 {faulty.home.parent / 'key'}`."
    assert "config.toml" in bad["hooks"]
    assert "metrics_port" in bad["observers"]
    assert "export --all" in bad["database"]
    assert bad["leftovers"].startswith("Run `rm -r ")
    assert "sleep (pid " in found["processes"]["finding"]
    assert "kill " in bad["processes"]
    assert all(bad.values())

    mended = doctor(faulty, "--fix")

    assert {name for name, check in mended.items() if check["fixed"]} == {
        "home", "runtime folder", "keys", "coordinator", "leftovers",
    }  # fmt: skip
    assert {name for name, check in mended.items() if not check["ok"]} == {
        "hooks", "observers", "descriptors", "database", "embedded model", "processes",
    }  # fmt: skip
    assert faulty.home.stat().st_mode & 0o777 == 0o700
    faulty.home.chmod(0o755)
    assert "mended home            mended. Before: " in faulty.run("doctor", "--fix", code=1)


def test_mending_touches_nothing_of_a_coordinator_that_runs(product: Product):
    product.run("new", "a")
    product.run("send", "a", "hello")
    product.run("doctor", "--fix")

    assert product.json("send", "a", "again")["reply"] == "<hello><again>"


def test_a_bundle_has_what_a_bug_report_needs_and_nothing_that_is_private(product: Product, model: ModelServer):
    secret = "sk-canary-0123456789abcdef"
    model.key = secret
    hook = "hook_completed = ['true', 'canaryhook']\n"
    product.use_model(model.url, key=secret, more=f"{hook}[types.review]\nsystem = 'canarysystem'\n")
    product.env["OTHER_API_KEY"] = "canaryvariable"
    product.run("new", "canaryname", "--type", "review")
    product.run("send", "canaryname", "canaryprompt")
    made = product.session("canaryname")
    with (product.home / "logs" / f"{made['id']}.stderr").open("a") as file:
        file.write('Traceback (most recent call last):\n  File "/x/y.py", line 7, in f\n')
        file.write("ValueError: canaryerror\ncanaryline\n")
    with (product.home / "logs" / "coordinator.log").open("a") as file:
        file.write(json.dumps({"message": "refused", "reason": f"key {secret} canaryvariable {product.home}"}) + "\n")
    bundle = product.home.parent / "report.tar.gz"
    done = product.json("doctor", "--bundle", str(bundle))
    with tarfile.open(bundle) as archive:
        members = {m.name.partition("/")[2]: archive.extractfile(m).read().decode() for m in archive.getmembers()}

    assert done["members"] == list(members)
    assert {"README.txt", "doctor.json", "system.json", "settings.json", "running.json", "store.json"} < set(members)
    assert bundle.stat().st_mode & 0o777 == 0o600
    whole = "".join(members.values())
    assert "canary" not in whole
    assert str(product.home) not in whole
    running = json.loads(members["running.json"])
    assert running["sessions"][0]["id"] == made["id"]
    assert running["status"]["zygote"]["threads"] == 1
    assert json.loads(members["settings.json"])["models.scripted.base_url"]["value"] == "http://127.0.0.1"
    assert "coordinator ready" in members["logs/coordinator.log"]
    assert members[f"logs/{made['id']}.stderr"].splitlines()[-1] == "ValueError: <left out>"
    assert 'File "/x/y.py", line 7' in members[f"logs/{made['id']}.stderr"]
    assert {check["name"] for check in json.loads(members["doctor.json"])} == set(NAMES)

    product.run("stop")
    assert product.result("doctor", "--bundle", str(bundle)).returncode == 1  # it is there
    other = product.home.parent / "other.tar.gz"
    assert "running.json" in product.run("doctor", "--bundle", str(other))
