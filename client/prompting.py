"""One prompt and its reply, for commands that wait: hand it over, show the pieces, end with the committed truth."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from client.connection import Back, Connection, Gone
from client.core.attaching import Prompt
from client.core.transcript import Transcript
from protocol import messages as m
from protocol.errors import TimedOut
from protocol.views import AskView, HistoryRow

# How often a silent wait looks whether the reply is in the store after all: its FINAL may have been lost.
LOOK_S = 2.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The committed reply. ``final`` is None when its announcement was missed and the store told instead."""

    ack: m.Ack
    row: HistoryRow
    final: m.Final | None
    first_piece_ms: int | None
    duration_ms: int


async def converse(
    connection: Connection,
    session: str,
    prompt: Prompt | None,
    idem: str,
    on_text: Callable[[str], None],
    *,
    on_ask: Callable[[AskView], None],
    on_note: Callable[[m.ToolActivity], None] = lambda _: None,
    timeout_s: float | None = None,
) -> Answer:
    """Send a prompt and wait for its reply, showing it as it comes.

    Args:
        connection: an open one.
        session: name, number or id.
        prompt: what is sent; None runs the last turn again.
        idem: the key that makes a resend harmless.
        on_text: called with what to show.
        on_ask: called when the turn waits for a person's yes.
        on_note: called when something is to be known of the turn's tools as a whole, such as a server that is missing.
        timeout_s: how long to wait for the reply; None is for ever.

    Raises:
        TimedOut: the time is over; the turn goes on.
        RemoteError: the prompt was refused.
    """
    begun_s = time.monotonic()

    def hand_over() -> Awaitable[m.Ack]:
        if prompt is None:
            return connection.retry(session, idem, follow=True)
        return connection.submit(session, prompt.text, idem, follow=True, images=prompt.images)

    ack = await hand_over()
    transcript = Transcript()
    first_s: list[float] = []

    told: set[str] = set()

    def show(piece: str | AskView | m.ToolActivity) -> None:
        if isinstance(piece, m.ToolActivity):
            on_note(piece)
            return
        if isinstance(piece, AskView):
            if piece.id not in told:
                told.add(piece.id)
                on_ask(piece)
            return
        if piece and not first_s:
            first_s.append(time.monotonic())
        on_text(piece)

    try:
        final = await asyncio.wait_for(_until_final(connection, ack, hand_over, transcript, show), timeout_s)
    except TimeoutError:
        hint = "The turn goes on; read it later with `chat-coord history`."
        raise TimedOut(f"There was no whole reply within {timeout_s:g} s.", hint=hint) from None
    row = await reply_to(connection, ack)
    assert row is not None  # noqa: S101 - FINAL comes after the commit
    show(transcript.finish(row.text))
    return Answer(
        ack=ack,
        row=row,
        final=final,
        first_piece_ms=round((first_s[0] - begun_s) * 1000) if first_s else None,
        duration_ms=round((time.monotonic() - begun_s) * 1000),
    )


async def _until_final(
    connection: Connection,
    ack: m.Ack,
    hand_over: Callable[[], Awaitable[m.Ack]],
    transcript: Transcript,
    show: Callable[[str | AskView | m.ToolActivity], None],
) -> m.Final | None:
    if ack.answered_by is not None:
        return None
    while True:
        try:
            pushed = await asyncio.wait_for(connection.pushed.get(), LOOK_S)
        except TimeoutError:
            if await reply_to(connection, ack) is not None:
                return None
            ask = await ask_of(connection, ack)
            if ask is not None:
                show(ask)
            continue
        if isinstance(
            pushed, Back
        ):  # the new coordinator pushes only what it is asked for; the key makes that harmless
            ack = await hand_over()
            if ack.answered_by is not None:
                return None
            continue
        if (
            isinstance(pushed, m.Changed | m.StoreState | m.AskResolved | Gone)
            or pushed.session != ack.session
            or pushed.seq != ack.seq
        ):
            continue
        if isinstance(pushed, m.Final):
            return pushed
        if isinstance(pushed, m.ToolActivity):
            if not pushed.call:
                show(pushed)
            continue
        if isinstance(pushed, m.Asking):
            show(pushed.ask)
            continue
        show(transcript.add(pushed))


async def ask_of(connection: Connection, ack: m.Ack) -> AskView | None:
    """Return what the turn asks, when that was told to nobody: its message may have been lost."""
    order = m.GetSession(request=connection.number(), session=ack.session)
    session = (await connection.ask(order, m.SessionAnswer)).session
    is_ours = session is not None and (session.work_detail or {}).get("seq") == ack.seq
    return session.ask if session is not None and is_ours else None


async def reply_to(connection: Connection, ack: m.Ack) -> HistoryRow | None:
    """Return the committed reply to a prompt, if there is one."""
    async for page in connection.history(ack.session, after_seq=ack.seq):
        for row in page.rows:
            if row.reply_to == ack.seq:
                return row
    return None
