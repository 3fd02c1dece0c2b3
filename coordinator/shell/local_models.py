"""Servers of local models as children: started when first needed, adopted after a crash of the coordinator."""

import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from protocol.embedded import ENGINE, SLOTS, WINDOW_TOKENS, has_engine, is_pulled, local_file, model_path
from protocol.errors import ChatCoordError, ModelNotInstalled, ModelUnavailable
from protocol.paths import Home, replace_file
from protocol.processes import is_running, start_ticks
from protocol.settings import ModelSettings

READY_S = 60.0
END_S = 2.0

log = logging.getLogger(__name__)

Told = Callable[[tuple[str, str] | ChatCoordError], None]


class LocalModels:
    """The servers of all local models, one for each file.

    Args:
        home: where the logs and the files for adoption are.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._servers: dict[Path, LocalServer] = {}
        for facts in home.model_servers():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                model = Path(json.loads(facts.read_bytes())["model"])
                self._servers[model] = LocalServer(home, model)

    def find(self, settings: ModelSettings, told: Told) -> None:
        """Call back with a model's (url, key), or with what is wrong; starts its server if need be."""
        model = local_file(self._home, settings)
        if model not in self._servers:
            self._servers[model] = LocalServer(self._home, model)
        self._servers[model].find(told, window_tokens=max(WINDOW_TOKENS, settings.context_tokens or 0))

    def pid(self, settings: ModelSettings) -> int | None:
        """Return the process that serves a model; None when none does."""
        server = self._servers.get(local_file(self._home, settings))
        return server.pid if server is not None else None

    def pids(self) -> tuple[int, ...]:
        """Return the processes of all servers that run."""
        return tuple(server.pid for server in self._servers.values() if server.pid is not None)

    def end_unused(self, kept: Iterable[ModelSettings], configured: Iterable[ModelSettings] | None) -> None:
        """End the servers of all but these models.

        Args:
            kept: those that are in use.
            configured: when it is given, servers of other files than these models' stay too.
        """
        in_use = {local_file(self._home, model) for model in kept}
        known = None if configured is None else {local_file(self._home, model) for model in configured}
        for file, server in self._servers.items():
            if file not in in_use and (known is None or file in known):
                server.end()

    async def stop(self) -> None:
        """End all servers."""
        await asyncio.gather(*(server.stop() for server in self._servers.values()))


