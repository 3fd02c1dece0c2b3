"""A conversation leaves as a file and comes back the same; other programs' come in once, as text."""

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.product import Product, wait_for
from tests.support.stored import lengthen
from tests.unit.test_foreign import CHATGPT, CLAUDE, CODEX, lines

pytestmark = pytest.mark.integration
# What may be another one after an import beside a session of the same name.
OWN = ("id", "name")


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def same(one: dict, other: dict, *but: str) -> bool:
    return {k: v for k, v in one.items() if k not in but} == {k: v for k, v in other.items() if k not in but}


def exported(product: Product, name: str, file: str) -> dict:
    path = product.home.parent / file
    product.run("export", name, "--format", "json", "-o", str(path))
    return read(path)


def test_a_session_comes_back_as_it_was_beside_the_one_that_is_there(product):
    product.configure(f"{(product.home / 'config.toml').read_text()}[templates.strict]\n")
    more = ("--template", "strict", "--group", "night", "--temperature", "0.5")
    product.run("new", "a", "--type", "review", "--system", "Be brief.", *more)
    product.run("send", "a", "echo größer 🙂 <b>")
    product.run("send", "a", "status 400", code=1)
    product.run("fork", "a", "--name", "child")
    before = exported(product, "child", "child.json")
    report = product.json("import", str(product.home.parent / "child.json"))["conversations"][0]

    assert (report["status"], report["name"]) == ("imported", "child-2")
    assert same(before, exported(product, report["session"], "again.json"), *OWN)
    assert before["system"] == "Be brief."
    assert (before["template"], before["group"], before["temperature"]) == ("strict", "night", 0.5)
    assert before["parent"]["seq"] == 4
    assert product.json("import", str(product.home.parent / "child.json"))["conversations"][0]["status"] == (
        "imported already"
    )
    assert len([s for s in product.sessions("--all") if s["name"].startswith("child")]) == 2


def test_a_session_that_was_deleted_comes_back_with_its_id_and_goes_on(product, model):
    product.run("new", "a")
    product.run("send", "a", "echo one")
    before = exported(product, "a", "a.json")
    product.run("hibernate", "a")
    product.run("delete", "a", "--yes")
    product.run("import", str(product.home.parent / "a.json"))

    assert exported(product, "a", "b.json") == before
    product.run("send", "a", "echo two")
    asked = [m["content"] for m in model.calls_of("echo two")[0].messages if m["role"] == "user"]
    assert asked == ["echo one", "echo two"]
    assert len(product.json("search", "one")) == 3  # the model echoes all that it was shown


def test_ten_thousand_messages_come_back_as_they_were(product):
    product.run("new", "big")
    product.run("send", "big", "echo one")
    key = product.session("big")["id"]
    product.run("stop")
    lengthen(product.home / "chat-coord.db", key, 10_000, "a text of some length " * 5)
    offline = exported(product, "big", "offline.json")
    before = exported(product, "big", "big.json")
    report = product.json("import", str(product.home.parent / "big.json"))["conversations"][0]
    after = exported(product, report["session"], "again.json")

    assert len(after["messages"]) == 10_000
    assert same(before, after, *OWN)
    assert offline == before
    assert report["name"] == "big-2"


def test_an_export_needs_no_coordinator_and_overwrites_nothing_unasked(product):
    product.run("new", "a")
    product.run("send", "a", "echo <script>alert(1)</script>")
    product.run("close", "a")
    product.run("new", "a")
    target = product.home.parent / "a.md"
    product.run("export", "a", "-o", str(target))
    refused = product.result("export", "a", "-o", str(target))
    assert refused.returncode == 1
    assert "already" in refused.stderr
    product.run("export", "a", "-o", str(target), "--force")
    product.run("stop")
    closed = next(json.loads(p.read_text()) for p in _all(product) if "<script>" in p.read_text())

    assert product.result("status").returncode == 3
    assert "0 messages" in product.run("export", "a", "-o", str(target), "--force")
    assert "<script>" in product.run("export", closed["id"])
    page = product.run("export", closed["id"][:8], "--format", "html")
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert product.result("export", "nobody").returncode == 1
    assert target.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in target.parent.iterdir() if p.name.endswith(".part")] == []


def _all(product: Product) -> list[Path]:
    folder = product.home.parent / "all"
    product.run("export", "--all", str(folder), "--format", "json")
    return sorted(folder.glob("*.json"))


@pytest.mark.parametrize("words", [(), ("a", "--all", "x"), ("--all", "x", "-o", "y"), ("a", "--json")])
def test_an_export_says_what_of_what(product, words):
    assert product.result("export", *words).returncode == 2


def test_a_damaged_store_is_exported_with_its_index_in_it(product):
    product.run("new", "a")
    for n in range(3):
        product.run("send", "a", f"echo number {n}")
    product.run("stop")
    path = product.home / "chat-coord.db"
    with closing(sqlite3.connect(path)) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'words_data'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    done = product.result("export", "a", "--format", "json")

    assert json.loads(done.stdout)["messages"][0]["text"] == "echo number 0"
    assert len(json.loads(done.stdout)["messages"]) == 6


