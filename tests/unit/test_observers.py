"""Operators' tools that cannot be had: said, and nothing else happens."""

import asyncio
import contextlib
import socket
import sys

import pytest

from coordinator.core.effects import ObserveExit
from coordinator.shell.observers import Observers
from protocol.errors import ConfigBad
from protocol.settings import Settings, load_settings


def open_observers(settings: Settings) -> Observers:
    async def make() -> Observers:
        found = Observers(settings, 1, lambda _: None, lambda: 0, lambda: 0)
        found.tell(ObserveExit("crash"))
        found.count_start()
        await asyncio.to_thread(found.close)
        return found

    return asyncio.run(make())


def test_a_port_that_is_taken_is_said_and_stops_nothing():
    with contextlib.closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        found = open_observers(Settings(metrics_port=port))

    assert found.metrics.address == f"http://127.0.0.1:{port}/metrics"
    assert "Address already in use" in found.metrics.fault
    assert found.traces is None


def test_an_extra_that_is_missing_is_said_with_what_installs_it(monkeypatch):
    for name in ("coordinator.shell.metrics", "coordinator.shell.traces"):
        monkeypatch.setitem(sys.modules, name, None)
    found = open_observers(Settings(metrics_port=9, trace_endpoint="http://127.0.0.1:9/v1/traces"))

    assert found.metrics.fault.endswith("-m pip install prometheus-client`")
    assert found.traces.fault.endswith("-m pip install opentelemetry-exporter-otlp-proto-http`")


def test_nobody_who_did_not_ask_loads_their_libraries():
    found = open_observers(Settings())

    assert (found.metrics, found.traces) == (None, None)


@pytest.mark.parametrize("text", ["nowhere", "ftp://a/b", "http://"])
def test_an_address_for_traces_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(f'trace_endpoint = "{text}"\n')

    with pytest.raises(ConfigBad, match="trace_endpoint"):
        load_settings(path, {})
