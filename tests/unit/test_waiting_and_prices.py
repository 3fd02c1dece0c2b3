"""What ``wait`` waits for, and what tokens cost."""

import msgspec
import pytest

from client.core.waiting import Verdict, verdict
from coordinator.core.prices import SESSIONS, Line, report
from protocol.settings import ModelSettings
from tests.golden.test_frames import SESSION

QUIET = msgspec.structs.replace(SESSION, residency="live", work="idle", unread=False, unanswered=0, ask=None)


@pytest.mark.parametrize(
    ("until", "changes", "found"),
    [
        ("idle", {}, Verdict.SO),
        ("done", {}, Verdict.SO),
        ("waiting", {}, Verdict.NOT_YET),
        ("idle", {"residency": "hibernated"}, Verdict.SO),
        ("done", {"residency": "waking"}, Verdict.NOT_YET),
        ("idle", {"residency": "queued"}, Verdict.NOT_YET),
        ("idle", {"work": "running", "unanswered": 1}, Verdict.NOT_YET),
        ("idle", {"unanswered": 1}, Verdict.SO),
        ("done", {"unanswered": 1}, Verdict.NOT_YET),
        ("done", {"unread": True}, Verdict.SO),
        ("waiting", {"unread": True}, Verdict.SO),
        ("waiting", {"work": "requires_action", "unanswered": 1}, Verdict.SO),
        ("done", {"work": "requires_action", "unanswered": 1}, Verdict.NOT_YET),
        ("done", {"ask": {"id": "x"}}, Verdict.NOT_YET),
        ("idle", {"residency": "failed"}, Verdict.NEVER),
        ("done", {"residency": "stopped"}, Verdict.NEVER),
        ("waiting", {"residency": "stopping"}, Verdict.NEVER),
        ("waiting", {"residency": "stopped", "unread": True}, Verdict.SO),
        ("idle", {"residency": "backoff"}, Verdict.NOT_YET),
    ],
)
def test_what_is_waited_for_is_so_not_yet_or_never(until, changes, found):
    assert verdict(msgspec.structs.replace(QUIET, **changes), until) is found


MODELS = {
    "dear": ModelSettings(provider="openai", model="m", input_price=2.0, output_price=10.0),
    "half": ModelSettings(provider="openai", model="m", output_price=1.0),
    "free": ModelSettings(provider="openai", model="m"),
}


def test_money_is_counted_where_there_is_a_price_and_tokens_where_there_is_none():
    lines = [
        Line("a", "one", "dear", 2, 1_000_000, 500_000),
        Line("a", "one", "free", 1, 10, 20),
        Line("b", "two", "half", 1, 7, 3_000_000),
        Line("c", "three", "gone", 1, 1, 1),
    ]
    found = report(lines, MODELS, 5.0)

    assert [(s.name, s.cost, s.unpriced_tokens, s.turns) for s in found.sessions] == [
        ("one", 7.0, 30, 3), ("two", 3.0, 0, 1), ("three", None, 2, 1),
    ]  # fmt: skip
    assert [m.model for m in found.sessions[0].models] == ["dear", "free"]
    total = found.total
    assert (total.cost, total.unpriced_tokens, total.turns) == (10.0, 32, 5)
    assert (total.input_tokens, total.output_tokens) == (1_000_018, 3_500_021)
    assert (found.since, found.more) == (5.0, False)


def test_a_report_is_bounded_and_its_total_is_not():
    found = report([Line(f"{n}", f"s{n}", "free", 1, n, 0) for n in range(SESSIONS + 5)], MODELS, None)

    assert len(found.sessions) == SESSIONS
    assert found.more
    assert found.total.turns == SESSIONS + 5
    assert found.sessions[0].input_tokens == SESSIONS + 4
