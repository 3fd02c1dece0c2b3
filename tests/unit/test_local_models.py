"""Servers of local models: started when somebody asks, ended when nobody needs them. Real processes, no model."""

import asyncio
import stat
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from coordinator.shell import local_models
from coordinator.shell.local_models import LocalModels
from protocol.errors import ChatCoordError
from protocol.paths import Home
from protocol.processes import start_ticks
from protocol.settings import ModelSettings
from tests.support.launching import until

SERVER = f"""#!{sys.executable} -S
import json, os, sys, time
sys.stdin.readline()
print(json.dumps({{"url": f"http://127.0.0.1:{{os.getpid()}}"}}), flush=True)
time.sleep(600)
"""

Story = Callable[[LocalModels], Coroutine[None, None, None]]


@pytest.fixture
def tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Story], None]:
    """Run a story with servers that only say where they are."""
    home = Home(tmp_path / "home")
    home.prepare()
    program = tmp_path / "server"
    program.write_text(SERVER)
    program.chmod(stat.S_IRWXU)
    monkeypatch.setattr(local_models.sys, "executable", str(program))
    monkeypatch.setattr(local_models, "has_engine", lambda: True)

    async def run(story: Story) -> None:
        models = LocalModels(home)
        try:
            await story(models)
        finally:
            await models.stop()

    return lambda story: asyncio.run(asyncio.wait_for(run(story), 60))


@pytest.fixture
def mine(tmp_path: Path) -> ModelSettings:
    return model_at(tmp_path / "mine.gguf")


@pytest.fixture
def theirs(tmp_path: Path) -> ModelSettings:
    return model_at(tmp_path / "theirs.gguf")


def model_at(path: Path) -> ModelSettings:
    path.write_bytes(b"GGUF")
    return ModelSettings(provider="local", model=str(path))


def ask(models: LocalModels, settings: ModelSettings) -> "asyncio.Future[tuple[str, str]]":
    told: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()

    def tell(result: tuple[str, str] | ChatCoordError) -> None:
        told.set_exception(result) if isinstance(result, ChatCoordError) else told.set_result(result)

    models.find(settings, tell)
    return told


def test_a_server_that_is_not_used_is_ended_and_the_next_who_asks_gets_another(tell, mine):
    async def story(models: LocalModels) -> None:
        first = await ask(models, mine)
        pid = models.pid(mine)
        assert models.pids() == (pid,)

        models.end_unused([], [mine])
        await until(lambda: models.pid(mine) is None)
        assert start_ticks(pid) is None
        assert models.pids() == ()

        second = await ask(models, mine)
        assert second != first
        assert models.pid(mine) not in {None, pid}

    tell(story)


def test_who_asks_while_a_server_ends_waits_for_the_next_one(tell, mine):
    async def story(models: LocalModels) -> None:
        first = await ask(models, mine)
        models.end_unused([], [mine])
        second = await ask(models, mine)

        assert second != first
        assert start_ticks(int(second[0].rpartition(":")[2])) is not None

    tell(story)


def test_a_server_in_use_or_being_started_stays(tell, mine, theirs):
    async def story(models: LocalModels) -> None:
        await ask(models, mine)
        being_started = ask(models, theirs)
        models.end_unused([mine], [mine, theirs])
        await being_started

        assert len(models.pids()) == 2

    tell(story)


def test_the_server_of_a_model_that_is_not_configured_stays_until_it_counts_as_unused(tell, mine, theirs):
    async def story(models: LocalModels) -> None:
        await ask(models, mine)
        await ask(models, theirs)
        kept = models.pid(theirs)
        models.end_unused([], [mine])
        await until(lambda: models.pids() == (kept,))
        models.end_unused([], None)
        await until(lambda: models.pids() == ())

    tell(story)


def test_a_server_that_ended_by_itself_needs_no_end(tell, mine):
    async def story(models: LocalModels) -> None:
        models.end_unused([], None)
        await ask(models, mine)
        models.end_unused([], None)
        models.end_unused([], None)
        await until(lambda: models.pids() == ())

    tell(story)
