"""What ``top`` draws: right at every size, in every order, and never steered by a name."""

import unicodedata

import msgspec
import pyte
import pytest

from client.output import sparkline
from client.top_table import KEYS, Table, Top, cells_of, cut, top_text
from protocol.views import (
    GateView,
    Memory,
    NextToSleep,
    PermitState,
    PermitsView,
    SessionCounts,
    StatusMemory,
    TopSession,
    TopTotals,
)

MIB = 1 << 20


def session(number: int, **facts: object) -> TopSession:
    usual = {
        "id": f"{number:016x}", "name": f"s{number}", "number": number, "active": False, "type": "debug", "model": "m",
        "node": "n", "cwd": "/", "residency": "live", "work": "idle", "work_detail": None, "display": "idle",
        "unread": False, "pinned": False, "attached": False, "archived": False, "messages": 0, "tokens": 0,
        "pid": 100 + number, "epoch": 1, "waiting_since": None, "ask": None, "exit_card": None,
        "memory": Memory(uss_bytes=number * MIB, rss_bytes=number * MIB), "created_at": 1.0, "last_active_at": 1.0,
        "cpu_percent": 0.5, "tree_uss_bytes": number * MIB,
    }  # fmt: skip
    return TopSession(**usual | facts)


def page(*sessions: TopSession, **memory: object) -> Top:
    facts = {"coordinator_rss_bytes": 1, "workers_uss_bytes": 1, "total_pss_bytes": 100 * MIB, "limit_bytes": 200 * MIB}
    return Top(
        sessions=list(sessions),
        totals=TopTotals(
            sessions=SessionCounts(live=2, queued=1, hibernated=7, total=10, max_active=5),
            permits=PermitsView(in_use=1, limit=5, waiting=2, gates=[]),
            memory=StatusMemory(**facts | {"available_bytes": 900 * MIB} | memory),
            cpu_percent=12.5,
        ),
        next_to_hibernate=[NextToSleep(session=s.id, name=s.name, why="idle") for s in sessions[:1]],
    )


def shown(table: Table, width: int = 80, height: int = 24) -> list[str]:
    return table.screen(width, height, "")


def names(lines: list[str]) -> list[str]:
    return [line[2:].split()[1] for line in lines if line[2:].split() and line[2:].split()[0].isdigit()]


def test_the_totals_stand_against_their_limits_with_what_is_short_and_who_goes_next():
    table = Table(top=page(session(1), session(2), short="the machine has 1.0 MiB left"))
    gate = GateView(provider="http://h", why="rate_limit", allowed=1)
    lines = shown(table)

    assert lines[0] == "chat-coord top   2 of 5 slots, 1 in line, 7 asleep   sorted by memory"
    assert (
        lines[1]
        == "cpu 12.5 %   memory 100.0 MiB of 200.0 MiB, machine 900.0 MiB left   permits 1 of 5, 2 in line"[:80]
    )
    assert "SHORT: the machine has 1.0 MiB left" in lines
    assert "hibernated next: s1" in lines
    totals = msgspec.structs.replace(table.top.totals, permits=PermitsView(in_use=1, limit=5, waiting=0, gates=[gate]))
    assert "gate: http://h is tried again, 1 at once" in shown(
        Table(top=msgspec.structs.replace(table.top, totals=totals))
    )


@pytest.mark.parametrize(
    ("key", "order"), [("m", "c b a"), ("c", "a c b"), ("n", "a b c"), ("s", "c a b"), ("r", "b a c")]
)
def test_each_key_sorts_by_its_own_what_is_largest_first(key, order):
    table = Table(
        top=page(
            session(1, name="a", cpu_percent=9.0, display="running"),
            session(2, name="b", cpu_percent=None, display="unread", pieces_per_s=4.0),
            session(3, name="c", cpu_percent=1.0, display="idle"),
        ),
        sort=key,
    )

    assert names(shown(table)) == order.split()


