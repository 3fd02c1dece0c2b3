"""Where things lie: one home for what is durable, one private runtime folder for sockets.

The runtime folder differs under ssh and cron, so clients never compute it: they read ``coordinator.json`` in the home.
"""

import contextlib
import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
import platformdirs

from protocol.errors import HomeUnsafe
from protocol.processes import is_running

# Linux: sun_path has 108 bytes with its NUL.
SOCKET_PATH_BYTES = 107
# What helps when a folder cannot be used: the sockets' does not move with the home.
OTHER_HOME = "Choose another place with --home or CHAT_COORD_HOME."
OTHER_RUNTIME = "Set XDG_RUNTIME_DIR to a short path of your own."


@dataclass(frozen=True)
class Home:
    """The folder that holds everything durable."""

    root: Path

    @property
    def config(self) -> Path:
        """The configuration; it need not exist."""
        return self.root / "config.toml"

    @property
    def database(self) -> Path:
        """The SQLite database, owned by the coordinator alone."""
        return self.root / "chat-coord.db"

    @property
    def discovery(self) -> Path:
        """Where clients find the coordinator's endpoints."""
        return self.root / "coordinator.json"

    @property
    def lock(self) -> Path:
        """The file whose flock makes a coordinator the only one."""
        return self.root / "coordinator.lock"

    @property
    def logs(self) -> Path:
        """The logs of every process."""
        return self.root / "logs"

    @property
    def coordinator_log(self) -> Path:
        """The coordinator's own."""
        return self.logs / "coordinator.log"

    @property
    def outboxes(self) -> Path:
        """What workers noted for the case of their death; see ``protocol.outbox``."""
        return self.root / "outbox"

    @property
    def models(self) -> Path:
        """Models that were pulled."""
        return self.root / "models"

    @property
    def worktrees(self) -> Path:
        """Git worktrees that sessions were given; made with the first one."""
        return self.root / "worktrees"

    def model_server(self, model: Path) -> Path:
        """Address and key of the server of a local model, for the next coordinator to adopt it."""
        return self.root / f"model-server-{short_name(model)}.json"

    def model_servers(self) -> list[Path]:
        """The files of all of them."""
        return sorted(self.root.glob("model-server-*.json"))

    def prepare(self) -> None:
        """Make the folders, private to the user.

        Raises:
            HomeUnsafe: a folder cannot be made or written, or belongs to somebody else.
        """
        make_private(self.root)
        check_writable(self.root)
        for folder in (self.logs, self.models, self.outboxes):
            make_private(folder)


@dataclass(frozen=True)
class Discovery:
    """What a client needs to reach the coordinator. ``start_ticks`` guards against a reused pid."""

    boot: int
    pid: int
    start_ticks: int
    clients: str
    workers: str


def find_home(override: str | None = None) -> Home:
    """Return the home: the override, else CHAT_COORD_HOME, else the platform's data folder."""
    chosen = override or os.environ.get("CHAT_COORD_HOME")
    root = Path(chosen).expanduser().absolute() if chosen else platformdirs.user_data_path("chat-coord")
    return Home(root)


