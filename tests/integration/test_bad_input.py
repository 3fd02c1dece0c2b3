"""Bad input: one sentence and a hint on stderr, the right exit code, nothing hangs, nothing is lost."""

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from protocol.paths import Home, runtime_folder
from tests.support.model_server import ModelServer
from tests.support.product import Product, wait_for

pytestmark = pytest.mark.integration


def refused(product: Product, code: int, *words: str) -> str:
    """Return the first line of the complaint, having checked its form."""
    done = product.result(*words)
    lines = done.stderr.strip().splitlines()

    assert done.returncode == code, done
    assert done.stdout == ""
    assert len(lines) == 2, done.stderr
    assert lines[0].endswith("."), lines
    assert lines[1].startswith("Hint: "), lines
    assert "Traceback" not in done.stderr
    return lines[0]


def test_bad_names_and_unknown_sessions_are_refused(product: Product):
    product.run("new", "a")

    for words in (
        ("send", "nobody", "hello"),
        ("history", "nobody"),
        ("switch", "nobody"),
        ("rename", "nobody", "x"),
        ("close", "nobody"),
    ):
        assert refused(product, 1, *words) == "There is no session 'nobody'."
    assert "named 'a' already" in refused(product, 1, "new", "a")
    assert "not allowed" in refused(product, 1, "new", "../etc")
    assert "not allowed" in refused(product, 1, "new", "evil\x1b[2J")
    assert "300 characters" in refused(product, 1, "new", "x" * 300)
    assert "digits alone" in refused(product, 1, "rename", "a", "123")
    assert "type of session" in refused(product, 1, "new", "debug")
    assert [s["name"] for s in product.sessions("--all")] == ["a"]


def test_bad_prompts_are_refused(product: Product, model: ModelServer):
    product.run("new", "a")

    assert refused(product, 1, "send", "a", "") == "The prompt is empty."
    assert refused(product, 1, "send", "a", " \n ") == "The prompt is empty."
    done = product.result("send", "a", "-", stdin="x" * 10_000_000)
    assert done.returncode == 1
    assert "larger than 262144 bytes" in done.stderr
    assert model.calls == []
    assert product.json("send", "a", "hello")["reply"] == "<hello>"


def test_a_closed_session_takes_no_prompt(product: Product):
    product.run("new", "a")
    product.run("close", "a")

    assert refused(product, 1, "send", "a", "hello") == "The session 'a' is closed."


def test_without_a_coordinator_reading_commands_leave_with_3(product: Product):
    for words in (("sessions",), ("status",), ("history", "a"), ("close", "a"), ("stop",), ("rename", "a", "b")):
        assert "No coordinator is running" in refused(product, 3, *words)


def test_a_stale_socket_and_discovery_file_do_not_stop_anybody(product: Product):
    product.run("start")
    pid = product.json("status")["pid"]
    os.kill(pid, signal.SIGKILL)

    assert (product.home / "coordinator.json").exists()
    assert "No coordinator is running" in refused(product, 3, "sessions")

    product.run("new", "a")

    assert product.json("send", "a", "hello")["reply"] == "<hello>"


def test_a_file_in_the_place_of_the_socket_is_left_alone(product: Product):
    in_the_way = runtime_folder(Home(product.home)) / "clients.sock"
    in_the_way.write_text("mine")
    try:
        complaint = refused(product, 78, "start")

        assert f"{in_the_way} is in the way" in complaint
        assert in_the_way.read_text() == "mine"
    finally:
        in_the_way.unlink()


def test_a_coordinator_that_does_not_answer_is_named_in_time(product: Product):
    product.run("start")
    pid = product.json("status")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert f"(pid {pid}) did not answer" in refused(product, 3, "sessions")
    finally:
        os.kill(pid, signal.SIGCONT)

    assert product.sessions() == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("max_active_sessions = 0", "max_active_sessions"),
        ('max_active_sessions = "many"', "max_active_sessions"),
        ("no_such_key = 1", "no_such_key"),
        ("this is not toml", "not valid TOML"),
        ('default_model = "nobody"', "nobody"),
    ],
)
def test_a_bad_configuration_stops_the_start_with_78(fresh: Product, line: str, said: str):
    fresh.configure(line + "\n")
    complaint = refused(fresh, 78, "start")

    assert said in complaint
    assert str(fresh.home / "config.toml") in complaint


def test_an_unknown_model_is_refused_with_the_names_there_are(product: Product):
    done = product.result("new", "a", "--model", "gpt-nothing")

    assert done.returncode == 1
    assert "no model 'gpt-nothing'" in done.stderr
    assert "embedded, scripted" in done.stderr


def test_an_unreachable_endpoint_fails_the_turn_and_the_session_lives(fresh: Product, model: ModelServer):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fresh.use_model(f"http://127.0.0.1:{port}/v1")
    fresh.run("new", "a")

    assert f"http://127.0.0.1:{port}/v1 cannot be reached" in refused(fresh, 1, "send", "a", "hello")

    failed = json.loads(fresh.run("send", "a", "again", "--json", code=1))

    assert failed["stop_reason"] == "failed"

    fresh.run("stop")
    fresh.use_model(model.url)

    assert fresh.json("send", "a", "hello")["reply"] == "<hello>"


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("status 400", "refused the request (HTTP 400)"),
        ("status 500", "failed (HTTP 500)"),
        ("status 429", "takes no more requests now"),
        ("garbage", "answered in a way that cannot be used"),
        ("break", "broke off in the middle of its answer"),
    ],
)
def test_a_model_that_misbehaves_fails_its_turn_in_one_sentence(product: Product, prompt: str, said: str):
    product.run("new", "a")
    done = product.result("send", "a", prompt)

    assert done.returncode == 1
    assert said in done.stderr
    assert "Hint: " in done.stderr
    assert done.stdout == ("half a\n" if prompt == "break" else "")
    assert product.json("send", "a", "hello")["stop_reason"] == "completed"


