"""An archive for a bug report: what was found, what runs, settings, logs; what a person wrote is left out."""

import importlib.metadata
import io
import json
import os
import platform
import resource
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from coordinator.shell import checkup, monitor, redacting, store_check
from coordinator.shell import checkup_running as running
from coordinator.shell.redacting import Redactor
from protocol.errors import ChatCoordError
from protocol.paths import Home, find_running
from protocol.settings import Settings, load_with_origins, table_values
from protocol.version import __version__

# Of each log its end; of sessions those that were busy last.
LOG_BYTES, SESSIONS = 256 << 10, 20
# Of variables that begin so the names are told, never what they hold.
TOLD = ("CHAT_COORD_", "LC_", "LANG", "PYTHON", "XDG_")
README = """\
What `chat-coord doctor --bundle` found, for a bug report.

Left out: names of sessions, what was said, system prompts, working folders, values of settings that may be private,
keys, names of this machine and user, and of what libraries said on standard error everything but places of code.
Look it through before you send it all the same.
"""


class BundleRefused(ChatCoordError):
    """The archive cannot be written."""

    code = "bundle.refused"
    hint = "Name a new file in a folder that you can write to."


def write(home: Home, file: Path) -> dict[str, object]:
    """Write the archive and return what is in it.

    Raises:
        BundleRefused: the file is there already, or cannot be written.
    """
    try:
        loaded = load_with_origins(home.config)
        settings, origins = loaded.settings, dict[str, str](loaded.origins)
    except ChatCoordError as error:
        settings, origins = Settings(), {"error": error.message}
    redactor = Redactor(home.root, settings, os.environ)
    members = dict(_members(home, settings, origins, redactor))
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as archive:
            for name, data in members.items():
                entry = tarfile.TarInfo(f"chat-coord-report/{name}")
                entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
                archive.addfile(entry, io.BytesIO(data))
    except OSError as error:
        raise BundleRefused(f"{file} cannot be written: {error.strerror}.") from error
    return {"file": str(file), "bytes": file.stat().st_size, "members": list(members)}


def _members(
    home: Home, settings: Settings, origins: dict[str, str], redactor: Redactor
) -> Iterator[tuple[str, bytes]]:
    yield "README.txt", README.encode()
    documents: dict[str, Callable[[], Any]] = {
        "doctor.json": lambda: msgspec.to_builtins(checkup.check_all(home)),
        "system.json": _system,
        "settings.json": lambda: _settings(settings, origins),
        "running.json": lambda: _running(home),
        "store.json": lambda: _store(home),
    }
    for name, make in documents.items():
        try:
            document = make()
        except (ChatCoordError, OSError, ValueError) as error:
            document = {"error": f"{type(error).__name__}: {error}"}
        yield name, _json(redactor.document(document))
    for path in _logs(home):
        yield f"logs/{path.name}", _log(path, redactor)


def _json(document: Any) -> bytes:
    return json.dumps(document, indent=1, default=str).encode() + b"\n"


def _settings(settings: Settings, origins: dict[str, str]) -> dict[str, Any]:
    if "error" in origins:
        return {"error": origins["error"]}
    flat = {key: getattr(settings, key) for key in Settings.__struct_fields__}
    values = {key: value for key, value in flat.items() if not isinstance(value, dict)} | table_values(settings)
    return {
        key: {"value": redacting.setting(key, value), "from": origins.get(key, "default")}
        for key, value in values.items()
    }


def _system() -> dict[str, Any]:
    packages = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    total, available = monitor.machine()
    limits = {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in ("NOFILE", "NPROC", "AS")}
    return {
        "chat-coord": __version__,
        "python": sys.version,
        "platform": platform.platform(),
        "libc": platform.libc_ver(),
        "processors": os.cpu_count(),
        "memory_bytes": total,
        "memory_available_bytes": available,
        "memory_pressure_percent": monitor.pressure_percent(),
        "limits": limits,
        "sqlite": store_check.version(),
        "variables": sorted(name for name in os.environ if name.startswith(TOLD)),
        "packages": dict(sorted(packages.items())),
    }


def _running(home: Home) -> Any:
    found = find_running(home)
    if found is None:
        return None
    status, sessions = running.report_of(found)
    return {
        "status": None if status is None else msgspec.to_builtins(status) | {"memory": _unnamed(status)},
        "sessions": [redacting.session(msgspec.to_builtins(view)) for view in sessions],
    }


def _unnamed(status: Any) -> Any:
    """Return what is known of memory, without the names of those who would be hibernated."""
    memory = msgspec.to_builtins(status.memory)
    memory["next_to_hibernate"] = len(status.memory.next_to_hibernate)
    return memory


def _store(home: Home) -> dict[str, Any]:
    files = {path.name: path.stat().st_size for path in sorted(home.root.glob("chat-coord.db*"))}
    left = len(list(home.outboxes.iterdir())) if home.outboxes.is_dir() else 0
    return {"bytes": files, "outboxes": left}


# ---- logs


def _logs(home: Home) -> list[Path]:
    """Return the logs of what all share, and of those sessions that were busy last."""
    shared = [home.coordinator_log, *(home.logs / name for name in ("coordinator.stderr", "zygote.log"))]
    shared += sorted(home.logs.glob("model-*.log"))
    said = [path for path in home.logs.glob("*.stderr") if path.stem != "coordinator"]
    errors = sorted(said, key=lambda path: path.stat().st_mtime, reverse=True)[:SESSIONS]
    own = [path.with_suffix(".jsonl") for path in errors]
    return [path for path in (*shared, *own, *errors) if path.is_file()]


def _log(path: Path, redactor: Redactor) -> bytes:
    """Return the end of a log: of JSON its documents, of anything else the places of code."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - LOG_BYTES))
        text = file.read().decode(errors="replace")
    if path.suffix not in {".jsonl", ".log"} or path.name.startswith(("zygote", "model-")):
        return "".join(f"{line}\n" for line in redactor.lines(text)).encode()
    lines = []
    for line in text.splitlines():
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict):
            lines.append(json.dumps(redactor.document(document)))
    return "".join(f"{line}\n" for line in lines).encode()
