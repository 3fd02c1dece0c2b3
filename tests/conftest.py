"""Fixtures. A test that leaves a process, a socket file or a descriptor behind fails."""

import contextlib
import gc
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

from protocol.paths import Home, runtime_folder
from tests.support.model_server import ModelServer
from tests.support.product import Product, kill_leftovers, our_processes, wait_for

# A shell without job control starts what is in its background with SIGINT ignored, and that is inherited: a command
# that tests end with Ctrl+C would go on for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Half as many again as processors: tests of real processes wait for more than half of their time."""
    del config
    return max(2, (os.cpu_count() or 2) * 3 // 2)


def pytest_collection_finish() -> None:
    """The libraries that tests import are not looked through after each test, which takes a tenth of a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> Iterator[None]:
    before = _descriptors()
    yield
    gc.collect()
    # A process that uses multiprocessing keeps one pipe to its resource tracker for as long as it lives.
    kept = str(resource_tracker._resource_tracker._fd)

    def left() -> dict[str, str]:
        return {fd: where for fd, where in _descriptors().items() if fd not in before and fd != kept}

    deadline_s = time.monotonic() + 5  # a thread of the scripted model may still be closing its connection
    while left() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert left() == {}


def _descriptors() -> dict[str, str]:
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that reads this folder
            found[link.name] = str(link.readlink())
    return found


@pytest.fixture
def model() -> Iterator[ModelServer]:
    server = ModelServer()
    yield server
    server.close()


@pytest.fixture
def fresh() -> Iterator[Product]:
    """The product in a new home, with nothing configured; it must leave nothing behind."""
    folder = Path(tempfile.mkdtemp(prefix="cc-"))
    product = Product(folder / "home")
    yield product
    product.stop()
    sockets = runtime_folder(Home(product.home))
    shutil.rmtree(folder, ignore_errors=True)
    left_sockets = list(sockets.iterdir())
    shutil.rmtree(sockets)
    try:
        wait_for(lambda: not our_processes(folder), 20)
    except AssertionError:
        pytest.fail(f"processes were left behind: {kill_leftovers(folder)}")

    assert left_sockets == []


@pytest.fixture
def product(fresh: Product, model: ModelServer) -> Product:
    """The product with the scripted model, not yet started."""
    fresh.use_model(model.url)
    return fresh
