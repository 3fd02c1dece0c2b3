"""What leaves the machine in a bug report, and what does not: keys, names, paths, and everything that a person wrote.

What is not known to be harmless is left out: of settings the values of keys that are not listed here, of sessions the
fields that are not, of what libraries say on standard error the lines that are no places of code.
"""

import contextlib
import os
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from coordinator.shell.checkup_named import keys_of
from protocol.settings import Settings

GONE = "<left out>"
# Shorter values are words of any text.
LEAST_SECRET = 6
SECRET_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH", re.IGNORECASE)
SECRETS = (
    re.compile(r"\b(?:sk|pk|rk|gh[pousr]|xox[abpr]|hf|AIza|AKIA)[-_]?[A-Za-z0-9_-]{12,}"),
    re.compile(r"(?i)\bbearer\s+\S+"),
    re.compile(r"(?i)\b(?:api[_-]?key|secret|password)[\"']?\s*[=:]\s*\S+"),
    re.compile(r"(?<=://)[^/\s@]+@"),
)
# Texts among the settings that name nobody and nothing of a person.
PLAIN_TEXTS = frozenset(
    {
        "provider",
        "model",
        "default_model",
        "launcher",
        "on_interrupt",
        "log_level",
        "rule",
        "tools",
        "api_key_env",
        "type",
    }
)
PLAIN_LISTS = frozenset({"pass_env"})
ADDRESSES = frozenset({"base_url", "trace_endpoint"})
KNOWN_HOSTS = frozenset({"api.openai.com", "api.anthropic.com", "127.0.0.1", "localhost", "::1"})
SESSION_FIELDS = (
    "id", "number", "type", "model", "residency", "work", "display", "unread", "pinned", "attached", "archived",
    "messages", "tokens", "unanswered", "pid", "epoch", "memory", "created_at", "last_active_at",
)  # fmt: skip
EXIT_FIELDS = ("reason", "signal", "exit_code", "oom_suspected", "at", "seq_in_flight", "restarts")
# Lines of a traceback and of faulthandler: places of code. The text of an error may quote anybody.
PLACES = re.compile(r'^\s*(?:File ".*", line \d+|Traceback \(|Fatal Python error|Thread 0x|Current thread)')
ERROR = re.compile(r"^([A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Warning|Found|Failed|Lost))(?::|$)")


class Redactor:
    """Takes out of texts what is known to be private.

    Args:
        home: the home's folder.
        settings: name the files with keys.
        environment: may hold keys.
    """

    def __init__(self, home: Path, settings: Settings, environment: Mapping[str, str]) -> None:
        secrets = {value for name, value in environment.items() if SECRET_NAMES.search(name)}
        secrets |= set(_keys(settings))
        self._secrets = sorted((s for s in secrets if len(s) >= LEAST_SECRET), key=len, reverse=True)
        places = {str(home): "HOME", str(Path.home()): "~", socket.gethostname(): "HOST"}
        self._places = {place: word for place, word in places.items() if len(place) > 1}

    def text(self, text: str) -> str:
        """Return a text without what is known to be private."""
        for secret in self._secrets:
            text = text.replace(secret, GONE)
        for pattern in SECRETS:
            text = pattern.sub(GONE, text)
        for place, word in self._places.items():
            text = text.replace(place, word)
        return text

    def document(self, document: Any) -> Any:
        """Return a document with all of its texts so."""
        if isinstance(document, str):
            return self.text(document)
        if isinstance(document, dict):
            return {self.text(str(key)): self.document(value) for key, value in document.items()}
        if isinstance(document, list | tuple):
            return [self.document(value) for value in document]
        return document

    def lines(self, said: str) -> list[str]:
        """Return of what was said on standard error where errors came from, and their kinds."""
        found = []
        for line in said.splitlines():
            error = ERROR.match(line)
            if PLACES.match(line):
                found.append(self.text(line))
            elif error is not None:
                found.append(f"{error[1]}: {GONE}")
        return found


def _keys(settings: Settings) -> Iterator[str]:
    for _, _, file in keys_of(settings):
        if file is not None:
            with contextlib.suppress(OSError, UnicodeDecodeError):
                yield file.read_text(encoding="utf-8").strip()


def setting(key: str, value: Any) -> Any:
    """Return the value of a setting, or how much of it is left out."""
    field = key.rpartition(".")[2]
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        is_plain = not value or (field in PLAIN_TEXTS and os.sep not in value)
        return value if is_plain else _address(value) if field in ADDRESSES else f"<{len(value)} characters>"
    if isinstance(value, list) and (field in PLAIN_LISTS or not value):
        return value
    return f"<{len(value)} entries>" if hasattr(value, "__len__") else GONE


def _address(text: str) -> str:
    try:
        parts = urlsplit(text)
        host = parts.hostname if parts.hostname in KNOWN_HOSTS else "…"
    except ValueError:
        return GONE
    return f"{parts.scheme}://{host}"


def session(view: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a session what says nothing of a person: no name, no folder, no words."""
    card = view.get("exit_card") or {}
    shown = {field: view.get(field) for field in SESSION_FIELDS}
    return shown | {"exit_card": {field: card.get(field) for field in EXIT_FIELDS} if card else None}
