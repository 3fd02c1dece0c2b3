"""A client's connection to the coordinator: hello, requests with answers, and what is pushed.

Every request is harmless when it is sent twice (creates carry their id, prompts their idempotency key), so an answer
that does not come is asked for again, and a coordinator that was restarted meanwhile is found through its file.
"""

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from protocol import messages as m
from protocol.codec import Decoder, encode
from protocol.errors import (
    ChatCoordError,
    CoordinatorAbsent,
    CoordinatorSilent,
    PromptTooLarge,
    RemoteError,
    UnsupportedVersion,
)
from protocol.limits import PROMPT_BYTES
from protocol.mailbox import Mailbox
from protocol.paths import Home, find_running

HELLO_S = 5.0
ANSWER_S = 15.0
PING_S = 2.0
# A goodbye that does not leave at once is not worth waiting for: the coordinator forgets silent clients.
BYE_MS = 50
FIRST_RESEND_S = 0.4
LONGEST_RESEND_S = 5.0
# After so many that nobody answered the socket itself may be at fault.
RESENDS_OF_A_SOCKET = 3

A = TypeVar("A", bound=m.Message)


@dataclass(frozen=True, slots=True)
class Gone:
    """The coordinator is gone; the next one is looked for."""


@dataclass(frozen=True, slots=True)
class Back:
    """A coordinator is there again: what was pushed meanwhile was missed, and it pushes only what it is asked for."""


Told = m.Piece | m.Final | m.Changed | m.StoreState | m.Asking | m.AskResolved | m.ToolActivity
Pushed = Told | Gone | Back


