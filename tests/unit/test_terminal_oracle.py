"""A terminal as the oracle: whatever text is cleaned, pyte sees letters, lines and tabs, and nothing that it obeys."""

import random

import pyte

from client.core.transcript import Transcript
from client.output import render, session_table
from protocol.messages import Piece
from protocol.terminal_safe import clean, clean_line
from protocol.views import ErrorView, HistoryRow, Memory, SessionView

CASES = 100_000
SEED = 70
ATTACKS = [
    "\x1b]52;c;AAAA\x07",  # clipboard
    "\x1b]0;title\x07",
    "\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\",
    "\x1b[2J\x1b[H",
    "\x1b[31m",
    "\x1b[?1049h",
    "\x1bP+q544e\x1b\\",  # DCS
    "\x9b2J",  # C1 CSI
    "\x9d0;title\x9c",
    "\x90q\x9c",
    "harmless\rrm -rf",
    "abc\b\b\bxyz",
    "\x0e\x0f",
    "\x05",
    "\x18\x1a",
    "\x7f",
    "\u202edrawkcab\u202c",
    "in\u200bvisible\ufeff",
    "\x1b",
    "[2J",
    "]0;x",
    "\x07",
    "\x9c",
    "plain text",
    "größer 漢字 🙂",
    "\n",
    "\t",
    "\x00",
]


class Listener:
    """Remembers what a terminal was told to do."""

    def __init__(self) -> None:
        self.events: set[str] = set()

    def __getattr__(self, name: str):
        def heard(*args: object, **facts: object) -> None:
            self.events.add(name)

        if name not in pyte.Stream.events:
            raise AttributeError(name)
        return heard


def obeyed(text: str) -> set[str]:
    """Return what pyte does when it is sent the text, beyond drawing."""
    listener = Listener()
    pyte.Stream(listener).feed(text)
    return listener.events - {"draw", "linefeed", "tab"}


def attack(rng: random.Random) -> str:
    pieces = [rng.choice(ATTACKS) for _ in range(rng.randrange(1, 5))]
    if rng.random() < 0.3:
        pieces.append("".join(chr(rng.randrange(0, 0x2100)) for _ in range(rng.randrange(1, 12))))
    rng.shuffle(pieces)
    return "".join(pieces)


def test_the_oracle_sees_what_uncleaned_text_does():
    assert obeyed("\x1b[2J") == {"erase_in_display"}
    assert obeyed("\x1b]0;title\x07")
    assert obeyed("a\rb") == {"carriage_return"}


def test_a_hundred_thousand_texts_have_no_effect_on_a_terminal_also_in_pieces():
    rng = random.Random(SEED)
    for _ in range(CASES):
        text = attack(rng)
        at = rng.randrange(len(text) + 1)

        assert clean(text[:at]) + clean(text[at:]) == clean(text)
        assert not obeyed(clean(text)), repr(text)
        assert not obeyed(clean_line(text)), repr(text)
        assert "\n" not in clean_line(text)


def test_no_sink_of_the_client_lets_an_attack_through():
    evil = "".join(ATTACKS)
    session = SessionView(
        id=evil, name=evil, number=1, active=True, type=evil, model=evil, node=evil, cwd=evil, residency=evil,
        work=evil, work_detail=None, display=evil, unread=False, pinned=False, attached=False, archived=False,
        messages=1, tokens=1,
        pid=1, epoch=1, waiting_since=None, ask=None, exit_card=None, memory=Memory(), created_at=0, last_active_at=0,
    )  # fmt: skip
    row = HistoryRow(
        seq=1, role="assistant", text=evil, turn_id=evil, stop_reason="failed", at=0,
        error=ErrorView(code=evil, message=evil, hint=evil),
    )  # fmt: skip
    streamed = Transcript().add(Piece(session=evil, seq=1, turn_id=evil, n=0, text=evil))

    assert not obeyed(session_table([session]))  # cells are cleaned before they are measured
    for shown in (render(row), streamed):
        assert not obeyed(clean(shown))  # and say() cleans what it prints
