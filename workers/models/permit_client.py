"""The HTTP client below the model's library: every request takes a permit, whoever sends it and however often.

It stands under the library's own retries and loops, so that each attempt waits in line for itself: the library's
time-outs run only while a request is out. The permit goes back when the response is closed, or the attempt has failed;
nobody holds one while it sleeps. A refusal for the rate is waited for in line, since the coordinator closes the gate.
"""

import email.utils
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta
from typing import Any

import httpx2

from protocol.limits import REPLY_BYTES
from protocol.views import Usage
from workers.models.port import ModelFailed, Outcome, Permits

# So often a request is sent that is refused for its rate; each time it waits in line until the gate is open.
TRIES = 6
RATE_LIMITED = frozenset({429, 529})
# A number of tokens stands in the first or the last piece of a stream, or at the end of a whole answer.
TAIL_BYTES = 4_096
# A line of a stream, or the answer of a refusal: what is longer is nobody's answer, and would fill the memory.
MOST_BYTES = 2 * REPLY_BYTES
INPUT_TOKENS = re.compile(rb'"(?:prompt|input)_tokens"\s*:\s*(\d{1,12})')
OUTPUT_TOKENS = re.compile(rb'"(?:completion|output)_tokens"\s*:\s*(\d{1,12})')


class AnswerTooLarge(httpx2.RemoteProtocolError):
    """Nothing that a model says is so large."""


class PermitClient(httpx2.AsyncClient):
    """An HTTP client that asks before each request.

    Args:
        permits: who is asked.
        options: those of the client.
    """

    def __init__(self, permits: Permits, **options: Any) -> None:
        super().__init__(**options)
        self._permits = permits
        # Why a request was not allowed to go out; the library only sees an answer that it does not try again.
        self.refusal: ModelFailed | None = None
        # Requests that were answered with what the model says.
        self.answered = 0

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        """Send a request when it may go."""
        for attempt in range(1, TRIES + 1):
            try:
                call = await self._permits.acquire()
            except ModelFailed as refusal:
                self.refusal = refusal
                return httpx2.Response(403, headers={"x-should-retry": "false"}, request=request)
            response = await self._attempt(call, request, options)
            wait_s = retry_after_s(response)
            is_limited = response.status_code in RATE_LIMITED or (response.is_server_error and wait_s is not None)
            body = _Body(response, self._permits, call, Outcome(response.status_code, wait_s))
            response.stream = body
            self.answered += response.is_success
            if is_limited and attempt < TRIES:
                await response.aclose()
                continue
            if is_limited:
                response.headers["x-should-retry"] = "false"  # it was tried often enough
            break
        if not stream:
            try:
                await response.aread()
            finally:
                await response.aclose()
        return response

    async def _attempt(self, call: int, request: httpx2.Request, options: dict[str, Any]) -> httpx2.Response:
        try:
            return await super().send(request, stream=True, **options)
        except BaseException:
            self._permits.release(call, Outcome())
            raise


class _Body(httpx2.AsyncByteStream):
    """A response's body; when it is closed, its permit goes back."""

    def __init__(self, response: httpx2.Response, permits: Permits, call: int, outcome: Outcome) -> None:
        inner = response.stream
        assert isinstance(inner, httpx2.AsyncByteStream)  # noqa: S101 - the client is asynchronous
        self._inner = inner
        self._permits = permits
        self._call = call
        self._outcome = outcome
        self._head = self._tail = b""
        self._line_bytes = 0

    @property
    def elapsed(self) -> timedelta | None:
        """How long the response took; the library looks for it here."""
        return getattr(self._inner, "elapsed", None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = self._inner.__aiter__()
        try:
            async for piece in pieces:
                self._look_at(piece)
                yield piece
        finally:
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()

    def _look_at(self, piece: bytes) -> None:
        """Keep both ends, for what they say of the costs.

        Raises:
            AnswerTooLarge: the line goes on and on; in what is no stream of a model, all is one line.
        """
        if len(self._head) < TAIL_BYTES:
            self._head = (self._head + piece)[:TAIL_BYTES]
        self._tail = (self._tail + piece)[-TAIL_BYTES:]
        end = piece.rfind(b"\n") if self._outcome.status == httpx2.codes.OK else -1
        self._line_bytes = self._line_bytes + len(piece) if end < 0 else len(piece) - end - 1
        if self._line_bytes > MOST_BYTES:
            raise AnswerTooLarge(f"more than {MOST_BYTES} bytes without an end of the line")

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            outcome = self._outcome
            usage = _usage(self._head, self._tail)
            self._permits.release(self._call, Outcome(outcome.status, outcome.retry_after_s, usage))


def _usage(head: bytes, tail: bytes) -> Usage:
    """Return what an answer says that it cost, at its end or else at its beginning; nothing when it does not say so."""
    found_in = INPUT_TOKENS.findall(tail) or INPUT_TOKENS.findall(head)
    found_out = OUTPUT_TOKENS.findall(tail) or OUTPUT_TOKENS.findall(head)
    return Usage(
        input_tokens=int(found_in[-1]) if found_in else 0, output_tokens=int(found_out[-1]) if found_out else 0
    )


def retry_after_s(response: httpx2.Response) -> float | None:
    """Return for how many seconds the answer asks to be left alone: ``retry-after-ms``, seconds, or a date."""
    said = response.headers.get("retry-after-ms")
    text = response.headers.get("retry-after") if said is None else said
    if text is None:
        return None
    try:
        seconds = float(text) / (1_000 if said is not None else 1)
    except ValueError:
        return _seconds_until(text, response.headers.get("date"))
    return max(0.0, seconds) if seconds < float("inf") else None  # nor is "nan" a number of seconds


def _seconds_until(date: str, now: str | None) -> float | None:
    """Measured on the server's own clock, if it tells what that shows."""
    try:
        until_s = email.utils.parsedate_to_datetime(date).timestamp()
        now_s = time.time() if now is None else email.utils.parsedate_to_datetime(now).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(0.0, until_s - now_s)
