"""Metrics for Prometheus, on loopback: the only door to prometheus_client, imported only when ``metrics_port`` is set.

What happens is counted here when it happens. How much there is just now is asked of the core at each scrape, through
the inbox, as everything is. No label is of unbounded size: none names a session, and models are those that are
configured. Any user of this machine can connect to a port of loopback, so connections are few and short.
"""

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, get_args
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, Counter, Histogram, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from coordinator.core.effects import ExitCause, Figures, ObserveTurn
from coordinator.core.events import Event, Scraped
from protocol.version import __version__
from protocol.views import StatusMemory

LOOPBACK = "127.0.0.1"
# Who asks waits so long for the core; a connection that says nothing, or takes nothing, is closed after this.
ANSWER_S, SILENCE_S = 2.0, 5.0
MOST_AT_ONCE = 8
LOOK_S = 0.1
# A model that is not configured any more.
OTHER = "other"
WAITS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
TURNS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1_800)


class Metrics:
    """Counts, and serves what it counted.

    Args:
        port: of loopback.
        models: whose names may be labels.
        post: takes events.
        rejected: how many frames were.
        store_bytes: how large the database is.

    Raises:
        OSError: the port is not to be had.
    """

    def __init__(
        self,
        port: int,
        models: Collection[str],
        post: Callable[[Event], None],
        rejected: Callable[[], int],
        store_bytes: Callable[[], int],
    ) -> None:
        self._models = frozenset(models)
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Now(asyncio.get_running_loop(), post, rejected, store_bytes, self))
        self._waiting: dict[int, Future[Figures]] = {}
        self._turns = Counter("chat_coord_turns", "Turns that are over.", ["model", "stop_reason"], registry=registry)
        self._tokens = Counter(
            "chat_coord_tokens", "Tokens that turns cost, as endpoints count them.", ["model", "direction"],
            registry=registry,
        )  # fmt: skip
        self._starts = Counter("chat_coord_worker_starts", "Workers that were ordered.", registry=registry)
        self._exits = Counter("chat_coord_worker_exits", "Workers that ended, by cause.", ["cause"], registry=registry)
        for cause in get_args(ExitCause):  # there from the first, so that their rate begins at nothing
            self._exits.labels(cause)
        self._durations = _histogram("turn_duration", "From a prompt's commit to its turn's end.", TURNS_S, registry)
        self._queued = _histogram("turn_queued", "From a prompt's commit to the start of its turn.", WAITS_S, registry)
        self._first = _histogram("turn_first_piece", "From a turn's start to its first piece.", WAITS_S, registry)
        self._permits = _histogram("permit_wait", "From asking for a permit to having it.", WAITS_S, registry)
        self._server = _Server((LOOPBACK, port), _Handler)
        self._server.set_app(make_wsgi_app(registry))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(LOOK_S,), name="metrics", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Where they are."""
        return f"http://{LOOPBACK}:{self._server.server_port}/metrics"

    def turn(self, turn: ObserveTurn) -> None:
        """Count a turn that is over."""
        model = turn.model if turn.model in self._models else OTHER
        self._turns.labels(model, turn.stop_reason).inc()
        self._tokens.labels(model, "input").inc(turn.usage.input_tokens)
        self._tokens.labels(model, "output").inc(turn.usage.output_tokens)
        self._durations.observe(max(0.0, turn.ended_s - turn.committed_s))
        if turn.started_s is not None:
            self._queued.observe(max(0.0, turn.started_s - turn.committed_s))
            if turn.first_piece_s is not None:
                self._first.observe(max(0.0, turn.first_piece_s - turn.started_s))
        for asked_s, granted_s, _ in turn.permits:
            self._permits.observe(max(0.0, granted_s - asked_s))

    def start(self) -> None:
        """Count a worker that is ordered."""
        self._starts.inc()

    def exit(self, cause: ExitCause) -> None:
        """Count a worker that ended."""
        self._exits.labels(cause).inc()

    def expect(self, n: int) -> "Future[Figures]":
        """Return what question ``n`` will be answered with."""
        self._waiting[n] = Future()
        return self._waiting[n]

    def forget(self, n: int) -> None:
        """Nobody waits for that answer any more."""
        self._waiting.pop(n, None)

    def tell(self, n: int, figures: Figures) -> None:
        """The core answers."""
        waiting = self._waiting.get(n)
        if waiting is not None:
            waiting.set_result(figures)

    def close(self) -> None:
        """Serve no more; takes a moment."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _histogram(name: str, text: str, buckets: tuple[float, ...], registry: CollectorRegistry) -> Histogram:
    return Histogram(f"chat_coord_{name}_seconds", text, buckets=buckets, registry=registry)


