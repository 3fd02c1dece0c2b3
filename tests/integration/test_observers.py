"""What operators' own tools see: metrics on loopback, a trace for each turn. Neither holds a word of a person."""

import contextlib
import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.collector import Collector, facts
from tests.support.model_server import ModelServer
from tests.support.product import Product, wait_for

pytestmark = pytest.mark.integration

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana-dashboard.json"
# What Prometheus adds to names of histograms and counters when it is asked for them.
PARTS = re.compile(r"\b(?:chat_coord|process)_[a-z_]+")


def free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.close()


def scrape(port: int) -> dict[str, dict[tuple[str, ...], float]]:
    """Return the samples, by name and then by the values of their labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_metrics_and_traces_tell_how_it_goes_and_nothing_that_was_said(
    product: Product, model: ModelServer, collector: Collector
):
    port = free_port()
    more = f'metrics_port = {port}\ntrace_endpoint = "{collector.url}"\nmax_concurrent_api_calls = 1\n'
    product.use_model(model.url, more=more)
    product.run("new", "canaryname")
    product.run("new", "b")
    product.run("send", "canaryname", "wait canaryprompt", "--no-wait")
    wait_for(lambda: model.at_once)
    product.run("send", "b", "hello", "--no-wait")
    product.wait_session("b", lambda s: s["work"] == "throttled")
    busy = wait_for(lambda: next((f for f in [scrape(port)] if f["chat_coord_pieces_total"][()]), None))
    model.gate.set()
    product.run("wait", "b", "--until", "idle")
    product.run("wait", "canaryname", "--until", "idle")
    pid = product.live("canaryname")["pid"]
    product.run("kill", "canaryname")
    after = scrape(port)
    spans = wait_for(lambda: collector.spans if sum(s.name == "turn" for s in collector.spans) == 2 else None)

    assert busy["chat_coord_sessions"][("live",)] == 2
    assert busy["chat_coord_sessions_awake"][("running",)] == busy["chat_coord_sessions_awake"][("throttled",)] == 1
    assert (busy["chat_coord_permits_used"][()], busy["chat_coord_permits_waiting"][()]) == (1, 1)
    assert busy["chat_coord_responsive"][()] == 1
    assert busy["process_resident_memory_bytes"][()] > 20 << 20
    assert after["chat_coord_turns_total"] == {("scripted", "completed"): 2}
    assert after["chat_coord_tokens_total"][("input", "scripted")] == 40
    assert after["chat_coord_turn_duration_seconds_count"][()] == 2
    assert after["chat_coord_permit_wait_seconds_count"][()] == 2
    assert {cause: n for cause, n in after["chat_coord_worker_exits_total"].items() if n} == {("by_hand",): 1}
    assert after["chat_coord_worker_starts_total"][()] == 2
    assert after["chat_coord_sessions"][("hibernated",)] == 1, pid

    turns = {facts(span)["chat_coord.prompt.seq"]: span for span in spans if span.name == "turn"}
    assert len({span.trace_id for span in spans}) == 2
    longest = max((s for s in spans if s.name == "permit"), key=lambda s: s.end_time_unix_nano - s.start_time_unix_nano)
    waited = next(s for s in spans if s.span_id == longest.parent_span_id)
    steps = [span for span in spans if span.trace_id == waited.trace_id and span is not waited]
    assert {span.name for span in steps} == {"queued", "permit", "request", "first piece", "answer"}
    assert all(span.parent_span_id == waited.span_id for span in steps)
    assert all(waited.start_time_unix_nano <= s.start_time_unix_nano <= s.end_time_unix_nano for s in steps)
    assert longest.end_time_unix_nano - longest.start_time_unix_nano > 50_000_000
    assert facts(turns[1])["gen_ai.request.model"] == "scripted"

    told = f"{after}{[(span.name, facts(span)) for span in spans]}"
    assert "canary" not in told
    status = product.json("status")
    assert status["metrics"] == {"address": f"http://127.0.0.1:{port}/metrics", "fault": None}
    assert status["traces"] == {"address": collector.url, "fault": None}
    assert f"metrics      http://127.0.0.1:{port}/metrics" in product.run("status")

    shown = set(PARTS.findall(json.dumps([panel["targets"] for panel in json.loads(DASHBOARD.read_text())["panels"]])))
    assert len(shown) > 20
    assert shown - set(after) == set()


def test_who_connects_and_says_nothing_keeps_nobody_else_away_for_long(product: Product):
    port = free_port()
    product.env["CHAT_COORD_METRICS_PORT"] = str(port)
    product.run("start")
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    try:
        turned_away = [s for s in silent[8:] if s.recv(1) == b""]  # at once: eight places are taken
        found = wait_for(lambda: _try(port), 30)
    finally:
        for connection in silent:
            connection.close()

    assert len(turned_away) == 12
    assert found["chat_coord_responsive"][()] == 1
    assert found["process_open_fds"][()] < 60


def _try(port: int) -> dict | None:
    with contextlib.suppress(OSError):
        return scrape(port)
    return None
