"""Where things lie: private folders, short socket paths, files that change whole."""

import json
import os
import shutil
import stat
import tempfile
import threading
from pathlib import Path

import pytest

from protocol.errors import HomeUnsafe
from protocol.paths import (
    SOCKET_PATH_BYTES,
    Discovery,
    Home,
    find_home,
    make_private,
    read_discovery,
    replace_file,
    runtime_folder,
    write_discovery,
)

FOUND = Discovery(boot=3, pid=42, start_ticks=1000, clients="ipc:///c.sock", workers="ipc:///w.sock")


@pytest.fixture
def spot():
    """A folder with a short path, as sockets need it."""
    folder = Path(tempfile.mkdtemp(prefix="cc-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def runtime(spot, monkeypatch):
    """A login session's runtime folder and, beside it, a temporary folder; both are short and empty."""
    for name in ("run", "tmp"):
        (spot / name).mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(spot / "run"))
    monkeypatch.setattr(tempfile, "tempdir", str(spot / "tmp"))
    return spot


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


# ---- the home


def test_the_home_that_is_asked_for_comes_before_the_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("CHAT_COORD_HOME", str(tmp_path / "variable"))

    assert find_home(str(tmp_path / "asked")).root == tmp_path / "asked"


def test_the_variable_comes_before_the_platform_s_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("CHAT_COORD_HOME", str(tmp_path / "variable"))

    assert find_home().root == tmp_path / "variable"


def test_the_platform_s_folder_is_the_home_when_nothing_is_said(monkeypatch, tmp_path):
    monkeypatch.delenv("CHAT_COORD_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    assert find_home().root == tmp_path / "chat-coord"


def test_a_relative_home_is_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    assert find_home("here").root == tmp_path / "here"


def test_a_tilde_in_the_home_is_the_user_s_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))

    assert find_home("~/chats").root == tmp_path / "chats"


def test_preparing_a_home_makes_its_folders_private(tmp_path):
    home = Home(tmp_path / "a" / "home")
    home.prepare()

    assert [mode(folder) for folder in (home.root, home.logs, home.models)] == [0o700] * 3


def test_preparing_a_home_again_keeps_what_is_in_it(tmp_path):
    home = Home(tmp_path / "home")
    home.prepare()
    home.config.write_text("restart_limit = 1")
    home.prepare()

    assert home.config.read_text() == "restart_limit = 1"


def test_everything_durable_has_a_place_of_its_own_within_the_home(tmp_path):
    home = Home(tmp_path)
    places = [
        home.config,
        home.database,
        home.discovery,
        home.lock,
        home.logs,
        home.models,
        home.model_server(home.models / "m.gguf"),
    ]

    assert len(set(places)) == len(places)
    assert {place.parent for place in places} == {tmp_path}


# ---- private folders


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_new_folder_is_private_whatever_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        make_private(tmp_path / "new")
    finally:
        os.umask(before)

    assert mode(tmp_path / "new") == 0o700


@pytest.mark.parametrize("loose", [0o777, 0o755, 0o750, 0o701, 0o500, 0o1777])
def test_a_folder_that_others_could_enter_is_closed_to_them(tmp_path, loose):
    folder = tmp_path / "loose"
    folder.mkdir()
    folder.chmod(loose)
    make_private(folder)

    assert mode(folder) == 0o700