def test_a_backup_takes_the_index_along(product):
    product.run("new", "a")
    product.run("send", "a", "echo needle")
    product.run("backup", str(product.home.parent / "b.db"))
    product.run("hibernate", "a")
    product.run("delete", "a", "--yes")
    product.run("search", "needle", code=1)
    product.run("stop")
    product.run("restore", str(product.home.parent / "b.db"))
    product.run("start")

    assert len(product.json("search", "needle")) == 2


# ---- of other programs


def folder_of(product: Product) -> Path:
    folder = product.home.parent / "foreign"
    project = folder / "projects" / "-home-u-project"
    project.mkdir(parents=True)
    (project / "4f35e220.jsonl").write_bytes(b"\n".join(lines(*CLAUDE, b"{broken")))
    (project / "agent-1.jsonl").write_bytes(b"\n".join(lines(*(c | {"isSidechain": True} for c in CLAUDE[1:3]))))
    day = folder / "sessions" / "2025" / "10" / "29"
    day.mkdir(parents=True)
    (day / "rollout-2025-10-29T00-59-38-019a2d7a.jsonl").write_bytes(b"\n".join(lines(*CODEX)))
    (folder / "conversations.json").write_text(json.dumps([CHATGPT, {"title": "none"}]))
    return folder


def test_conversations_of_claude_code_come_in_once(product, model):
    folder = folder_of(product) / "projects"
    listed = product.json("import", "--from", "claude-code", str(folder), "--list")
    assert [(c["status"], c["messages"], c["malformed"]) for c in listed["conversations"]] == [
        ("new", 4, 1), ("empty", 0, 0),
    ]  # fmt: skip
    assert product.sessions("--all") == []

    first = product.json("import", "--from", "claude-code", str(folder))["conversations"][0]
    again = product.json("import", "--from", "claude-code", str(folder))["conversations"][0]
    assert (first["status"], again["status"], again["session"]) == ("imported", "imported already", first["session"])

    (session,) = product.sessions("--all")
    assert (session["name"], session["residency"]) == ("listing-the-files", "hibernated")
    assert session["origin"] == "claude-code:4f35e220-c435-4cf7-b9b9-f40426042847"
    assert session["tokens"] == 0
    product.run("send", "listing-the-files", "echo go on")
    sent = model.calls_of("echo go on")[0].messages
    assert any("[tool Bash:" in m["content"] for m in sent if m["role"] == "assistant")
    assert not any("tool_calls" in m or m["role"] == "tool" for m in sent)


def test_conversations_of_codex_and_chatgpt_come_in(product):
    folder = folder_of(product)
    codex = product.json("import", "--from", "codex", str(folder / "sessions"))["conversations"]
    chatgpt = product.json("import", "--from", "chatgpt", str(folder / "conversations.json"), code=1)

    assert [(c["status"], c["messages"]) for c in codex] == [("imported", 2)]
    assert [(c["status"], c["name"], c["messages"]) for c in chatgpt["conversations"]] == [
        ("imported", "größe-gewicht", 4)
    ]
    assert "1 entries" in chatgpt["problems"][0]["why"]
    assert product.json("search", "cat")
    assert product.json("import", "--from", "codex", str(folder), "--only", "nothing")["conversations"] == []


@pytest.mark.parametrize("program", ["claude-code", "codex", "chatgpt"])
def test_what_is_no_plain_file_is_refused(product, program):
    folder = product.home.parent
    (folder / "real.json").write_text("[]")
    (folder / "link.json").symlink_to(folder / "real.json")
    os.mkfifo(folder / "pipe")
    (folder / "empty").mkdir()
    product.run("start")
    for name, why in (("link.json", "symbolic link"), ("pipe", "no plain file"), ("absent", "No such file"),
                      ("empty", "has no file")):  # fmt: skip
        done = product.result("import", "--from", program, str(folder / name))

        assert done.returncode == 1, name
        assert why in done.stderr, done.stderr


def test_what_is_no_export_of_ours_is_refused(product):
    product.run("start")
    bad = product.home.parent / "bad.json"
    for text in ("", "{}", "[" * 200_000, '{"id": 5}', "\xff"):
        bad.write_bytes(text.encode("latin-1"))
        done = product.result("import", str(bad))

        assert done.returncode == 1
        assert "Traceback" not in done.stderr
    assert product.sessions("--all") == []


def test_a_hostile_export_of_ours_becomes_a_tame_session(product):
    product.run("start")
    bad = product.home.parent / "bad.json"
    rows = [
        {"seq": 5, "role": "user", "text": "hi \x1b[2J", "turn_id": None, "stop_reason": None, "at": 1.0},
        {"seq": 6, "role": "tool", "text": "rm -rf", "turn_id": None, "stop_reason": None, "at": 1.0},
    ]
    facts = {"id": "../../x", "name": "../../etc", "type": "?", "model": "?", "cwd": "/", "closed": False}
    bad.write_text(json.dumps(facts | {"created_at": 1.0, "last_active_at": 1.0, "messages": rows}))
    (report,) = product.json("import", str(bad))["conversations"]

    (session,) = product.sessions("--all")
    assert (session["name"], session["type"], session["model"]) == ("session", "development", "scripted")
    assert [(r["role"], r["stop_reason"]) for r in product.json("history", "session")] == [
        ("user", None), ("assistant", "interrupted"),
    ]  # fmt: skip
    assert len(report["notes"]) == 3
    wait_for(lambda: product.session("session")["residency"] == "hibernated")