class Connection:
    """One client of one coordinator.

    Args:
        home: whose coordinator.
        client: whose active session this client shares.
    """

    def __init__(self, home: Home, client: str = "cli") -> None:
        self._home = home
        self._client = client
        self._decoder: Decoder[m.ToClient] = Decoder(m.ToClient)
        self._mailbox: Mailbox | None = None
        self._numbers = 0
        self._answers: dict[int, asyncio.Future[m.ToClient]] = {}
        self._welcome: asyncio.Future[m.ClientWelcome] | None = None
        self._pings: asyncio.Task[None] | None = None
        self.boot = 0
        self.pid = 0
        self._is_gone = False
        self.pushed: asyncio.Queue[Pushed] = asyncio.Queue()

    async def open(self) -> None:
        """Find the coordinator and say hello.

        Raises:
            CoordinatorAbsent: none runs.
            CoordinatorSilent: it does not answer.
        """
        await self._connect()
        self._pings = asyncio.create_task(self._ping())

    async def close(self) -> None:
        """Say goodbye."""
        if self._pings is not None:
            self._pings.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._pings
        if self._mailbox is not None:
            self._mailbox.send(encode(m.ClientBye()))
            self._mailbox.close(linger_ms=BYE_MS)

    def number(self) -> int:
        """Return the number for the next request."""
        self._numbers += 1
        return self._numbers

    async def ask(self, request: m.Request, answer: type[A], *, within_s: float = ANSWER_S) -> A:
        """Send a request, again if need be, and return its answer.

        Raises:
            RemoteError: the answer is no.
            CoordinatorAbsent, CoordinatorSilent: there is no answer in time.
        """
        loop = asyncio.get_running_loop()
        frame = encode(request)
        deadline_s = loop.time() + within_s
        delay_s = FIRST_RESEND_S
        future: asyncio.Future[m.ToClient] = loop.create_future()
        self._answers[request.request] = future
        resends = 0
        try:
            while True:
                self._send(frame)
                left_s = deadline_s - loop.time()
                with contextlib.suppress(TimeoutError):
                    wait_s = min(left_s, delay_s * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
                    async with asyncio.timeout(wait_s):
                        reply = await asyncio.shield(future)
                    if isinstance(reply, answer):
                        return reply
                    got = type(reply).__name__
                    raise UnsupportedVersion(f"The coordinator answered with {got}, which was not asked for.")
                if loop.time() >= deadline_s:
                    raise self._no_answer(within_s)
                delay_s = min(delay_s * 2, LONGEST_RESEND_S)
                resends += 1
                await self._follow(anew=resends % RESENDS_OF_A_SOCKET == 0)
        finally:
            self._answers.pop(request.request, None)

    async def submit(
        self, session: str, text: str, idem: str, *, follow: bool, images: Sequence[m.Image] = ()
    ) -> m.Ack:
        """Hand over a prompt; when this returns it is committed.

        Raises:
            PromptTooLarge: over the bound; nothing was sent.
            RemoteError: the answer is no.
        """
        size = len(text.encode(errors="surrogatepass"))
        if size > PROMPT_BYTES:
            raise PromptTooLarge(f"The prompt has {size} bytes; {PROMPT_BYTES} are allowed.", limit=PROMPT_BYTES)
        order = m.Submit(
            request=self.number(), session=session, idem=idem, text=text, follow=follow, images=list(images)
        )
        return await self.ask(order, m.Ack)

    async def retry(self, session: str, idem: str, *, follow: bool) -> m.Ack:
        """Run the last turn again; when this returns its prompt is committed once more.

        Raises:
            RemoteError: the answer is no.
        """
        order = m.Retry(request=self.number(), session=session, idem=idem, follow=follow)
        return await self.ask(order, m.Ack)

    async def submit_or_retry(
        self, session: str, text: str | None, idem: str, *, follow: bool, images: Sequence[m.Image] = ()
    ) -> m.Ack:
        """Submit a prompt, or retry when there is none."""
        if text is None:
            return await self.retry(session, idem, follow=follow)
        return await self.submit(session, text, idem, follow=follow, images=images)

    async def history(self, session: str, *, after_seq: int = 0, view: bool = False) -> AsyncIterator[m.History]:
        """Yield a conversation page by page."""
        while True:
            order = m.Fetch(request=self.number(), session=session, after_seq=after_seq, view=view)
            page = await self.ask(order, m.History)
            yield page
            if not page.more or not page.rows:
                return
            after_seq = page.rows[-1].seq

    # ---- the wire

    async def _connect(self) -> None:
        found = find_running(self._home)
        if found is None:
            raise CoordinatorAbsent(f"No coordinator is running for {self._home.root}.")
        if self._mailbox is not None:
            self._mailbox.close(linger_ms=0)
        self._mailbox = Mailbox(found.clients, self._on_frame)
        self._welcome = asyncio.get_running_loop().create_future()
        self._send(encode(m.ClientHello(client=self._client, pid=os.getpid())))
        try:
            async with asyncio.timeout(HELLO_S):
                welcome = await self._welcome
        except TimeoutError:
            raise self._no_answer(HELLO_S) from None
        self.boot, self.pid = welcome.boot, welcome.pid

    async def _follow(self, *, anew: bool = False) -> None:
        """When another coordinator runs now, connect to it; to the same one through a new socket if ``anew``."""
        found = find_running(self._home)
        if found is None:
            if not self._is_gone:
                self._is_gone = True
                self.pushed.put_nowait(Gone())
        elif anew or found.boot != self.boot:
            with contextlib.suppress(ChatCoordError):
                await self._connect()
                self._is_gone = False
                self.pushed.put_nowait(Back())

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING_S)
            self._send(encode(m.ClientPing()))
            await self._follow()

    def _send(self, frame: bytes) -> None:
        if self._mailbox is not None:
            self._mailbox.send(frame)

    def _on_frame(self, frame: bytes) -> None:
        try:
            message = self._decoder.decode(frame)
        except ChatCoordError:
            return  # a kind that a newer coordinator pushes; what was asked for is asked for again
        match message:
            case m.ClientWelcome():
                if self._welcome is not None and not self._welcome.done():
                    self._welcome.set_result(message)
            case m.ClientPong():
                found = find_running(self._home) if message.boot == 0 else None
                if found is not None and found.boot == self.boot:  # it forgot us, after a silence of ours
                    self._send(encode(m.ClientHello(client=self._client, pid=os.getpid())))
                    self.pushed.put_nowait(Back())
            case m.Piece() | m.Final() | m.Changed() | m.StoreState() | m.Asking() | m.AskResolved() | m.ToolActivity():
                self.pushed.put_nowait(message)
            case m.Refused(request=None):
                if self._welcome is not None and not self._welcome.done():
                    error = RemoteError(message.code, message.message, message.hint)
                    self._welcome.set_exception(error)
            case _:
                self._settle(message)

    def _settle(self, message: m.ToClient) -> None:
        future = self._answers.get(getattr(message, "request", None) or 0)
        if future is None or future.done():
            return
        if isinstance(message, m.Refused):
            if message.code == "protocol.hello_missing":
                self._send(encode(m.ClientHello(client=self._client, pid=os.getpid())))
            if message.code in {"protocol.hello_missing", "protocol.busy"}:
                return  # the request is sent again after its delay
            future.set_exception(RemoteError(message.code, message.message, message.hint))
        else:
            future.set_result(message)

    def _no_answer(self, within_s: float) -> ChatCoordError:
        found = find_running(self._home)
        if found is None:
            return CoordinatorAbsent(f"The coordinator for {self._home.root} has gone away.")
        return CoordinatorSilent(f"The coordinator (pid {found.pid}) did not answer within {within_s:.0f} s.")