def test_a_link_to_a_folder_is_refused_and_what_it_points_to_is_left_alone(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    target.chmod(0o755)
    (tmp_path / "link").symlink_to(target)

    with pytest.raises(HomeUnsafe, match="is a link"):
        make_private(tmp_path / "link")
    assert mode(target) == 0o755


def test_a_link_to_nowhere_is_refused(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")

    with pytest.raises(HomeUnsafe):
        make_private(tmp_path / "link")
    assert not (tmp_path / "nowhere").exists()


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(HomeUnsafe, match="is in the way"):
        make_private(tmp_path / "file")


def test_a_folder_that_cannot_be_made_is_named_with_the_reason(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(HomeUnsafe, match="cannot be made: Not a directory") as caught:
        make_private(tmp_path / "file" / "folder")
    assert str(tmp_path / "file" / "folder") in caught.value.message


def test_a_folder_of_another_user_is_refused(tmp_path):
    folder = Path("/")
    if os.getuid() == 0:
        folder = tmp_path / "theirs"
        folder.mkdir(mode=0o700)
        os.chown(folder, 12345, 12345)

    with pytest.raises(HomeUnsafe, match="belongs to another user"):
        make_private(folder)


# ---- the folder for sockets


def test_sockets_lie_in_the_login_session_s_runtime_folder_in_private(runtime):
    folder = runtime_folder(Home(Path("/home/one")))

    assert folder.parent == runtime / "run" / "chat-coord"
    assert (mode(folder), mode(folder.parent)) == (0o700, 0o700)


def test_two_homes_never_share_their_sockets_and_one_home_always_does(runtime):
    one, other, again = (runtime_folder(Home(Path(f"/home/{name}"))) for name in ("one", "other", "one"))

    assert one != other
    assert one == again


def test_a_runtime_folder_with_a_long_path_gives_way_to_the_temporary_folder(runtime, monkeypatch):
    long = runtime / ("x" * SOCKET_PATH_BYTES)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    folder = runtime_folder(Home(Path("/home/one")))

    assert folder.parent == runtime / "tmp" / f"chat-coord-{os.getuid()}"
    assert len(os.fsencode(folder / "clients.sock")) <= SOCKET_PATH_BYTES
    assert list(long.iterdir()) == []


def test_where_even_the_temporary_folder_has_a_long_path_the_shortest_one_is_used(runtime, monkeypatch):
    long = runtime / ("x" * SOCKET_PATH_BYTES)
    long.mkdir()
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder = runtime_folder(Home(runtime))
    folder.rmdir()

    assert folder.parent == Path(f"/tmp/chat-coord-{os.getuid()}")


def test_the_longest_path_that_a_socket_may_have_is_used(runtime, monkeypatch):
    tail = len("/chat-coord/0123456789ab/clients.sock")
    base = runtime / ("x" * (SOCKET_PATH_BYTES - tail - len(os.fsencode(runtime)) - 1))
    base.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(base))
    folder = runtime_folder(Home(Path("/home/one")))

    assert folder.parent.parent == base
    assert len(os.fsencode(folder / "clients.sock")) == SOCKET_PATH_BYTES


@pytest.mark.parametrize("chosen", [None, "", "missing", "file"])
def test_without_a_runtime_folder_the_temporary_folder_is_used(runtime, monkeypatch, chosen):
    (runtime / "file").touch()
    if chosen is None:
        monkeypatch.delenv("XDG_RUNTIME_DIR")
    else:
        monkeypatch.setenv("XDG_RUNTIME_DIR", chosen and str(runtime / chosen))
    folder = runtime_folder(Home(Path("/home/one")))

    assert folder.parent == runtime / "tmp" / f"chat-coord-{os.getuid()}"
    assert mode(folder.parent) == 0o700


def test_a_link_that_somebody_planted_is_refused_and_not_followed(runtime):
    (runtime / "trap").mkdir()
    (runtime / "run" / "chat-coord").symlink_to(runtime / "trap")

    with pytest.raises(HomeUnsafe, match="is a link"):
        runtime_folder(Home(Path("/home/one")))
    assert list((runtime / "trap").iterdir()) == []


def test_another_home_is_no_advice_when_the_runtime_folder_is_somebody_elses(runtime, monkeypatch):
    (runtime / "run" / "chat-coord").mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: 12345)

    with pytest.raises(HomeUnsafe, match="belongs to another user") as caught:
        runtime_folder(Home(Path("/home/one")))
    assert caught.value.hint == "Set XDG_RUNTIME_DIR to a short path of your own."


# ---- files that change whole


def test_a_replaced_file_has_the_new_content_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    replace_file(path, b"new")

    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"file": b"new"}


def test_a_replaced_file_is_private_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        replace_file(tmp_path / "file", b"secret")
    finally:
        os.umask(before)

    assert mode(tmp_path / "file") == 0o600


def test_a_longer_content_left_by_a_writer_that_died_does_not_show_through(tmp_path):
    (tmp_path / f".file.{os.getpid()}").write_bytes(b"half of something very long")
    replace_file(tmp_path / "file", b"new")

    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_reader_of_the_old_file_reads_it_to_its_end(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"the old one")
    with path.open("rb") as reader:
        start = reader.read(4)
        replace_file(path, b"THE NEW ONE")

        assert start + reader.read() == b"the old one"


def test_a_link_is_replaced_and_not_written_through(tmp_path):
    (tmp_path / "target").write_bytes(b"untouched")
    (tmp_path / "file").symlink_to(tmp_path / "target")
    replace_file(tmp_path / "file", b"new")

    assert (tmp_path / "target").read_bytes() == b"untouched"
    assert not (tmp_path / "file").is_symlink()


def test_readers_see_the_old_file_or_the_new_one_and_never_a_mixture(tmp_path):
    path = tmp_path / "file"
    contents = [bytes([letter]) * 200_000 for letter in b"ab"]
    replace_file(path, contents[0])
    is_over = threading.Event()

    def write():
        for i in range(200):
            replace_file(path, contents[i % 2])
        is_over.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not is_over.is_set():
        seen.add(path.read_bytes())
    writer.join()

    assert seen <= set(contents)


# ---- how clients find the coordinator


def test_what_a_coordinator_published_is_found(tmp_path):
    write_discovery(Home(tmp_path), FOUND)

    assert read_discovery(Home(tmp_path)) == FOUND


def test_the_published_file_is_private(tmp_path):
    write_discovery(Home(tmp_path), FOUND)

    assert mode(Home(tmp_path).discovery) == 0o600


def test_where_nothing_was_published_nothing_is_found(tmp_path):
    assert read_discovery(Home(tmp_path)) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"5",
        b'{"boot": 3}',
        json.dumps(vars(FOUND) | {"pid": "nope"}).encode(),
        json.dumps(vars(FOUND)).encode()[:-5],
    ],
    ids=["empty", "brace", "not utf-8", "null", "list", "number", "too little", "wrong type", "truncated"],
)
def test_a_damaged_publication_is_no_publication(tmp_path, data):
    Home(tmp_path).discovery.write_bytes(data)

    assert read_discovery(Home(tmp_path)) is None


def test_a_field_that_a_later_version_publishes_is_ignored(tmp_path):
    Home(tmp_path).discovery.write_bytes(json.dumps(vars(FOUND) | {"later": 1}).encode())

    assert read_discovery(Home(tmp_path)) == FOUND