def test_a_row_tells_processor_memory_pieces_permit_and_place():
    waiting = PermitState(held=False, position=3, waited_ms=5)
    table = Table(
        top=page(session(1, history=(MIB, 2 * MIB, 4 * MIB), permit=waiting), session(2, pinned=True, pid=None))
    )
    narrow, wide = shown(table), shown(table, 120)
    row = next(line for line in narrow if " s1 " in line)

    assert row.split() == ["1", "s1", "idle", "0.5", "1.0M", "▂▄█", "line", "3", "1", "101"]
    assert next(line for line in narrow if " s2 " in line).split() == [">", "2", "s2", "idle", "0.5", "2.0M", "pin"]
    assert "TREE" in " ".join(wide)
    assert "TREE" not in " ".join(narrow)


def test_pieces_a_second_are_counted_between_two_looks():
    table = Table()
    for second, pieces in enumerate((10, 10, 30, 90)):
        table.take(page(session(1, pieces=pieces)), float(second))
    [row] = table.rows()

    assert (row.rate, row.rates) == (60.0, (0.0, 20.0, 60.0))
    table.take(page(session(1, pieces=5)), 4.0)  # another coordinator counts anew
    assert table.rows()[0].rate == 0.0


def test_the_chosen_row_stays_chosen_and_in_sight_while_others_come_and_go():
    table = Table(top=page(*(session(n) for n in range(1, 61))), sort="n")
    for _ in range(40):
        table.choose(1)
    lines = shown(table)
    [chosen] = [line for line in lines if line.startswith(">")]
    assert table.chosen_session().name in chosen

    name = table.chosen_session().name
    table.sort = "m"
    assert [line.split()[2] for line in shown(table) if line.startswith(">")] == [name]
    table.take(page(*(session(n) for n in range(1, 4))), 1.0)
    assert [line.split()[2] for line in shown(table) if line.startswith(">")] == ["s3"]
    for _ in range(9):
        table.choose(-1)
    assert table.chosen_session().name == "s3"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (20, 5), (1, 1), (200, 60), (104, 24)])
def test_no_line_is_longer_than_the_screen_and_there_are_no_more_of_them(width, height):
    table = Table(top=page(*(session(n, name="漢字" * 20) for n in range(1, 40))))
    lines = table.screen(width, height, "")

    assert len(lines) == height
    assert all(sum(map(cells_of, line)) <= width for line in lines)
    assert lines[-1] == cut(KEYS, width)
    assert len(Table().screen(width, height, "gone")) <= max(3, height)


def test_names_cannot_steer_the_terminal_or_push_columns_aside():
    evil = "\x1b[2J\x1b]0;t\x07\u202e漢字\n\t\u0301x" * 3
    screen = pyte.Screen(80, 24)
    stream = pyte.Stream(screen)
    table = Table(top=page(session(1, name=evil, display="idle"), session(2, name="plain")))
    stream.feed("\r\n".join(shown(table)))
    rows = [line for line in screen.display if line.rstrip().endswith(("101", "102"))]

    assert len(rows) == 2
    assert not any(unicodedata.category(c) == "Cc" for line in shown(table) for c in line)
    assert "\x1b" not in top_text(table.top)


def test_without_sessions_and_without_an_answer_it_says_so():
    assert names(shown(Table(top=page()))) == []
    assert Table(top=page()).chosen_session() is None
    assert Table().screen(80, 24, "")[2] == "Waiting for the coordinator."


@pytest.mark.parametrize(
    ("values", "bars"),
    [([], ""), ([0, 0], ".."), ([1, 2, 4, 8], "▁▂▄█"), ([5] * 9, "████"), ([-1, 8], ".█"), ([0, 100, 1], ".█.")],
)
def test_a_sparkline_shows_the_last_values_against_the_highest(values, bars):
    assert sparkline(values, 4) == bars
