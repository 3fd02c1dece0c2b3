"""Answers to clients that only the store has: what a search found, what was spent."""

from collections.abc import Callable

from coordinator.core.effects import SendFound, SendUsage
from coordinator.core.prices import Line, report
from coordinator.core.showing import refusal
from coordinator.shell.searching import Hits, search
from coordinator.shell.spending import spent
from coordinator.shell.store import Store
from protocol.errors import StoreFailed
from protocol.messages import Found, ToClient, UsageAnswer
from protocol.settings import Settings


class Answers:
    """Asks the store and sends what it says.

    Args:
        store: what is asked.
        settings: for prices.
        send: takes a peer and the answer for it.
    """

    def __init__(self, store: Store, settings: Settings, send: Callable[[bytes, ToClient], None]) -> None:
        self._store = store
        self._settings = settings
        self._send = send

    def found(self, order: SendFound) -> None:
        """Send what a search finds."""

        def answer(hits: Hits) -> None:
            if hits.refusal:
                self._refuse(order, hits.refusal)
            else:
                found = Found(request=order.request, rows=hits.rows, more=hits.more, partial=hits.partial)
                self._send(order.peer, found)

        self._store.ask(search(order.text, order.limit), answer, lambda reason: self._refuse(order, reason))

    def usage(self, order: SendUsage) -> None:
        """Send what was spent."""

        def answer(lines: list[Line]) -> None:
            usage = report(lines, self._settings.all_models(), order.since)
            self._send(order.peer, UsageAnswer(request=order.request, usage=usage))

        self._store.ask(spent(order.session, order.since), answer, lambda reason: self._refuse(order, reason))

    def _refuse(self, order: SendFound | SendUsage, reason: str) -> None:
        error = StoreFailed(f"That cannot be looked up: {reason}.")
        self._send(order.peer, refusal(order.request, error))
