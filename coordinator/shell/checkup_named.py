"""Is everything there that the configuration names: keys, commands of hooks, and what operators' tools need?"""

import contextlib
import os
import shutil
import socket
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from coordinator.shell.finding import Check
from protocol.extras import how_to_install_for, is_there_for
from protocol.mcp_settings import McpSettings
from protocol.settings import ModelSettings, Settings

HOOKS = ("hook_requires_action", "hook_failed", "hook_completed")


def keys(settings: Settings, environment: Mapping[str, str], coordinator: int | None) -> Check:
    """Look at the API keys of all models and MCP servers: they are there, and nobody else can read them.

    Args:
        settings: the configuration.
        environment: of this command, which a coordinator would get that it starts.
        coordinator: the pid of the one that runs, which has an environment of its own.
    """
    known = set(environment) if coordinator is None else _names_of(coordinator) or set(environment)
    where = "this shell" if coordinator is None else "the coordinator that runs"
    named = 0
    for name, variable, file in keys_of(settings):
        if variable:
            named += 1
            if variable not in known:
                words = f"{name}.api_key_env: {where} has no variable {variable}."
                return Check("keys", False, words, f"Set {variable}, then `chat-coord restart`.")
        if file is not None:
            named += 1
            fault = _fault_of(file)
            if fault is not None:
                return Check("keys", False, f"{name}.api_key_file: {fault[0]}", fault[1])
    return Check("keys", True, f"{named} found, private" if named else "none is needed")


def keys_of(settings: Settings) -> Iterator[tuple[str, str | None, Path | None]]:
    """Yield whoever has a key: its table, the variable and the file that hold it."""
    users: dict[str, ModelSettings | McpSettings] = {f"models.{name}": user for name, user in settings.models.items()}
    users |= {f"mcp.{name}": user for name, user in settings.mcp.items()}
    for name, user in sorted(users.items()):
        file = Path(user.api_key_file).expanduser() if user.api_key_file else None
        yield name, user.api_key_env, file


def _names_of(pid: int) -> set[str]:
    """Return the variables that a process was started with; none when that is not to be seen."""
    with contextlib.suppress(OSError):
        pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return {pair.partition(b"=")[0].decode(errors="replace") for pair in pairs if pair}
    return set()


def _fault_of(path: Path) -> tuple[str, str] | None:
    """Return what is wrong with a file that holds a key, and what to do; None when nothing is."""
    try:
        facts = path.stat()
        is_empty = not path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        return f"{path} cannot be read: {reason}.", "Put the key there, or name another file."
    if is_empty:
        return f"{path} is empty.", "Put the key there."
    if stat.S_IMODE(facts.st_mode) & 0o077:
        return f"{path} can be read by other users.", f"Run `chmod 600 {path}`."
    return None


def open_key_files(settings: Settings) -> Iterator[Path]:
    """Yield the files with keys that belong to this user and that others can read."""
    for _, _, path in keys_of(settings):
        if path is not None:
            with contextlib.suppress(OSError):
                facts = path.stat()
                if facts.st_uid == os.getuid() and stat.S_IMODE(facts.st_mode) & 0o077:
                    yield path


def close_key_files(settings: Settings) -> None:
    """Let nobody else read the keys.

    Raises:
        OSError: a mode cannot be changed.
    """
    for path in open_key_files(settings):
        path.chmod(0o600)


def hooks(settings: Settings) -> Check:
    """Look whether the commands of hooks are there."""
    commands = {key: getattr(settings, key) for key in HOOKS if getattr(settings, key)}
    for key, words in commands.items():
        if shutil.which(words[0]) is None:
            fix = "Install it, name it by its whole path, or take the key out of config.toml."
            return Check("hooks", False, f"{key}: there is no command {words[0]!r}.", fix)
    return Check("hooks", True, f"{len(commands)} found" if commands else "none is configured")


def observers(settings: Settings, *, is_up: bool) -> Check:
    """Look whether metrics and traces can be served."""
    wanted = {"metrics_port": bool(settings.metrics_port), "trace_endpoint": bool(settings.trace_endpoint)}
    for key in (key for key, is_wanted in wanted.items() if is_wanted):
        if not is_there_for(key):
            words = f"{key} is set, and the package that it needs is not there."
            return Check("observers", False, words, f"Run `{how_to_install_for(key)}`.")
    if settings.metrics_port and not is_up and not _is_free(settings.metrics_port):
        words = f"metrics_port: something else has the port {settings.metrics_port}."
        return Check("observers", False, words, "End it, or choose another metrics_port.")
    if not any(wanted.values()):
        return Check("observers", True, "neither metrics nor traces are configured")
    return Check("observers", True, ", ".join(key for key, is_wanted in wanted.items() if is_wanted))


def _is_free(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