class _Now(Collector):
    """How much there is, asked of the core at each scrape, in the thread of who asks."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        post: Callable[[Event], None],
        rejected: Callable[[], int],
        store_bytes: Callable[[], int],
        metrics: Metrics,
    ) -> None:
        self._loop = loop
        self._post = post
        self._rejected = rejected
        self._store_bytes = store_bytes
        self._metrics = metrics
        self._numbers = itertools.count(1)

    def describe(self) -> Iterable[Metric]:
        """Say nothing before: whoever registers would ask a core that does not run yet."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Yield everything; of a core that does not answer in time, that it is busy."""
        figures = self._ask()
        yield _gauge("responsive", "1 when the coordinator's loop answered this scrape in time.", figures is not None)
        if figures is not None:
            yield InfoMetricFamily("chat_coord_build", "The program.", {"version": __version__})
            yield from _of_sessions(figures)
            yield from _of_permits(figures)
            yield from _of_memory(figures.memory, figures.largest_worker_bytes)
            yield _gauge("store_size_bytes", "Size of the database.", self._store_bytes())
            yield _gauge("store_writable", "1 when the store takes changes.", figures.is_store_writable)
            text = "Frames that were no messages of the protocol."
            yield CounterMetricFamily("chat_coord_rejected_frames", text, self._rejected())

    def _ask(self) -> Figures | None:
        n = next(self._numbers)
        answer = self._metrics.expect(n)
        try:
            self._loop.call_soon_threadsafe(self._post, Scraped(n))
            return answer.result(ANSWER_S)
        except (FutureTimeout, RuntimeError):  # it is busy, or it ended
            return None
        finally:
            self._metrics.forget(n)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"chat_coord_{name}", text, float(value))


def _labelled(name: str, text: str, label: str, values: Iterable[tuple[str, float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"chat_coord_{name}", text, labels=[label])
    for word, value in values:
        family.add_metric([word], float(value))
    return family


def _of_sessions(figures: Figures) -> Iterable[Metric]:
    yield _labelled("sessions", "Sessions, by where they are.", "residency", figures.residencies.items())
    text = "Sessions with a worker, by what their turn does."
    yield _labelled("sessions_awake", text, "work", figures.works.items())
    yield _gauge("slots_used", "Sessions that hold one of the places for workers.", figures.sessions.live)
    yield _gauge("slots_limit", "Places for workers: max_active_sessions.", figures.sessions.max_active)
    text = "Prompts without a reply, of sessions that are awake or in line."
    yield _gauge("prompts_unanswered", text, figures.prompts_unanswered)
    yield _gauge("asks_waiting", "Asks that wait for a person.", figures.asks_waiting)
    yield _gauge("clients", "Clients that are connected.", figures.clients)
    text = "Pieces of replies that came."
    yield CounterMetricFamily("chat_coord_pieces", text, figures.pieces)
    text = "Since the worker was heard that was heard longest ago; ten seconds end it."
    yield _gauge("worker_silence_seconds", text, figures.longest_silence_s)
    text = "How late the main loop of the worker was that was the latest."
    yield _gauge("worker_lag_seconds", text, figures.largest_lag_s)


def _of_permits(figures: Figures) -> Iterable[Metric]:
    permits = figures.permits
    yield _gauge("permits_used", "Requests to models that are out.", permits.in_use or 0)
    yield _gauge("permits_limit", "Requests that may be out: max_concurrent_api_calls.", permits.limit or 0)
    yield _gauge("permits_waiting", "Requests that wait in line.", permits.waiting or 0)
    whys = ("rate_limit", "budget")
    text = "Endpoints that take fewer requests than they might, by why."
    counted = [(why, sum(gate.why == why for gate in permits.gates)) for why in whys]
    yield _labelled("endpoints_limited", text, "why", counted)


def _of_memory(memory: StatusMemory, largest: int) -> Iterable[Metric]:
    parts = {
        "coordinator": memory.coordinator_rss_bytes,
        "zygote": memory.zygote_rss_bytes,
        "model_server": memory.model_server_rss_bytes,
        "workers": memory.workers_uss_bytes,
    }
    text = "Memory by process: RSS, of the workers what they have for themselves (USS)."
    yield _labelled("memory_bytes", text, "process", [(part, value or 0) for part, value in parts.items()])
    yield _gauge("memory_largest_worker_bytes", "What the largest worker has for itself (USS).", largest)
    known = (
        ("memory_used_bytes", "All processes together, what they share counted once (PSS).", memory.total_pss_bytes),
        ("memory_limit_bytes", "What they may have: memory_total_bytes.", memory.limit_bytes),
        ("machine_memory_bytes", "What the machine has.", memory.machine_bytes),
        ("machine_memory_available_bytes", "What the machine has left.", memory.available_bytes),
    )
    for name, words, value in known:
        if value is not None:
            yield _gauge(name, words, value)
    if memory.pressure_percent is not None:
        text = "How much of the last 10 s some task waited for memory (PSI)."
        yield _gauge("machine_memory_pressure_ratio", text, memory.pressure_percent / 100)
    yield _gauge("memory_short", "1 when memory is short and sessions are hibernated for it.", memory.short is not None)


class _Handler(WSGIRequestHandler):
    """Says nothing on standard error, and waits for nobody for long."""

    timeout = SILENCE_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Scrapes are not logged."""


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each connection, and few of them: each takes one of the coordinator's descriptors."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self._places = threading.BoundedSemaphore(MOST_AT_ONCE)
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind, and ask no name server what this machine is called."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", self.server_address[1]
        self.setup_environ()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Turn away who comes when everything is taken."""
        del request, client_address
        return self._places.acquire(blocking=False)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve, and give the place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a thread; without one there is no place to give back later.

        Raises:
            RuntimeError: the system has none.
        """
        try:
            super().process_request(request, client_address)
        except RuntimeError:
            self._places.release()
            raise

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever left in the middle, or said nothing, is nobody's concern."""
        with contextlib.suppress(OSError):
            request.close()
        del client_address
