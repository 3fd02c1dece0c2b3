"""Answers that lie in the store: prompts with images, what a turn goes on with, what became of an ask or a turn."""

import logging
from collections.abc import Callable

from coordinator.core import effects as e
from coordinator.core.showing import refusal
from coordinator.shell import ask_records, images
from coordinator.shell.store import Store
from protocol import messages as m
from protocol.errors import AskAmbiguous, AskTaken, AskUnknown, ChatCoordError, StoreFailed
from protocol.views import StopReason

log = logging.getLogger(__name__)


class Asking:
    """Asks the store and passes on what it says.

    Args:
        store: where it lies.
        to_client: sends to a client.
        to_worker: sends to a worker.
    """

    def __init__(
        self,
        store: Store,
        to_client: Callable[[bytes, m.ToClient], None],
        to_worker: Callable[[bytes, m.ToWorker], None],
    ) -> None:
        self._store = store
        self._to_client = to_client
        self._to_worker = to_worker

    def answer(self, order: e.SendPrompt | e.SendContinue | e.SendAskFate | e.SendTurnEnd) -> None:
        """Look it up and send it."""
        match order:
            case e.SendPrompt():
                self._send_prompt(order)
            case e.SendContinue():
                self._send_continue(order)
            case e.SendAskFate():
                self._send_fate(order)
            case e.SendTurnEnd():
                self._send_end(order)

    def _send_continue(self, order: e.SendContinue) -> None:
        """Send a worker what it goes on with; nothing when another has gone on meanwhile."""

        def answer(state: m.Continue | None) -> None:
            if state is not None:
                self._to_worker(order.peer, state)

        def failed(reason: str) -> None:
            log.error("state of a turn cannot be read", extra={"session": order.session, "reason": reason})

        self._store.ask(ask_records.state_of(order.session, order.seq, order.leg), answer, failed)

    def _send_prompt(self, order: e.SendPrompt) -> None:
        """Send a worker a prompt with its images; it is asked for again until the turn begins."""

        def answer(prompt: m.Deliver | None) -> None:
            if prompt is not None:
                self._to_worker(order.peer, prompt)

        def failed(reason: str) -> None:
            log.error("images of a prompt cannot be read", extra={"session": order.session, "reason": reason})

        self._store.ask(images.prompt_of(order.session, order.seq), answer, failed)

    def _send_fate(self, order: e.SendAskFate) -> None:
        """Say who answered an ask; whose resend this is, is told that its answer counts."""

        def answer(fates: list[ask_records.Fate]) -> None:
            self._to_client(order.peer, _fate(order, fates))

        self._store.ask(
            ask_records.fate_of(order.ask), answer, lambda why: self._failed(order.peer, order.request, why)
        )

    def _send_end(self, order: e.SendTurnEnd) -> None:
        """Say how a turn ended."""

        def answer(stop_reason: StopReason | None) -> None:
            if stop_reason is None:
                return  # not over yet; who cancelled it asks again
            told = m.Cancelled(request=order.request, session=order.session, seq=order.seq, stop_reason=stop_reason)
            self._to_client(order.peer, told)

        self._store.ask(
            ask_records.end_of(order.session, order.seq),
            answer,
            lambda why: self._failed(order.peer, order.request, why),
        )

    def _failed(self, peer: bytes, request: int, reason: str) -> None:
        self._to_client(peer, refusal(request, StoreFailed(f"The store cannot be read: {reason}.")))


def _fate(order: e.SendAskFate, fates: list[ask_records.Fate]) -> m.ToClient:
    error: ChatCoordError
    if not fates:
        error = AskUnknown(f"There is no ask {order.ask[:32]!r}.")
    elif len(fates) > 1:
        error = AskAmbiguous(f"More than one ask begins with {order.ask[:32]!r}.")
    else:
        fate = fates[0]
        if fate.idem and fate.idem == order.idem:
            return m.Decided(
                request=order.request,
                ask=fate.id,
                session=fate.session,
                tool=fate.tool,
                approved=fate.outcome in ask_records.YES,
            )
        outcome = fate.outcome or "is just being answered"
        why = f" ({fate.why})" if fate.why and outcome != ask_records.ANSWERED else ""
        error = AskTaken(f"The ask {fate.id} was {outcome} by {fate.by}{why}.")
    return refusal(order.request, error)
