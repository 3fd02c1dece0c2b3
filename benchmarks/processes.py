"""Processes that a benchmark starts: each answers JSON lines, and each is gone with all its children at the end."""

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any, Self

import psutil

LINE_BYTES = 16 << 20
ANSWER_S = 90.0
END_S = 5.0
DRIVERS = Path(__file__).with_name("drivers")


class DriverFailed(Exception):
    """A driver did not answer, or answered with an error."""


def clean_environment() -> dict[str, str]:
    """Return our environment without what would steer the product or a proxy."""
    return {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("CHAT_COORD_", "PYTHON")) and not key.lower().endswith("_proxy")
    }


def with_children(pid: int) -> list[psutil.Process]:
    """Return a process and all its descendants, as handles that know a reused pid."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


async def end_all(processes: list[psutil.Process]) -> None:
    """Wait a moment for processes to end, then kill those that have not."""
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, END_S)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    await asyncio.to_thread(psutil.wait_procs, alive, END_S)


def uss_mib(pid: int) -> float:
    """Return the memory in MiB that only this process has (USS)."""
    return float(psutil.Process(pid).memory_full_info().uss) / (1 << 20)


async def taken(driver: "Driver", verb: str, **facts: Any) -> list[float]:
    """Let a driver take samples and return them."""
    samples: list[float] = await driver.ask(verb, **facts)
    return samples


class Driver:
    """A process that measures one side and is told what to do line by line.

    Args:
        script: a file of the drivers folder.
        *words: arguments for it.
        python: the interpreter; ours when None.
    """

    def __init__(self, script: str, *words: str, python: Path | None = None) -> None:
        self._name = script
        self._command = [str(python or sys.executable), str(DRIVERS / script), *words]

    async def __aenter__(self) -> Self:
        """Start the process."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=LINE_BYTES,
            env=clean_environment(),
            start_new_session=True,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the process and everything that it started."""
        processes = with_children(self._process.pid)
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), END_S)
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        await end_all([process for process in processes if process.pid != self._process.pid])

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    async def ask(self, verb: str, **facts: Any) -> Any:
        """Let it do something and return what it answers.

        Raises:
            DriverFailed: it says that it cannot, or ends, or takes longer than ANSWER_S.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": verb} | facts).encode() + b"\n")
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), ANSWER_S)
        except TimeoutError:
            raise DriverFailed(f"{self._name}: {verb}: no answer within {ANSWER_S:.0f} s") from None
        if not line:
            raise DriverFailed(f"{self._name}: {verb}: it ended")
        answer = json.loads(line)
        if "error" in answer:
            raise DriverFailed(f"{self._name}: {verb}: {answer['error']}")
        return answer["answer"]
