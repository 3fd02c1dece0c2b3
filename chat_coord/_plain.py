"""The library for programs without an event loop: the same calls, each of which waits."""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from chat_coord._async import AsyncCoordinator, AsyncSession
from chat_coord.errors import Error
from chat_coord.types import Ask, Change, Event, Message, Reply, SessionInfo, Until

T = TypeVar("T")


class _Loop:
    """An event loop in a thread of its own, which runs what the calls stand for."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chat_coord", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end; when the caller is interrupted, so is it.

        Raises:
            Error: the coordinator was closed.
        """
        if self._loop.is_closed():
            coroutine.close()
            raise Error("library.closed", "This coordinator is not open.", "Use it inside of a with statement.")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def each(self, items: AsyncGenerator[T, None]) -> Iterator[T]:
        """Yield what an asynchronous generator yields, and close it."""
        try:
            while True:
                try:
                    yield self.run(_next(items))
                except StopAsyncIteration:
                    return
        finally:
            if not self._loop.is_closed():
                self.run(items.aclose())

    def stop(self) -> None:
        """End the loop and its thread."""
        self.run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _next(items: AsyncGenerator[T, None]) -> T:
    return await anext(items)


class Coordinator:
    """A connection to the coordinator, for as long as ``with`` lasts; see ``AsyncCoordinator`` for every call.

    It may be used from several threads at once.
    """

    def __init__(self, home: str | os.PathLike[str] | None = None, *, start: bool = True) -> None:
        self._async = AsyncCoordinator(home, start=start)
        self._loop: _Loop | None = None

    def __enter__(self) -> Self:
        self._loop = _Loop()
        try:
            self._loop.run(self._async.__aenter__())
        except BaseException:
            self._loop.stop()
            self._loop = None
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.run(self._async.__aexit__(kind, error, trace))
            loop.stop()

    def new(
        self,
        name: str | None = None,
        *,
        type: str | None = None,  # noqa: A002 - the word of the product
        model: str | None = None,
        system: str | None = None,
        cwd: str | os.PathLike[str] | None = None,
        temperature: float | None = None,
        group: str | None = None,
        template: str | None = None,
        queue: bool = True,
        key: str | None = None,
    ) -> "Session":
        """Make a session; when this returns it is on the disk."""
        made = self._async.new(
            name,
            type=type,
            model=model,
            system=system,
            cwd=cwd,
            temperature=temperature,
            group=group,
            template=template,
            queue=queue,
            key=key,
        )
        return Session(self._open, self._open.run(made))

    def session(self, name: str) -> "Session":
        """Return a session by its name, number or id."""
        return Session(self._open, self._open.run(self._async.session(name)))

    def sessions(
        self, *, waiting: bool = False, everything: bool = False, group: str | None = None
    ) -> list[SessionInfo]:
        """Return the list."""
        return self._open.run(self._async.sessions(waiting=waiting, everything=everything, group=group))

    def inbox(self) -> list[Ask]:
        """Return everything that waits for a person's yes, in all sessions."""
        return self._open.run(self._async.inbox())

    def approve(self, ask: str) -> None:
        """Say yes to an ask."""
        self._open.run(self._async.approve(ask))

    def deny(self, ask: str, why: str = "") -> None:
        """Say no to an ask; the model is told why."""
        self._open.run(self._async.deny(ask, why))

    def answer(self, ask: str, text: str) -> None:
        """Answer a question."""
        self._open.run(self._async.answer(ask, text))

    def watch(self) -> Iterator[Change]:
        """Yield every change of state, for ever."""
        return self._open.each(self._async.watch())

    @property
    def _open(self) -> _Loop:
        if self._loop is None:
            raise Error("library.closed", "This coordinator is not open.", "Use it inside of a with statement.")
        return self._loop


class Session:
    """One session; see ``AsyncSession`` for every call."""

    def __init__(self, loop: _Loop, session: AsyncSession) -> None:
        self._loop = loop
        self._async = session

    @property
    def id(self) -> str:
        """Its id, which never changes."""
        return self._async.id

    @property
    def name(self) -> str:
        """Its name, when something was last asked of it."""
        return self._async.name

    @property
    def info(self) -> SessionInfo:
        """How it was when something was last asked of it."""
        return self._async.info

    def send(self, text: str, *, key: str | None = None, timeout_s: float | None = None) -> Reply:
        """Send a prompt and return the reply, once it is on the disk."""
        return self._loop.run(self._async.send(text, key=key, timeout_s=timeout_s))

    def stream(self, text: str, *, key: str | None = None) -> Iterator[Event]:
        """Send a prompt and yield what its turn shows; the last is the Reply."""
        return self._loop.each(self._async.stream(text, key=key))

    def submit(self, text: str, *, key: str | None = None) -> int:
        """Hand a prompt over and return its seq."""
        return self._loop.run(self._async.submit(text, key=key))

    def wait(self, until: Until = "done", *, timeout_s: float | None = None) -> SessionInfo:
        """Return the session when it is idle, done, or waiting."""
        return self._loop.run(self._async.wait(until, timeout_s=timeout_s))

    def history(self, *, after: int = 0) -> list[Message]:
        """Return the conversation after the message ``after``."""
        return self._loop.run(self._async.history(after=after))

    def refresh(self) -> SessionInfo:
        """Return the session as it is now."""
        return self._loop.run(self._async.refresh())

    def cancel(self) -> None:
        """End the turn that runs; what it said is kept."""
        self._loop.run(self._async.cancel())

    def rename(self, name: str) -> SessionInfo:
        """Give it another name."""
        return self._loop.run(self._async.rename(name))

    def hibernate(self) -> SessionInfo:
        """Put it to sleep; its next prompt wakes it."""
        return self._loop.run(self._async.hibernate())

    def wake(self) -> SessionInfo:
        """Give it a worker."""
        return self._loop.run(self._async.wake())

    def close(self) -> SessionInfo:
        """End it for good; its history is kept."""
        return self._loop.run(self._async.close())

    def delete(self) -> None:
        """End it, and remove it with its history, for ever."""
        self._loop.run(self._async.delete())