def test_a_wrong_key_a_missing_key_and_an_unknown_model_name_are_told_apart(fresh: Product, model: ModelServer):
    fresh.use_model(model.url, key="wrong")
    fresh.run("new", "a")

    assert "refused the API key (HTTP 401): that key is wrong" in refused(fresh, 1, "send", "a", "hello")

    (fresh.home.parent / "key").unlink()

    assert "The key file" in refused(fresh, 1, "send", "a", "hello")

    fresh.run("stop")
    fresh.use_model(model.url)
    text = (fresh.home / "config.toml").read_text()
    fresh.configure(text.replace('model = "scripted"\nbase', 'model = "other"\nbase'))

    assert "does not know the model 'other'" in refused(fresh, 1, "send", "a", "hello")


def test_a_key_from_the_environment_is_used_and_reaches_no_other_process(fresh: Product, model: ModelServer):
    fresh.configure(
        f'default_model = "scripted"\n[models.scripted]\nprovider = "openai"\nmodel = "scripted"\n'
        f'base_url = "{model.url}"\napi_key_env = "MY_KEY"\n'
    )
    fresh.run("new", "a")
    missing = refused(fresh, 1, "send", "a", "hello")
    fresh.run("stop")
    fresh.env["MY_KEY"] = "test-key"
    answer = fresh.json("send", "a", "hello")
    worker = Path(f"/proc/{fresh.session('a')['pid']}/environ").read_bytes()

    assert "is not in the coordinator's environment" in missing
    assert answer["stop_reason"] == "completed"
    assert b"test-key" not in worker
    for path in fresh.home.rglob("*"):
        assert not path.is_file() or b"test-key" not in path.read_bytes(), path


def test_a_working_directory_that_is_gone_fails_the_session_with_the_reason(product: Product):
    work = product.home.parent / "work"
    work.mkdir()
    product.run("new", "a", "--cwd", str(work))
    os.kill(product.live("a")["pid"], signal.SIGKILL)
    product.wait_session("a", lambda s: s["residency"] == "hibernated")
    work.rmdir()
    product.run("send", "a", "hello", "--no-wait")
    failed = product.wait_session("a", lambda s: s["residency"] == "failed")

    assert failed["exit_card"]["reason"] == f"the working directory {work} is gone"

    work.mkdir()
    product.run("send", "a", "again", "--no-wait")  # a prompt to a failed session tries again

    assert product.wait_session("a", lambda s: s["messages"] == 4)["residency"] == "live"


def test_a_home_that_is_a_file_is_refused(fresh: Product):
    fresh.home.write_text("mine")

    assert "is in the way" in refused(fresh, 78, "start")
    fresh.home.unlink()


@pytest.mark.parametrize("squatter", ["link", "foreign"])
def test_a_runtime_folder_that_is_a_link_or_somebody_elses_is_refused(fresh: Product, squatter: str):
    if squatter == "foreign" and os.getuid() != 0:
        pytest.skip("only root can give a folder to somebody else")
    base = fresh.home.parent / "run"
    (base / "trap").mkdir(parents=True)
    if squatter == "link":
        (base / "chat-coord").symlink_to(base / "trap")
    else:
        (base / "chat-coord").mkdir(mode=0o700)
        os.chown(base / "chat-coord", 12_345, 12_345)
    fresh.env["XDG_RUNTIME_DIR"] = str(base)
    complaint = refused(fresh, 78, "start")

    assert str(base / "chat-coord") in complaint
    assert "is a link" in complaint or "belongs to another user" in complaint
    assert list((base / "trap").iterdir()) == []


def test_a_home_with_a_very_long_path_works_all_the_same(fresh: Product, model: ModelServer):
    fresh.home = fresh.home.parent / ("x" * 120) / ("y" * 80)
    fresh.home.parent.mkdir()
    fresh.use_model(model.url)
    fresh.run("new", "a")

    assert fresh.json("send", "a", "hello")["reply"] == "<hello>"


def test_a_newer_or_foreign_database_is_refused_unharmed(fresh: Product):
    fresh.configure("")
    (fresh.home / "chat-coord.db").write_bytes(b"not a database at all, but somebody's file" * 100)
    before = (fresh.home / "chat-coord.db").read_bytes()

    done = fresh.result("start")

    assert done.returncode == 1
    assert "cannot be used" in done.stderr
    assert (fresh.home / "chat-coord.db").read_bytes() == before


def test_wrong_usage_leaves_with_2(product: Product):
    assert product.result("send", "a").returncode == 2
    assert product.result("nosuch").returncode == 2
    assert product.result("new", "a", "--type", "nosuch").returncode == 2
    assert product.result("new", "a", "--cwd", "/no/such/folder").returncode == 2
    wait_for(lambda: product.result("status").returncode == 3)  # nothing of this started a coordinator
