"""Operators' own tools: metrics for Prometheus, traces for OpenTelemetry. Either may be absent; neither stops anything.

Their libraries are extras of the install and are imported only when the configuration wants them. What cannot be had
is said in the log and by ``status``.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from coordinator.core.effects import ObserveExit, ObserveTurn, TellFigures
from coordinator.core.events import Event
from protocol.extras import how_to_install_for
from protocol.settings import Settings
from protocol.views import Observer

if TYPE_CHECKING:
    from coordinator.shell.metrics import Metrics
    from coordinator.shell.traces import Traces

log = logging.getLogger(__name__)


class Observers:
    """Whoever wants to know.

    Args:
        settings: what is wanted.
        boot: which coordinator this is.
        post: takes events.
        rejected: how many frames were.
        store_bytes: how large the database is.
    """

    def __init__(
        self,
        settings: Settings,
        boot: int,
        post: Callable[[Event], None],
        rejected: Callable[[], int],
        store_bytes: Callable[[], int],
    ) -> None:
        self._metrics: Metrics | None = None
        self._traces: Traces | None = None
        self.metrics: Observer | None = None
        self.traces: Observer | None = None
        if settings.metrics_port:
            self.metrics = self._open_metrics(settings, post, rejected, store_bytes)
        if settings.trace_endpoint:
            self.traces = self._open_traces(settings, boot)

    def tell(self, effect: TellFigures | ObserveTurn | ObserveExit) -> None:
        """Pass on what the core tells."""
        match effect:
            case TellFigures():
                if self._metrics is not None:
                    self._metrics.tell(effect.n, effect.figures)
            case ObserveExit():
                if self._metrics is not None:
                    self._metrics.exit(effect.cause)
            case ObserveTurn():
                for observer in (self._metrics, self._traces):
                    if observer is not None:
                        observer.turn(effect)

    def count_start(self) -> None:
        """A worker is ordered."""
        if self._metrics is not None:
            self._metrics.start()

    def close(self) -> None:
        """Tell what is left, and end; takes seconds when a collector does not answer."""
        for observer in (self._metrics, self._traces):
            if observer is not None:
                observer.close()

    def _open_metrics(
        self,
        settings: Settings,
        post: Callable[[Event], None],
        rejected: Callable[[], int],
        store_bytes: Callable[[], int],
    ) -> Observer:
        address = f"http://127.0.0.1:{settings.metrics_port}/metrics"
        try:
            from coordinator.shell.metrics import Metrics  # noqa: PLC0415 - an extra

            self._metrics = Metrics(settings.metrics_port, settings.all_models(), post, rejected, store_bytes)
        except ImportError:
            return _absent("metrics", address, f"run `{how_to_install_for('metrics_port')}`")
        except OSError as error:
            return _absent("metrics", address, f"{error.strerror}; choose another metrics_port")
        return Observer(address=self._metrics.address)

    def _open_traces(self, settings: Settings, boot: int) -> Observer:
        try:
            from coordinator.shell.traces import Traces  # noqa: PLC0415 - an extra

            self._traces = Traces(settings.trace_endpoint, boot)
        except ImportError:
            return _absent("traces", settings.trace_endpoint, f"run `{how_to_install_for('trace_endpoint')}`")
        return Observer(address=settings.trace_endpoint)


def _absent(what: str, address: str, reason: str) -> Observer:
    log.error("observer not served", extra={"observer": what, "address": address, "reason": reason})
    return Observer(address=address, fault=reason)