class LocalServer:
    """One model's server, for all sessions.

    Args:
        home: where the log and the file for adoption are.
        model: the model's file.
    """

    def __init__(self, home: Home, model: Path) -> None:
        self._home = home
        self._model = model
        self._facts = home.model_server(model)
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Told] = []
        self._starting: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._address: tuple[str, str] | None = None
        self._pidfd: int | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._ended = asyncio.Event()
        self.pid: int | None = None
        self._adopt()

    def find(self, told: Told, *, window_tokens: int) -> None:
        """Call back with the server's (url, key), or with what is wrong; starts the server if need be."""
        if self._address is not None:
            told(self._address)
            return
        self._waiting.append(told)
        if self._starting is None:
            self._starting = self._loop.create_task(self._start(window_tokens))

    def end(self) -> None:
        """Begin to end a server that runs; one that is being started is wanted by somebody."""
        if self.pid is not None and self._starting is None and self._ending is None:
            log.info("local model is not used", extra={"pid": self.pid})
            self._address = None  # whoever asks now waits for the next one
            self._ending = self._loop.create_task(self._end())

    async def stop(self) -> None:
        """End the server for good."""
        if self._starting is not None:
            self._starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._starting
        await self._end()

    async def _end(self) -> None:
        for name in (signal.SIGTERM, signal.SIGKILL):
            if self._pidfd is None:
                break
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, name)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), END_S)
        self._facts.unlink(missing_ok=True)
        self._ending = None

    # ---- birth

    async def _start(self, window_tokens: int) -> None:
        result: tuple[str, str] | ChatCoordError
        try:
            if self._ending is not None:
                await self._ending
            self._address = result = await self._launch(window_tokens)
        except ChatCoordError as error:
            result = error
        except (OSError, ValueError, KeyError) as error:
            result = ModelUnavailable(f"The model's server did not start: {error}.")
        finally:
            self._starting = None
        waiting, self._waiting = self._waiting, []
        for told in waiting:
            told(result)

    async def _launch(self, window_tokens: int) -> tuple[str, str]:
        if not has_engine():
            hint = f"Run `{sys.executable} -m pip install {ENGINE}`, or configure a model in config.toml."
            raise ModelNotInstalled("The engine of the embedded model is not installed.", hint=hint)
        if self._model == model_path(self._home) and not is_pulled(self._home):
            raise ModelNotInstalled("The embedded model has not been downloaded.")
        if not self._model.is_file():
            hint = "Put it back, or choose another model: `chat-coord model list`."
            raise ModelNotInstalled(f"The model's file {self._model} is not there.", hint=hint)
        key = secrets.token_urlsafe(32)
        log_file = os.open(
            self._home.logs / f"model-{self._model.stem}.log",
            os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND,
            0o600,
        )
        command = [sys.executable, "-P", "-m", "workers.models.embedded", "--model", str(self._model)]
        command += ["--home", str(self._home.root), "--slots", str(SLOTS), "--threads", str(os.cpu_count() or 1)]
        command += ["--window", str(window_tokens)]
        try:
            child = subprocess.Popen(  # noqa: ASYNC220 - a fork and exec of milliseconds
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log_file, start_new_session=True
            )
        finally:
            os.close(log_file)
        self._child = child
        self._watch(child.pid)
        try:
            url = await asyncio.wait_for(self._announced(child, key), READY_S)
        except TimeoutError:
            child.kill()
            raise ModelUnavailable(f"The model's server was not ready within {READY_S:.0f} s.") from None
        facts = {
            "pid": child.pid,
            "start_ticks": start_ticks(child.pid),
            "url": url,
            "key": key,
            "model": str(self._model),
        }
        replace_file(self._facts, json.dumps(facts).encode())
        log.info("local model ready", extra={"pid": child.pid})
        return url, key

    async def _announced(self, child: subprocess.Popen[bytes], key: str) -> str:
        """Hand over the key and wait for the address, without a thread."""
        assert child.stdin is not None  # noqa: S101 - both are pipes
        assert child.stdout is not None  # noqa: S101
        child.stdin.write(f"{key}\n".encode())
        child.stdin.close()
        readable = asyncio.Event()
        descriptor = child.stdout.fileno()
        self._loop.add_reader(descriptor, readable.set)
        try:
            await readable.wait()
        finally:
            self._loop.remove_reader(descriptor)
        line = child.stdout.readline()
        child.stdout.close()
        if not line:
            raise ModelUnavailable("The model's server ended at its start.")
        return str(json.loads(line)["url"])

    # ---- life and death

    def _adopt(self) -> None:
        """Take over the server of an earlier coordinator, if it still runs."""
        try:
            facts = json.loads(self._facts.read_bytes())
            pid, address = int(facts["pid"]), (str(facts["url"]), str(facts["key"]))
            is_ours = is_running(pid, int(facts["start_ticks"]))
        except (OSError, ValueError, KeyError, TypeError):
            return
        if is_ours:
            self._watch(pid)
            self._address = address

    def _watch(self, pid: int) -> None:
        self.pid = pid
        self._ended.clear()
        self._pidfd = os.pidfd_open(pid)
        self._loop.add_reader(self._pidfd, self._died)

    def _died(self) -> None:
        """Forget it; the next turn that needs it starts another."""
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
        if self._child is not None:
            self._child.wait()
        elif self.pid is not None:  # a child of this very process, when a restart kept it
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, os.WNOHANG)
        log.info("local model ended", extra={"pid": self.pid})
        self._pidfd = self._child = self.pid = self._address = None
        self._ended.set()
