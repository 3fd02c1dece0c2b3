"""The full-screen terminal under Pilot, before a coordinator that is not there: what is shown, what the keys do."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from client.connection import Back, Gone
from client.tui.app import ChatApp
from client.tui.dialogs import Paper, Picker
from client.tui.entry import Entry, LargePaste
from client.tui.inbox import Inbox
from protocol import messages as m
from protocol.errors import RemoteError
from protocol.limits import PROMPT_BYTES
from protocol.paths import Home
from protocol.terminal_safe import clean_line
from protocol.views import AskView
from tests.support.scripted_connection import NOW, ScriptedConnection, a_session, a_turn
from tests.unit.test_terminal_oracle import ATTACKS

SCREENS = Path(__file__).parent.parent / "golden" / "screens"
WITHIN_S = 10.0


def three() -> ScriptedConnection:
    """One that is looked at, one with an answer, one that asks."""
    ask = AskView(
        id="a1", session="code", name="code", kind="approval", tool="run_command", argv=["pytest", "-q"],
        text="in /home/me/project: pytest -q", since=NOW - 30,
    )  # fmt: skip
    sessions = [
        a_session("research", 1, messages=2),
        a_session("code", 2, type="review", display="requires_action", work="requires_action", ask=ask,
                  waiting_since=NOW - 30),
        a_session("docs", 3, display="unread", unread=True, waiting_since=NOW - 300),
        a_session("old", 4, display="hibernated", residency="hibernated", pid=None),
    ]  # fmt: skip
    reply = "Paris is the **capital** of France.\n\n1. It lies on the Seine.\n2. `print('Paris')`\n"
    found = ScriptedConnection(sessions, {"research": a_turn(1, "What is the capital of France?", reply)})
    found.asks_waiting = [ask]
    return found


class Seat:
    """A person before the screen."""

    def __init__(self, app: ChatApp, pilot: Pilot[None], connection: ScriptedConnection) -> None:
        self.app, self.pilot, self.connection = app, pilot, connection
        self.written: list[str] = []

    def text(self) -> str:
        strips = self.app.screen._compositor.render_strips()
        return "\n".join(strip.text.rstrip() for strip in strips).rstrip() + "\n"

    async def until(self, condition: Callable[[], object]) -> None:
        end_s = time.monotonic() + WITHIN_S
        while not condition():
            assert time.monotonic() < end_s, self.text()
            await asyncio.sleep(0.01)
            await self.pilot.pause()

    async def sees(self, *words: str) -> None:
        await self.until(lambda: all(word in self.text() for word in words))

    async def type(self, text: str) -> None:
        self.app.entry.put(text)
        await self.pilot.press("enter")


@contextlib.asynccontextmanager
async def seated(
    connection: ScriptedConnection, size: tuple[int, int] = (80, 24), **facts: bool
) -> AsyncIterator[Seat]:
    home = Home(Path("/nonexistent"))
    app = ChatApp(connection, home, connection.sessions["research"], now=lambda: NOW, **facts)  # type: ignore[arg-type]
    async with app.run_test(size=size) as pilot:
        seat = Seat(app, pilot, connection)
        app._write = seat.written.append  # type: ignore[method-assign]
        await seat.until(lambda: "Fetch" in connection.kinds())
        await pilot.pause(0.1)
        yield seat


def run(story: Callable[[Seat], Awaitable[None]], connection: ScriptedConnection | None = None, **facts) -> Seat:
    async def whole() -> Seat:
        async with seated(connection or three(), **facts) as seat:
            await story(seat)
        return seat

    return asyncio.run(asyncio.wait_for(whole(), 60))


async def _dialog(seat: Seat, key: str, kind: type) -> None:
    await seat.pilot.press(key)
    await seat.until(lambda: isinstance(seat.app.screen, kind))
    await seat.pilot.pause(0.1)


STORIES: dict[str, tuple[tuple[int, int], str, type | None]] = {
    "main-80x24": ((80, 24), "", None),
    "main-120x30": ((120, 30), "", None),
    "main-40x10": ((40, 10), "", None),
    "main-10x3": ((10, 3), "", None),
    "inbox": ((80, 24), "f2", Inbox),
    "picker": ((80, 24), "ctrl+p", Picker),
    "help": ((100, 40), "f1", Paper),
}


@pytest.mark.parametrize("name", STORIES)
def test_every_screen_looks_as_it_is_stored(name: str, request: pytest.FixtureRequest):
    """Written anew, to be looked at, when the file is deleted."""
    size, key, kind = STORIES[name]

    async def story(seat: Seat) -> None:
        await seat.sees("capital" if size[0] > 10 else "Seine" if size[1] > 3 else ">")
        if kind is not None:
            await _dialog(seat, key, kind)
        file = SCREENS / f"{name}.txt"
        if not file.exists():
            await seat.pilot.pause(1)
            file.parent.mkdir(exist_ok=True)
            file.write_text(seat.text())
        await seat.until(lambda: seat.text() == file.read_text())

    run(story, size=size)


def test_a_prompt_streams_and_its_reply_takes_the_place_of_the_pieces():
    async def story(seat: Seat) -> None:
        await seat.type("and of Japan?")
        await seat.sees("> and of Japan?")
        assert seat.app.entry.text == ""
        for n, text in enumerate(["To", "kyo, ", "I th"]):
            seat.connection.push(m.Piece(session="research", seq=3, turn_id="t3", n=n, text=text))
        await seat.sees("Tokyo, I th")
        seat.connection.rows["research"] += a_turn(3, "", "Tokyo, I think.")[1:]
        seat.connection.push(
            m.Final(
                session="research", seq=3, reply_seq=4, turn_id="t3", stop_reason="completed", usage=m.Usage(),
                pieces=3, queued_ms=0, first_piece_ms=1, duration_ms=2, left_out=2,
            )
        )  # fmt: skip
        await seat.sees("Tokyo, I think.", "no longer sees the first 2 messages")
        assert seat.text().count("Tokyo") == 1

    seat = run(story)
    assert [order.text for order in seat.connection.of(m.Submit)] == ["and of Japan?"]


def test_a_piece_that_was_lost_is_fetched():
    async def story(seat: Seat) -> None:
        seat.connection.running["research"] = ("t3", 5, "all that was said ")
        seat.connection.push(m.Piece(session="research", seq=3, turn_id="t3", n=4, text="x"))
        await seat.sees("all that was said")
        seat.connection.push(m.Piece(session="research", seq=3, turn_id="t3", n=5, text="and more"))
        await seat.sees("all that was said and more")

    run(story)


def test_what_was_not_taken_stands_in_the_input_again_and_the_reason_is_said():
    connection = three()
    connection.refuses[m.Submit] = RemoteError("store.readonly", "The disk is full.", "Make room.")

    async def story(seat: Seat) -> None:
        await seat.type("precious\nwords")
        await seat.sees("The disk is full.", "Make room.")
        assert seat.app.entry.text == "precious\nwords"
        assert seat.text().count("precious") == 1
        seat.app.entry.put("")
        seat.connection.delay_s = 0.2
        await seat.type("@code for the other")
        seat.app.entry.put("begun since")
        await seat.until(lambda: "@code" in seat.app.entry.text)
        assert seat.app.entry.text == "@code for the other\nbegun since"

    run(story, connection)


def test_drafts_stay_with_their_sessions_here_and_in_the_coordinator():
    connection = three()
    connection.drafts["docs"] = "begun elsewhere"

    async def story(seat: Seat) -> None:
        seat.app.entry.put("draft of the first")
        await seat.pilot.press("alt+3")
        await seat.until(lambda: seat.app.entry.text == "begun elsewhere")
        await seat.until(lambda: seat.connection.drafts.get("research") == "draft of the first")
        await seat.type("/s -")
        await seat.until(lambda: seat.app.entry.text == "draft of the first")
        assert seat.app.talk.session.name == "research"
        await seat.type("/switch nobody")
        await seat.sees("There is no session 'nobody'.")

    run(story, connection)


def test_alt_w_goes_from_one_that_waits_to_the_next_and_the_indicator_follows():
    async def story(seat: Seat) -> None:
        await seat.sees("! [code] asks 30s", "* [docs] unread 5m")
        assert seat.written[-1] == "\x1b]0;2 awaiting input - chat-coord\x07"
        await seat.pilot.press("alt+w")
        await seat.sees("run_command needs your yes", "in /home/me/project: pytest -q")
        await seat.pilot.press("alt+w")
        await seat.until(lambda: seat.app.talk.session.name == "docs")
        await seat.until(lambda: "1 awaiting input" in seat.written[-1])
        await seat.sees("[code]")
        assert "[docs]" not in seat.text()

    run(story)


def test_a_person_who_looks_elsewhere_is_told_once_for_each_episode_and_one_who_looks_here_is_not():
    async def story(seat: Seat) -> None:
        app, connection = seat.app, seat.connection
        bells: list[int] = []
        app.bell = lambda: bells.append(1)  # type: ignore[method-assign]
        connection.change("old", display="unread", unread=True)
        await seat.sees("* [old]")
        assert bells == []
        app.app_focus = False
        connection.change("docs", display="idle", unread=False)
        for _ in range(3):
            connection.change("docs", display="unread", unread=True)
        await seat.until(lambda: bells)
        await seat.pilot.pause(0.1)
        assert bells == [1]
        assert [w for w in seat.written if w.startswith("\x1b]9;")] == [
            "\x1b]9;chat-coord: docs has an answer for you\x07"
        ]
        connection.change("research", display="running", work="running")
        connection.change("research", display="idle", work="idle")
        await seat.until(lambda: len(bells) == 2)

    run(story)


def test_the_inbox_approves_denies_and_postpones_in_place():
    connection = three()
    whole = "in /home/me: rm -rf build\n" + "\n".join(f"line {i}" for i in range(60))
    connection.asks_waiting.append(
        AskView(
            id="a2", session="docs", name="docs", kind="approval", tool="write_file", argv=[], text=whole, since=NOW
        )
    )

    async def story(seat: Seat) -> None:
        await seat.pilot.press("f2")
        await seat.sees("[code] wants run_command", "pytest -q", "[docs] wants write_file")
        await seat.pilot.press("down")
        await seat.sees("rm -rf build", "line 3")
        await seat.pilot.press("d", *"no", "escape")
        assert connection.of(m.Decide) == []
        await seat.pilot.press("d", *"not now", "enter")
        await seat.sees("write_file of docs: denied")
        await seat.pilot.press("a")
        await seat.sees("Nothing waits for you.")
        await seat.pilot.press("escape")
        await seat.until(lambda: not isinstance(seat.app.screen, Inbox))

    run(story, connection)
    assert [(o.ask, o.approve, o.why) for o in connection.of(m.Decide)] == [("a2", False, "not now"), ("a1", True, "")]


def test_a_question_is_answered_with_words_in_the_inbox():
    connection = three()
    connection.asks_waiting = [
        AskView(
            id="q1",
            session="code",
            name="code",
            kind="question",
            tool="ask_person",
            argv=[],
            text="Which port?",
            since=NOW,
        )
    ]

    async def story(seat: Seat) -> None:
        await seat.pilot.press("f2")
        await seat.sees("[code] asks you", "Which port?")
        await seat.pilot.press("a", "enter", "a", *"8080", "enter")
        await seat.sees("ask_person of code: answered", "Nothing waits for you.")

    run(story, connection)
    assert [(o.ask, o.approve, o.answer) for o in connection.of(m.Decide)] == [("q1", True, "8080")]


def test_the_picker_finds_by_some_letters_and_peeks_without_looking():
    connection = three()
    connection.rows["old"] = a_turn(1, "an old question", "an old answer")

    async def story(seat: Seat) -> None:
        await seat.pilot.press("ctrl+p", "o", "l", "d")
        await seat.sees("an old question", "an old answer")
        assert [o.session for o in connection.of(m.Attach)] == ["research"]
        assert not any(o.view for o in connection.of(m.Fetch) if o.session == "old")
        await seat.pilot.press("enter")
        await seat.until(lambda: seat.app.talk.session.name == "old")

    run(story, connection)


def test_a_coordinator_that_goes_and_comes_back_is_said_and_costs_no_draft():
    async def story(seat: Seat) -> None:
        seat.app.entry.put("half a thought")
        seat.connection.push(Gone())
        await seat.sees("The coordinator has gone")
        seat.connection.rows["research"] += a_turn(3, "sent from elsewhere", "answered meanwhile")
        seat.connection.push(Back())
        await seat.sees("the coordinator is back", "answered meanwhile")
        assert "has gone" not in seat.text()
        assert seat.app.entry.text == "half a thought"
        seat.connection.push(m.StoreState(seq=1, at=NOW, writable=False, reason="the disk is full", hint="Make room."))
        await seat.sees("The store takes no changes now", "Make room")

    seat = run(story)
    assert len(seat.connection.of(m.Listen)) == 2


@pytest.mark.parametrize("dialog", ["", "f1", "f2", "ctrl+p", "/status"])
def test_the_leave_key_works_over_everything(dialog: str):
    connection = three()

    async def story(seat: Seat) -> None:
        if dialog.startswith("/"):
            seat.app.heard("x", "many\nlines")
        elif dialog:
            await seat.pilot.press(dialog)
        await seat.pilot.pause(0.1)
        seat.connection.delay_s = 0.2
        await seat.pilot.press("ctrl+q")
        await seat.until(lambda: not seat.app.is_running or seat.app._exit)

    run(story, connection)


def test_keys_of_the_input():
    async def story(seat: Seat) -> None:
        press, entry = seat.pilot.press, seat.app.entry
        await press("a", "ctrl+j", "b", "alt+enter", "c")
        assert entry.text == "a\nb\nc"
        await seat.until(lambda: entry.size.height == 3)
        await press("enter")
        await seat.until(lambda: entry.text == "")
        await press("x", "up")
        assert entry.text == "a\nb\nc"
        await press("ctrl+end", "down")
        assert entry.text == "x"
        await press("ctrl+a", "ctrl+k", "slash", "s", "w", "tab")
        assert entry.text == "/switch "
        await press("d", "tab")
        assert entry.text == "/switch docs"
        await press("ctrl+u", *"/swich x", "enter")
        await seat.sees("no command /swich. Did you mean", "/switch?")

    run(story)


def test_pastes_of_any_size_and_kind_are_taken_whole_or_refused_whole():
    async def story(seat: Seat) -> None:
        entry = seat.app.entry
        entry.post_message(LargePaste("x" * 10, 10_000_000))
        await seat.sees("The paste has 10000000 bytes")
        assert entry.text == ""
        from textual.events import Paste

        evil = "a\x1b]52;c;AAAA\x07\r\nb\u202e\ud800"
        entry.post_message(Paste(evil))
        await seat.until(lambda: entry.text)
        assert entry.text == "a\x1b]52;c;AAAA\x07\nb\u202e?"
        await seat.sees("a\ufffd]52;c;AAAA\ufffd")
        await seat.pilot.press("enter")
        await seat.until(lambda: seat.connection.of(m.Submit))
        entry.post_message(Paste("y" * PROMPT_BYTES))
        await seat.until(lambda: len(entry.text) == PROMPT_BYTES)
        await seat.pilot.press("enter")
        await seat.until(lambda: len(seat.connection.of(m.Submit)) == 2)

    seat = run(story)
    sent = [order.text for order in seat.connection.of(m.Submit)]
    assert sent[0] == "a\x1b]52;c;AAAA\x07\nb\u202e?"  # what is sent is what was typed
    assert len(sent[1]) == PROMPT_BYTES


def test_no_text_from_anywhere_steers_the_terminal():
    """Every sink at once; each part of each line on the screen is looked at."""
    evil = "".join(ATTACKS)
    ask = AskView(id="a9", session="evil", name=evil, kind="approval", tool=evil, argv=[evil], text=evil, since=NOW)
    connection = three()
    connection.sessions["evil"] = a_session(
        evil, 5, id="evil", type=evil, model=evil, display="requires_action", work="requires_action", ask=ask
    )
    connection.rows["evil"] = a_turn(1, evil, evil, stop_reason="failed")
    connection.asks_waiting = [ask]
    connection.drafts["evil"] = evil

    def harmless(seat: Seat) -> None:
        for strip in seat.app.screen._compositor.render_strips():
            for segment in strip:
                assert not segment.control
                assert segment.text == clean_line(segment.text), repr(segment.text)
                assert segment.style is None or segment.style.link is None

    async def story(seat: Seat) -> None:
        await seat.pilot.press("alt+5")
        await seat.until(lambda: seat.app.talk.session.id == "evil" and seat.app.entry.text)
        seat.app.app_focus = False
        connection.change("evil", name=evil, display="failed", cause=evil)
        connection.push(m.StoreState(seq=1, at=NOW, writable=False, reason=evil, hint=evil))
        connection.push(m.AskResolved(session="evil", seq=1, name=evil, ask="x", tool=evil, outcome="denied", by=evil))
        connection.push(
            m.ToolActivity(session="evil", seq=1, turn_id="t", call="c", tool=evil, state="failed", text=evil)
        )
        connection.push(m.Piece(session="evil", seq=3, turn_id="t3", n=0, text=evil))
        connection.refuses[m.Rename] = RemoteError(evil, evil, evil)
        await seat.type(f"/rename {clean_line(evil)}")
        await seat.pilot.pause(0.3)
        harmless(seat)
        for key, kind in (("f2", Inbox), ("ctrl+p", Picker)):
            await _dialog(seat, key, kind)
            harmless(seat)
            await seat.pilot.press("escape")
            await seat.pilot.pause(0.05)
        seat.app.heard(evil, evil)
        await seat.pilot.pause(0.1)
        harmless(seat)

    seat = run(story, connection)
    for written in seat.written[:-1]:  # the last gives the window its own title back
        body = written.removeprefix("\x1b]0;").removeprefix("\x1b]9;").removesuffix("\x07")
        assert body == clean_line(body)


def test_a_terminal_that_only_looks_wakes_nothing_and_sends_nothing():
    async def story(seat: Seat) -> None:
        await seat.sees("only looking")
        await seat.type("hello")
        await seat.sees("This terminal only looks")
        assert all(order.observes for order in seat.connection.of(m.Attach))

    seat = run(story, observes=True)
    assert not {"Submit", "Mark"} & set(seat.connection.kinds())


def test_a_stream_is_drawn_at_most_fifteen_times_a_second():
    async def story(seat: Seat) -> None:
        drawn: list[float] = []
        update = seat.app.conversation.update
        seat.app.conversation.update = lambda: (drawn.append(time.monotonic()), update())  # type: ignore[method-assign]
        for n in range(300):
            seat.connection.push(m.Piece(session="research", seq=3, turn_id="t3", n=n, text=f"{n} "))
            if n % 10 == 0:
                await asyncio.sleep(0.01)
        await seat.sees("299")
        gaps = [b - a for a, b in itertools.pairwise(drawn)]
        assert all(gap > 0.05 for gap in gaps)
        assert 1 <= len(drawn) <= 15 * (drawn[-1] - drawn[0]) + 2

    run(story)


def test_a_person_who_scrolled_back_stays_there_and_what_is_older_is_fetched():
    connection = three()
    rows = [row for i in range(1, 201, 2) for row in a_turn(i, f"prompt {i}", f"reply {i}")]
    connection.rows["research"] = rows
    connection.sessions["research"] = a_session("research", 1, messages=200)

    async def story(seat: Seat) -> None:
        await seat.sees("reply 199")
        assert connection.of(m.Fetch)[0].after_seq == 140
        for _ in range(12):
            await seat.pilot.press("pageup")
        await seat.until(lambda: seat.app.talk.record("research").first < 141)
        y = seat.app.conversation.scroll_offset.y
        seat.connection.push(m.Piece(session="research", seq=201, turn_id="t9", n=0, text="new words"))
        await seat.pilot.pause(0.2)
        assert seat.app.conversation.scroll_offset.y == y
        await seat.pilot.press("ctrl+end")
        await seat.sees("new words")

    run(story, connection)


def test_the_input_is_an_entry_with_the_usual_keys():
    keys = {key for binding in Entry.BINDINGS for key in str(getattr(binding, "key", "")).split(",")}
    from textual.widgets import TextArea

    inherited = {key for binding in TextArea.BINDINGS for key in binding.key.split(",")} | keys
    assert {"ctrl+a", "ctrl+e", "ctrl+k", "ctrl+u", "ctrl+w"} <= inherited