def make_private(folder: Path, elsewhere: str = OTHER_HOME) -> None:
    """Make a folder of mode 0700, or check that the one that is there belongs to this user and is no link.

    Args:
        folder: which.
        elsewhere: the hint when it cannot be made or is somebody else's.

    Raises:
        HomeUnsafe: it is a link, a file, somebody else's, or cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = folder.lstat()
    except FileExistsError as error:
        raise HomeUnsafe(f"{folder} is in the way: a folder is needed there.", hint="Move it away.") from error
    except OSError as error:
        raise HomeUnsafe(f"The folder {folder} cannot be made: {error.strerror}.", hint=elsewhere) from error
    _check_ours(folder, facts, elsewhere)
    if stat.S_IMODE(facts.st_mode) != 0o700:  # noqa: PLR2004 - the mode is the rule
        with contextlib.suppress(OSError):
            folder.chmod(0o700)
        check_private(folder, elsewhere)


def check_private(folder: Path, elsewhere: str = OTHER_HOME) -> None:
    """Check, and change nothing: a folder that is there is one, belongs to this user and is closed to others.

    Args:
        folder: which.
        elsewhere: the hint when it is somebody else's.

    Raises:
        HomeUnsafe: it is not.
        OSError: it cannot be looked at.
    """
    facts = folder.lstat()
    _check_ours(folder, facts, elsewhere)
    if not stat.S_ISDIR(facts.st_mode):
        raise HomeUnsafe(f"{folder} is in the way: a folder is needed there.", hint="Move it away.")
    if stat.S_IMODE(facts.st_mode) & 0o077:
        raise HomeUnsafe(f"{folder} can be entered by other users.", hint=f"Run `chmod 700 {folder}`.")


def check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be written: by its mode, or because its file system is read-only.

    Raises:
        HomeUnsafe: it cannot.
    """
    if not os.access(folder, os.W_OK | os.X_OK):
        hint = (
            "Check its owner, its mode and its file system, or choose another place with --home or CHAT_COORD_HOME;"
            " `chat-coord export --all DIR` saves the conversations without writing there."
        )
        raise HomeUnsafe(f"The folder {folder} cannot be written.", hint=hint)


def _check_ours(folder: Path, facts: os.stat_result, elsewhere: str) -> None:
    if stat.S_ISLNK(facts.st_mode):
        raise HomeUnsafe(f"{folder} is a link; a folder of your own is needed there.", hint="Remove the link.")
    if facts.st_uid != os.getuid():
        raise HomeUnsafe(f"{folder} belongs to another user.", hint=elsewhere)


def short_name(path: Path) -> str:
    """Return 12 hexadecimal digits that stand for a path in file names."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


def runtime_folder(home: Home) -> Path:
    """Return the private folder for this home's sockets, made and checked.

    Raises:
        HomeUnsafe: the folder that would be used is a link or somebody else's, or none can be made.
    """
    refused: HomeUnsafe | None = None
    for folder in runtime_candidates(home):
        try:
            make_private(folder.parent, OTHER_RUNTIME)
            make_private(folder, OTHER_RUNTIME)
        except HomeUnsafe as error:
            if os.path.lexists(folder.parent):
                raise  # somebody's link or folder stands there: that is said, not stepped around
            refused = error
            continue
        return folder
    raise refused or HomeUnsafe(
        "No folder for the sockets has a short enough path.",
        hint=OTHER_RUNTIME,
    )


def runtime_candidates(home: Home) -> list[Path]:
    """Return the folders for this home's sockets whose paths are short enough, best first; nothing is made."""
    name = short_name(home.root)
    folders = [base / name for base in _runtime_bases()]
    return [folder for folder in folders if len(os.fsencode(folder / "clients.sock")) <= SOCKET_PATH_BYTES]


def _runtime_bases() -> list[Path]:
    """Candidates, best first: the runtime folder of the login session, then one under the temporary folder."""
    bases = []
    chosen = os.environ.get("XDG_RUNTIME_DIR")
    if chosen and Path(chosen).is_absolute() and Path(chosen).is_dir():
        bases.append(Path(chosen) / "chat-coord")
    bases += [Path(base) / f"chat-coord-{os.getuid()}" for base in (tempfile.gettempdir(), "/tmp")]  # noqa: S108 - checked with lstat
    return bases


def replace_file(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 so that a reader sees the old one or the new one, whole."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    scratch.replace(path)


def write_discovery(home: Home, discovery: Discovery) -> None:
    """Publish the coordinator's endpoints."""
    replace_file(home.discovery, msgspec.json.encode(discovery))


def read_discovery(home: Home) -> Discovery | None:
    """Return what the running, or the last, coordinator published; None when there is nothing usable."""
    try:
        return msgspec.json.decode(home.discovery.read_bytes(), type=Discovery)
    except (OSError, msgspec.MsgspecError):
        return None


def find_running(home: Home) -> Discovery | None:
    """Return how to reach the coordinator that runs for this home; None when none does."""
    found = read_discovery(home)
    return found if found is not None and is_running(found.pid, found.start_ticks) else None
