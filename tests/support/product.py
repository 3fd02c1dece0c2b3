"""The product as a user has it: the installed command, a home of its own, real processes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

COMMAND = str(Path(sys.executable).with_name("chat-coord"))
TITLE = "chat-coord:"


@dataclass
class Product:
    """One home."""

    home: Path
    env: dict[str, str] = field(default_factory=dict)

    def run(self, *words: str, stdin: str | None = None, code: int | None = 0, timeout_s: float = 60) -> str:
        """Run a command and return its standard output; ``code`` is the exit code that it must have (None: any)."""
        done = self.result(*words, stdin=stdin, timeout_s=timeout_s)
        if code is not None:
            assert done.returncode == code, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def result(self, *words: str, stdin: str | None = None, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *words],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=self.environment,
            cwd=self.home.parent,
            check=False,
        )

    def popen(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [COMMAND, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=self.environment
        )

    @property
    def environment(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("CHAT_COORD_")}
        return clean | {"CHAT_COORD_HOME": str(self.home)} | self.env

    def json(self, *words: str, code: int | None = 0) -> Any:
        return json.loads(self.run(*words, "--json", code=code))

    def configure(self, text: str) -> None:
        self.home.mkdir(mode=0o700, exist_ok=True)
        (self.home / "config.toml").write_text(text)

    def use_model(self, url: str, *, key: str = "test-key", more: str = "") -> None:
        """Configure the scripted model as the default."""
        (self.home.parent / "key").write_text(f"{key}\n")
        (self.home.parent / "key").chmod(0o600)
        self.configure(
            f'default_model = "scripted"\n{more}\n[models.scripted]\nprovider = "openai"\nmodel = "scripted"\n'
            f'base_url = "{url}"\napi_key_file = "{self.home.parent / "key"}"\n'
        )

    # ---- looking

    def sessions(self, *flags: str) -> list[dict[str, Any]]:
        return self.json("sessions", *flags)

    def session(self, name: str) -> dict[str, Any]:
        return next(s for s in self.sessions("--all") if s["name"] == name)

    def wait_session(self, name: str, condition: Callable[[dict[str, Any]], bool], within_s: float = 60) -> dict:
        """Return the session as soon as the condition holds."""
        return wait_for(lambda: next((s for s in [self.session(name)] if condition(s)), None), within_s)

    def live(self, name: str) -> dict[str, Any]:
        """Return the session once its worker said hello."""
        return self.wait_session(name, lambda s: s["residency"] == "live")

    def stop(self) -> None:
        self.run("stop", "--now", code=None)


def wait_for(look: Callable[[], Any], within_s: float = 60) -> Any:
    """Return the first true thing that looking gives."""
    deadline_s = time.monotonic() + within_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline_s, "what was waited for did not come"
        time.sleep(0.02)


def our_processes(folder: Path) -> dict[int, str]:
    """Return pid and title of every process of the product that lives and works below the folder."""
    found = {}
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or [""]
        if words[0].startswith(TITLE) and process.info["status"] != psutil.STATUS_ZOMBIE:
            places = [Path(f"/proc/{process.pid}/{link}") for link in ("cwd", "fd/1", "fd/2")]
            with contextlib.suppress(OSError):
                if any(str(place.readlink()).startswith(str(folder)) for place in places):
                    found[process.pid] = words[0]
    return found


def kill_leftovers(folder: Path) -> dict[int, str]:
    """End what a test left behind and return it."""
    left = our_processes(folder)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return left
