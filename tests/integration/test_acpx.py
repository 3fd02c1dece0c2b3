"""The bridge for editors under acpx, a client that nobody here wrote: each prompt loads the session anew."""

import contextlib
import json
import os
import signal
import subprocess
import threading

import psutil
import pytest

from tests.support.acpx import find_acpx
from tests.support.model_server import ModelServer
from tests.support.product import COMMAND, Product, wait_for

pytestmark = pytest.mark.integration


def test_acpx_prompts_approves_denies_cancels_and_goes_on_after_two_crashes(product: Product, model: ModelServer):
    command, why = find_acpx()
    if not command:
        pytest.skip(why)
    work, user = product.home.parent / "work", product.home.parent / "user"
    work.mkdir()
    user.mkdir()

    def acpx(*words: str, code: int | None = 0) -> str:
        done = subprocess.run(
            [command, "--agent", f"{COMMAND} acp", "--cwd", str(work), "--ttl", "1", *words],
            env=product.environment | {"HOME": str(user)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert code in {None, done.returncode}, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def later(*words: str, code: int = 0) -> tuple[threading.Thread, list[str]]:
        said: list[str] = []
        thread = threading.Thread(target=lambda: said.append(acpx(*words, code=code)))
        thread.start()
        return thread, said

    def use(line: str) -> str:
        return f"use {json.dumps({'tool': 'run_command', 'arguments': {'command': line}})}"

    acpx("sessions", "new")
    assert "<first>" in acpx("first")
    assert "(completed)" in acpx("--approve-all", use("echo ran > yes"))
    acpx("--deny-all", use("echo ran > no"), code=None)  # its exit code differs from run to run
    assert [path.name for path in work.iterdir()] == ["yes"]

    endless, said = later("endless")
    wait_for(lambda: model.calls_of("endless") and len(model.calls_of("endless")[0].said) > 3)
    acpx("cancel")
    endless.join(30)
    assert "[done] cancelled" in said[0]

    broken, said = later("endless worker", code=1)
    wait_for(lambda: model.calls_of("endless worker"))
    os.kill(product.sessions()[0]["pid"], signal.SIGKILL)
    broken.join(30)
    assert "interrupted" in said[0]

    waits, said = later("wait")
    wait_for(lambda: model.calls_of("wait") and model.calls_of("wait")[0].said)
    os.kill(product.json("status")["pid"], signal.SIGKILL)
    model.gate.set()
    waits.join(40)
    assert "first half, second half" in said[0]

    assert "<first>" in acpx("last")
    assert len(product.sessions()) == 1
    acpx("sessions", "close")
    wait_for(lambda: not left_of(product), 20)  # what it keeps for the next prompt ends a second later


def left_of(product: Product) -> list[int]:
    """Return what acpx keeps running."""
    mine = ("HOME", str(product.home.parent / "user"))
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, IndexError):
            words = process.cmdline()  # the coordinator that it started stays
            is_its = words[-1] == "acp" or any("acpx" in word for word in words)
            found += [process.pid] if is_its and mine in process.environ().items() else []
    return found
