"""Runs a person's own commands when something happens that they want to hear of. Nobody waits for them.

A few at once, for a bounded time, without a shell; what they say goes into ``hooks.log``. One that is missing, fails
or hangs is a line in the log and nothing else.
"""

import contextlib
import logging
import os
import subprocess
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from coordinator.core.effects import RunHook
from protocol.paths import Home
from protocol.processes import kill_below, open_log

LONGEST_S = 10.0
# So many run at once, and so many wait; what comes beyond is not run, and said so.
AT_ONCE, MOST_WAITING = 4, 64
# What a command may need to reach its person, besides what every child gets. Never a key.
ALLOWED = ("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "DBUS_SESSION_BUS_ADDRESS", "XDG_SESSION_TYPE")

log = logging.getLogger(__name__)


class Hooks:
    """Runs commands in threads of its own.

    Args:
        home: what they are told to work on, and where their log is.
        private: the coordinator's environment that other children do not get.
        pass_env: what a person configured to be passed on.
    """

    def __init__(self, home: Home, private: Mapping[str, str], pass_env: list[str]) -> None:
        self._home = home
        self._passed = {name: private[name] for name in (*ALLOWED, *pass_env) if name in private}
        self._threads: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._unfinished = 0
        self._is_closed = False

    def run(self, order: RunHook) -> None:
        """Run a command, soon."""
        with self._lock:
            if self._unfinished >= AT_ONCE + MOST_WAITING:
                log.warning("hook not run", extra={"event": order.event, "reason": "too many are running"})
                return
            self._unfinished += 1
        if self._threads is None:
            self._threads = ThreadPoolExecutor(AT_ONCE, "hook")
        self._threads.submit(self._run, order)

    def close(self) -> None:
        """End those that run; the others are not begun."""
        with self._lock:
            self._is_closed = True
            running = list(self._running)
        for process in running:
            _end(process)
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)

    def _run(self, order: RunHook) -> None:
        facts = {"event": order.event, "session": order.session, "command": order.words[0]}
        try:
            code = self._wait(order)
        except (OSError, ValueError) as error:
            log.warning("hook not run", extra=facts | {"reason": str(error)})
        else:
            if code is None:
                log.warning("hook killed", extra=facts | {"reason": f"it ran longer than {LONGEST_S:g} s"})
            elif code != 0:
                log.warning("hook failed", extra=facts | {"exit_code": code})
        finally:
            with self._lock:
                self._unfinished -= 1

    def _wait(self, order: RunHook) -> int | None:
        """Return the exit code of the command, negative for the signal that ended it; None when it took too long."""
        out = open_log(self._home.logs / "hooks.log", keep_bytes=1 << 62)
        try:
            with self._lock:
                if self._is_closed:
                    return 0
                process = subprocess.Popen(
                    order.words,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    env=self._environment(order),
                    cwd=self._home.root,
                    start_new_session=True,
                )
                self._running.add(process)
        finally:
            os.close(out)
        try:
            return process.wait(LONGEST_S)
        except subprocess.TimeoutExpired:
            _end(process)
            process.wait()
            return None
        finally:
            with self._lock:
                self._running.discard(process)

    def _environment(self, order: RunHook) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith("CC_")} | {
            **self._passed,
            "CHAT_COORD_HOME": str(self._home.root),
            "CHAT_COORD_EVENT": order.event,
            "CHAT_COORD_SESSION": order.session,
            "CHAT_COORD_SESSION_NAME": order.name,
            "CHAT_COORD_STATE": order.state,
        }


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill a command with all that it started, as far as it can be found."""
    kill_below(process.pid)
    with contextlib.suppress(OSError):
        os.killpg(process.pid, 9)
