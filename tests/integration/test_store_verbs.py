"""Getting the data out and back: backup, restore and export, with a coordinator, without one, and after damage."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.support.model_server import ModelServer
from tests.support.product import Product, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.crash]


def texts(product: Product, name: str) -> list[str]:
    return [row["text"] for row in product.json("history", name)]


def refused(product: Product, code: int, *words: str) -> str:
    done = product.result(*words)
    lines = done.stderr.strip().splitlines()

    assert done.returncode == code, done
    assert done.stdout == ""
    assert len(lines) == 2, done.stderr
    assert lines[1].startswith("Hint: ")
    return done.stderr


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() != b""


def test_a_backup_of_a_running_coordinator_is_restored_and_fences_the_workers_of_what_came_after(
    product: Product, model: ModelServer, tmp_path: Path
):
    for name in ("a", "b", "closed"):
        product.run("new", name)
    product.run("send", "a", "first")
    product.run("send", "b", "other")
    product.run("close", "closed")
    file = tmp_path / "backup.db"
    done = product.json("backup", str(file))

    assert done == {"file": str(file), "bytes": file.stat().st_size, "sessions": 3}
    assert file.stat().st_mode & 0o777 == 0o600
    assert "is there already" in refused(product, 1, "backup", str(file))
    assert "cannot be written" in refused(product, 1, "backup", str(tmp_path / "no" / "b.db"))
    assert "chat-coord stop" in refused(product, 75, "restore", str(file))
    assert [p.name for p in tmp_path.iterdir()] == ["backup.db"]

    product.run("send", "a", "second")
    exported = product.json("export", "--all", str(tmp_path / "out"), "--format", "json")
    files = {s["name"]: json.loads(Path(s["file"]).read_text()) for s in exported["sessions"]}

    assert exported["complete"]
    assert [row["text"] for row in files["a"]["messages"]] == texts(product, "a")
    assert files["closed"]["closed"]
    again = product.json("export", "--all", str(tmp_path / "out"), "--format", "json", code=1)
    assert all("is there already" in s["missing"] for s in again["sessions"])

    status = product.json("status")
    workers = {name: product.live(name)["pid"] for name in ("a", "b")}
    epochs = {name: product.session(name)["epoch"] for name in workers}
    os.kill(status["pid"], signal.SIGKILL)
    wait_for(lambda: not is_alive(status["pid"]))
    restored = product.json("restore", str(file))
    kept = Path(restored["kept"])

    assert restored["sessions"] == 3
    assert (kept / "chat-coord.db").is_file()
    assert all(is_alive(pid) for pid in workers.values())

    product.run("start")
    wait_for(lambda: not any(is_alive(pid) for pid in workers.values()))  # fenced: they belong to what was replaced
    assert product.json("status")["boot"] > status["boot"]
    assert all(product.session(name)["epoch"] > epoch for name, epoch in epochs.items())
    assert texts(product, "a") == ["first", "<first>"]
    assert product.json("send", "a", "third")["reply"] == "<first><third>"
    assert model.calls_of("second")[0].ended_s  # asked once, before the restore, and not again
    assert len(model.calls_of("first")) == 1

    product.run("stop")
    product.run("restore", str(kept / "chat-coord.db"))
    product.run("start")
    assert texts(product, "a") == ["first", "<first>", "second", "<first><second>"]


def test_a_damaged_store_is_refused_with_what_helps_and_everything_that_is_intact_gets_out(
    product: Product, tmp_path: Path
):
    names = [f"s{i}" for i in range(3)]
    for name in names:
        product.run("new", name)
        for i in range(2):
            product.run("send", name, f"raw {name} {i} " + "word " * 180)
    product.run("stop")
    file = tmp_path / "backup.db"

    assert product.json("backup", str(file))["sessions"] == 3

    database = product.home / "chat-coord.db"
    raw = bytearray(database.read_bytes())
    # A leaf with prompts: it has at most four of the rows, which stand in the order of sessions, so of at most two.
    at = next(at for at in range(0, len(raw), 4_096) if raw[at] == 0x0A and b"raw s" in raw[at : at + 4_096])
    raw[at : at + 4_096] = b"\xff" * 4_096
    database.write_bytes(raw)
    complaint = refused(product, 1, "start")

    assert str(database) in complaint
    assert "damaged" in complaint
    assert "export --all" in complaint
    assert "restore" in complaint
    assert "damaged" in refused(product, 1, "backup", str(tmp_path / "second.db"))

    done = product.json("export", "--all", str(tmp_path / "out"), code=1)
    intact = [s for s in done["sessions"] if s["missing"] is None]

    assert any("damaged" in finding for finding in done["found"])
    assert not done["complete"]
    assert {s["name"] for s in done["sessions"]} == set(names)
    assert 0 < len(intact) < 3
    for session in intact:
        assert Path(session["file"]).read_text().count(f"{session['name']} 1 word word") == 2
    said = product.result("export", "--all", str(tmp_path / "again"))
    assert "missing" in said.stderr
    assert database.read_bytes() == raw
    assert [p.name for p in product.home.glob("chat-coord.db*")] == ["chat-coord.db"]

    product.run("restore", str(file))
    product.run("start")
    assert len(product.sessions()) == 3
    assert all(len(texts(product, name)) == 4 for name in names)


def test_the_verbs_say_what_is_wrong_with_files_and_homes(fresh: Product, tmp_path: Path):
    missing = str(tmp_path / "missing.db")

    assert "No such file" in refused(fresh, 1, "restore", missing)
    assert "There is no database" in refused(fresh, 1, "backup", missing)
    assert "There is no database" in refused(fresh, 1, "export", "--all", str(tmp_path / "out"))
    assert not fresh.home.exists()
    assert fresh.result("export").returncode == 2
