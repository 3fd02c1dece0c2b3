"""Is this installation well? Each check looks at one thing, changes nothing, and knows what to do about its finding.

What can be mended without harm is mended only when somebody asks for it.

``chat-coord doctor`` runs it as ``python -m coordinator doctor --home FOLDER`` and shows what it prints.
"""

import json
import os
import platform
import resource
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from coordinator.shell import checkup_named as named
from coordinator.shell import checkup_running as running
from coordinator.shell import mending, store_check
from coordinator.shell.finding import Check, Looker, ask, ask_and_mend
from protocol.embedded import ENGINE, GGUF_BYTES, has_engine, is_pulled, model_path
from protocol.errors import ChatCoordError
from protocol.extras import EXTRAS, MCP, how_to_install, is_installed
from protocol.paths import OTHER_HOME, OTHER_RUNTIME, Home, check_private, find_running, runtime_candidates
from protocol.processes import is_running, start_ticks
from protocol.settings import Settings, load_settings

OLDEST_PYTHON = (3, 11)
FREE_BYTES = 256 << 20
# SQLite's write-ahead log needs memory that all its processes share, and locks that hold.
NETWORKED = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "fuse.glusterfs", "glusterfs", "lustre"}
)
# Measured: 29 descriptors without a session and 2 for each worker; clients come on top.
DESCRIPTORS = 64
DESCRIPTORS_PER_SESSION = 3
# A download takes 900 s at most; what is older belongs to none.
PULL_S = 1_800.0


def check_all(home: Home, *, mends: bool = False) -> list[Check]:
    """Return every check in the order in which a person would go about it.

    Args:
        home: which.
        mends: whether what was found is mended where that cannot harm.
    """
    settings: Settings | None = None
    try:
        settings = load_settings(home.config)
        config = Check("configuration", True, _config_words(home))
    except ChatCoordError as error:
        config = Check("configuration", False, error.message, error.hint)
    do = ask_and_mend if mends else ask
    return [do(looker) for looker in _lookers(home, settings, config)]


def _lookers(home: Home, settings: Settings | None, config: Check) -> list[Looker]:
    found = find_running(home)
    status = None if found is None else running.status_of(found)
    is_up = found is not None
    used = settings or Settings()
    default = None if settings is None else settings.all_models()[settings.default_model]
    needs_engine = default is None or default.provider == "local"
    needs_embedded = default is None or (needs_engine and not default.model)
    return [
        Looker("python", _python),
        Looker("platform", _platform),
        Looker("home", lambda: _home(home), lambda: mending.close_home(home)),
        Looker("runtime folder", lambda: _runtime(home), lambda: mending.close_runtime(home)),
        Looker("configuration", lambda: config),
        Looker(
            "keys",
            lambda: named.keys(used, os.environ, found.pid if found else None),
            lambda: named.close_key_files(used),
        ),
        Looker("hooks", lambda: named.hooks(used)),
        Looker("observers", lambda: named.observers(used, is_up=is_up)),
        Looker("descriptors", lambda: _descriptors(used)),
        Looker("sqlite", _sqlite),
        Looker("database", lambda: _database(home, is_up=is_up)),
        Looker(
            "coordinator",
            lambda: running.coordinator(home, find_running(home), status),
            lambda: mending.drop_discovery(home),
        ),
        Looker("version", lambda: running.version(status)),
        Looker("zygote", lambda: running.zygote(status)),
        Looker("engine", lambda: _engine(is_needed=needs_engine)),
        Looker("model libraries", lambda: _libraries(used)),
        Looker("embedded model", lambda: _model(home, is_needed=needs_embedded)),
        Looker(
            "leftovers", lambda: _leftovers(home, is_up=is_up), lambda: mending.drop(home, _left(home, is_up=is_up))
        ),
        Looker("processes", lambda: running.processes(home)),
    ]


def _python() -> Check:
    wanted = ".".join(map(str, OLDEST_PYTHON))
    is_ok = sys.version_info[:2] >= OLDEST_PYTHON
    return Check("python", is_ok, platform.python_version(), None if is_ok else f"Install Python {wanted} or newer.")


def _platform() -> Check:
    is_ok = sys.platform == "linux"
    fix = None if is_ok else "Use Linux; on Windows, WSL 2."
    return Check("platform", is_ok, f"{platform.system()} {platform.release()} {platform.machine()}", fix)


def _home(home: Home) -> Check:
    root = home.root
    if not os.path.lexists(root):
        parent = next(folder for folder in root.parents if folder.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            return Check("home", True, f"{root} is not there yet; the first start makes it.")
        return Check("home", False, f"{root} cannot be made: {parent} is not writable.", OTHER_HOME)
    try:
        for folder in (root, home.logs, home.models):
            if os.path.lexists(folder):
                check_private(folder)
    except ChatCoordError as error:
        return Check("home", False, error.message, error.hint)
    if not os.access(root, os.W_OK | os.X_OK):
        return Check("home", False, f"{root} cannot be written.", "Check its owner, its mode and its file system.")
    return _disk(root)


def _disk(root: Path) -> Check:
    kind = file_system(root, Path("/proc/self/mounts"))
    if kind in NETWORKED:
        words = f"{root} is on a network file system ({kind}), where the store's log and locks are not safe."
        return Check("home", False, words, "Choose a folder on a disk of this machine with --home or CHAT_COORD_HOME.")
    free = shutil.disk_usage(root).free
    if free < FREE_BYTES:
        return Check("home", False, f"{root}: only {free >> 20} MiB are free.", "Make room on that disk.")
    return Check("home", True, f"{root}, private, {free >> 30} GiB free")


def file_system(path: Path, mounts: Path) -> str:
    """Return the kind of file system that a path is on, by a table such as /proc/self/mounts; empty when unknown."""
    found = ("", "")
    try:
        table = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in table:
        _, where, kind, *_ = line.split()
        point = where.replace("\\040", " ")
        if path.is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, kind)
    return found[1]


