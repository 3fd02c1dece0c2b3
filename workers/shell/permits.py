"""The worker's side of permits: ask until there is an answer, give back, and never hold what nobody knows of.

A worker makes one request at a time and counts them. All that is said of a call may be lost, doubled and late: a
request for a permit is sent again, and each heartbeat tells which call holds one and up to which all are over.
"""

import asyncio
import time
from collections.abc import Callable

from protocol.failpoints import hit
from protocol.messages import Permit, PermitRefused, PermitReturned, PermitWanted
from workers.models.port import ModelFailed, Outcome

# How soon a request for a permit is sent again, doubling.
RESEND_S = 1.0
LONGEST_RESEND_S = 4.0


class CoordinatorsPermits:
    """Asks the coordinator.

    Args:
        session: whose worker this is.
        epoch: which of its workers.
        send: sends to the coordinator.
    """

    def __init__(self, session: str, epoch: int, send: Callable[[PermitWanted | PermitReturned], None]) -> None:
        self._session = session
        self._epoch = epoch
        self._send = send
        self._one_at_a_time = asyncio.Lock()
        self._turn_id = ""
        self._last = 0
        self._answer: asyncio.Future[None] | None = None
        self._barred_until_s = 0.0
        # As HELLO and PING tell it: the coordinator that counts, the call that holds a permit (0: none), and up to
        # which call all are over.
        self.boot = 0
        self.held = 0
        self.over = 0

    def begin(self, turn_id: str) -> None:
        """A turn begins."""
        self._turn_id = turn_id

    async def acquire(self) -> int:
        """Wait in line, however long, and return the call's number.

        Raises:
            ModelFailed: the request must not go out.
        """
        await self._one_at_a_time.acquire()
        self._last += 1
        call = self._last
        answer = self._answer = asyncio.get_running_loop().create_future()
        delay_s = RESEND_S
        try:
            while not answer.done():
                self._ask()
                await asyncio.wait({answer}, timeout=delay_s)
                delay_s = min(2 * delay_s, LONGEST_RESEND_S)
            answer.result()
            hit("worker.permitted")
        except BaseException:
            self.release(call, Outcome())
            raise
        return call

    def release(self, call: int, outcome: Outcome) -> None:
        """The call is over, or is not wanted any more; said twice is said once."""
        if call <= self.over:
            return
        self.over, self.held, self._answer = call, 0, None
        if outcome.retry_after_s is not None:
            self._barred_until_s = time.monotonic() + outcome.retry_after_s
        self._send(
            PermitReturned(
                session=self._session,
                epoch=self._epoch,
                boot=self.boot,
                call=call,
                status=outcome.status,
                retry_after_s=outcome.retry_after_s,
                usage=outcome.usage,
            )
        )
        self._one_at_a_time.release()

    def end(self) -> None:
        """The turn is over and its connections are closed: whatever is still held goes back."""
        self.release(self._last, Outcome())

    # ---- what the coordinator says

    def welcomed(self, boot: int) -> None:
        """This coordinator counts from here on, and no earlier one; it does not know yet what is waited for."""
        self.boot = max(boot, self.boot)
        self._ask()

    def hear(self, message: Permit | PermitRefused) -> None:
        """The request may go, or must not. What is not wanted any more, or of an earlier boot, does not count."""
        if self._answer is None or self._answer.done() or message.call != self._last:
            return
        if isinstance(message, PermitRefused):
            why = message.error
            self._answer.set_exception(ModelFailed(why.code, why.message, hint=why.hint))
        elif message.boot == self.boot:
            self.held = message.call
            self._answer.set_result(None)

    def _ask(self) -> None:
        if self._answer is None or self._answer.done():
            return
        self._send(
            PermitWanted(
                session=self._session,
                epoch=self._epoch,
                boot=self.boot,
                call=self._last,
                turn_id=self._turn_id,
                barred_s=max(0.0, self._barred_until_s - time.monotonic()),
            )
        )
