"""A trace for each turn, to an OpenTelemetry collector: the only door to its library, imported only when configured.

A turn is told when it is over, in one piece: queued, each permit and the request behind it, the wait for the first
piece, the answer. Sessions are named by id alone: their names may come from what a person wrote.
"""

import logging
import time

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Status, StatusCode, set_span_in_context

from coordinator.core.effects import ObserveTurn
from protocol.version import __version__

# A collector that does not answer costs spans, never a turn: what waits is bounded, and so is each try.
SEND_S, QUEUE, EVERY_MS = 3, 2_048, 1_000
# An answer that is over and was not this is no success.
GOOD = frozenset({"completed", "cancelled"})


class Traces:
    """Tells turns.

    Args:
        endpoint: the collector's address for traces.
        boot: which coordinator this is.
    """

    def __init__(self, endpoint: str, boot: int) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.ERROR)
        facts = {"service.name": "chat-coord", "service.version": __version__, "service.instance.id": str(boot)}
        self._provider = TracerProvider(resource=Resource(facts), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=endpoint, timeout=SEND_S)
        processor = BatchSpanProcessor(
            exporter, max_queue_size=QUEUE, schedule_delay_millis=EVERY_MS, export_timeout_millis=SEND_S * 1_000
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("chat-coord", __version__)

    def turn(self, turn: ObserveTurn) -> None:
        """Tell a turn that is over; returns at once."""
        offset_s = time.time() - time.monotonic()

        def ns(at_s: float) -> int:
            return round((at_s + offset_s) * 1e9)

        facts: dict[str, str | int] = {
            "chat_coord.session.id": turn.session,
            "chat_coord.turn.id": turn.turn_id,
            "chat_coord.prompt.seq": turn.seq,
            "chat_coord.stop_reason": turn.stop_reason,
            "chat_coord.pieces": turn.pieces,
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": turn.model,
            "gen_ai.usage.input_tokens": turn.usage.input_tokens,
            "gen_ai.usage.output_tokens": turn.usage.output_tokens,
        }
        if turn.error is not None:
            facts["error.type"] = turn.error
        root = self._tracer.start_span("turn", Context(), attributes=facts, start_time=ns(turn.committed_s))
        within = set_span_in_context(root, Context())
        for name, begun_s, ended_s in _steps(turn):
            step = self._tracer.start_span(name, within, start_time=ns(begun_s))
            step.end(ns(max(begun_s, ended_s)))
        if turn.stop_reason not in GOOD:
            root.set_status(Status(StatusCode.ERROR, turn.error or turn.stop_reason))
        root.end(ns(turn.ended_s))

    def close(self) -> None:
        """Send what waits, for as long as one try may take, and end."""
        self._provider.force_flush(SEND_S * 1_000)
        self._provider.shutdown()


def _steps(turn: ObserveTurn) -> list[tuple[str, float, float]]:
    """Return the parts of a turn, as far as it came: name, begin and end in monotonic seconds."""
    started_s, first_s, ended_s = turn.started_s, turn.first_piece_s, turn.ended_s
    steps = [("queued", turn.committed_s, ended_s if started_s is None else started_s)]
    for asked_s, granted_s, over_s in turn.permits:
        steps.append(("permit", asked_s, granted_s))
        steps.append(("request", granted_s, ended_s if over_s is None else over_s))
    if started_s is not None:
        steps.append(("first piece", started_s, ended_s if first_s is None else first_s))
    if first_s is not None:
        steps.append(("answer", first_s, ended_s))
    return steps