def _runtime(home: Home) -> Check:
    for folder in runtime_candidates(home):
        try:
            for part in (folder.parent, folder):
                if os.path.lexists(part):
                    check_private(part, OTHER_RUNTIME)
        except ChatCoordError as error:
            return Check("runtime folder", False, error.message, error.hint)
        base = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if os.access(base, os.W_OK | os.X_OK):
            return Check("runtime folder", True, str(folder))
    words = "No safe folder for the sockets has a short enough path."
    return Check("runtime folder", False, words, OTHER_RUNTIME)


def _config_words(home: Home) -> str:
    return f"{home.config} is valid" if home.config.exists() else f"{home.config} is not there; defaults are in force"


def _descriptors(settings: Settings) -> Check:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = DESCRIPTORS + DESCRIPTORS_PER_SESSION * settings.max_active_sessions
    words = f"up to {hard} open files; {settings.max_active_sessions} sessions need about {need}"
    is_ok = hard == resource.RLIM_INFINITY or hard >= need
    fix = "Raise the hard limit (`ulimit -Hn`, limits.conf), or lower max_active_sessions."
    return Check("descriptors", is_ok, words, None if is_ok else fix)


def _sqlite() -> Check:
    is_ok = store_check.can_serve()
    fix = "Use a Python that was built with SQLite 3.35 or newer."
    return Check("sqlite", is_ok, store_check.version(), None if is_ok else fix)


def _database(home: Home, *, is_up: bool) -> Check:
    if is_up:
        return Check("database", True, "skipped: the coordinator has it open")
    if not os.path.lexists(home.database) and not store_check.is_there(home.database):
        return Check("database", True, "there is none yet")
    is_ok, finding = store_check.look(home.database)
    if find_running(home) is not None:  # it was started meanwhile, and wrote under our eyes
        return Check("database", True, "skipped: the coordinator has it open")
    fix = (
        f"Keep a copy of {home.database.name}*. `chat-coord export --all DIR` saves what can be read of it,"
        " `chat-coord restore FILE` puts a backup in its place."
    )
    if store_check.is_newer(home.database):
        fix = "Install the chat-coord that wrote it, or a newer one."
    return Check("database", is_ok, finding, None if is_ok else fix)


def _engine(*, is_needed: bool) -> Check:
    if has_engine():
        return Check("engine", True, f"{ENGINE} is installed")
    if not is_needed:
        return Check("engine", True, f"{ENGINE} is not installed, and the default model does not need it")
    fix = f"Run `{sys.executable} -m pip install {ENGINE}`, or configure a model in config.toml."
    return Check("engine", False, f"{ENGINE} is not installed, and the default model needs it.", fix)


def _libraries(settings: Settings) -> Check:
    wanted = sorted({model.provider for model in settings.models.values()} & EXTRAS.keys())
    missing = [provider for provider in wanted if not is_installed(provider)]
    if missing:
        words = f"Models of the provider {missing[0]!r} are configured, and the package that they need is not there."
        return Check("model libraries", False, words, f"Run `{how_to_install(missing[0])}`.")
    if settings.mcp and not is_installed(MCP):
        words = "Servers of tools are configured ([mcp.NAME]), and the package that they need is not there."
        return Check("model libraries", False, words, f"Run `{how_to_install(MCP)}`.")
    return Check("model libraries", True, f"{', '.join(wanted)} is installed" if wanted else "no extra is needed")


def _model(home: Home, *, is_needed: bool) -> Check:
    path = model_path(home)
    if is_pulled(home):
        return Check("embedded model", True, f"{path}, {GGUF_BYTES / 1e6:.0f} MB")
    if path.exists():
        words = f"{path} has {path.stat().st_size} bytes instead of {GGUF_BYTES}."
        return Check("embedded model", False, words, "Run `chat-coord model pull`.")
    if not is_needed:
        return Check("embedded model", True, "not downloaded, and the default model does not need it")
    return Check("embedded model", False, "It has not been downloaded.", "Run `chat-coord model pull`, or just chat.")


def _leftovers(home: Home, *, is_up: bool) -> Check:
    found = _left(home, is_up=is_up)
    if not found:
        return Check("leftovers", True, "no files of dead processes")
    words = f"Files of dead processes: {', '.join(map(str, found))}."
    return Check("leftovers", False, words, f"Run `{shlex.join(['rm', '-r', *map(str, found)])}`.")


def _left(home: Home, *, is_up: bool) -> list[Path]:
    found = [*_dead_server(home), *_dead_scratch(home)]
    if not is_up:
        found += [path for folder in runtime_candidates(home) for path in sorted(folder.glob("*.sock"))]
    return found


def _dead_server(home: Home) -> Iterator[Path]:
    for path in home.model_servers():
        try:
            facts = json.loads(path.read_bytes())
            is_dead = not is_running(int(facts["pid"]), int(facts["start_ticks"]))
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, TypeError):
            is_dead = True
        if is_dead:
            yield path


def _dead_scratch(home: Home) -> Iterator[Path]:
    """Yield half-written files of processes that are gone, and folders of downloads that were killed."""
    for path in sorted(home.root.glob(".*.[0-9]*")):
        pid = path.name.rpartition(".")[2]
        if pid.isdecimal() and start_ticks(int(pid)) is None:
            yield path
    for path in sorted(home.models.glob(".pull-*")):
        if path.stat().st_mtime < time.time() - PULL_S:
            yield path
