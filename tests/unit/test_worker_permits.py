"""The worker's side of permits: it asks until it is answered, holds one at a time, and gives back once."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine

import pytest

from protocol.messages import Permit, PermitRefused, PermitReturned, PermitWanted
from protocol.views import ErrorView
from workers.models.port import ModelFailed, Outcome
from workers.shell import permits as module
from workers.shell.permits import CoordinatorsPermits

Sent = list[PermitWanted | PermitReturned]


@pytest.fixture
def sent() -> Sent:
    return []


@pytest.fixture
def permits(sent: Sent) -> CoordinatorsPermits:
    made = CoordinatorsPermits("s", 2, sent.append)
    made.welcomed(3)
    made.begin("t")
    return made


def run(story: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 20))


def words(sent: Sent) -> list[tuple[str, int]]:
    return [(type(message).__name__, message.call) for message in sent]


async def moment() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_permit_is_asked_for_held_and_given_back_once(permits, sent):
    async def story() -> None:
        asking = asyncio.create_task(permits.acquire())
        await moment()

        assert sent == [PermitWanted(session="s", epoch=2, boot=3, call=1, turn_id="t")]

        permits.hear(Permit(boot=3, call=1))

        assert (await asking, permits.held, permits.over) == (1, 1, 0)

        permits.release(1, Outcome(200))
        permits.release(1, Outcome(200))
        permits.end()

        assert words(sent) == [("PermitWanted", 1), ("PermitReturned", 1)]
        assert (permits.held, permits.over) == (0, 1)

    run(story)


def test_it_asks_again_until_it_is_answered(permits, sent, monkeypatch):
    monkeypatch.setattr(module, "RESEND_S", 0.01)

    async def story() -> None:
        asking = asyncio.create_task(permits.acquire())
        while len(sent) < 4:  # noqa: ASYNC110 - bounded by the test
            await asyncio.sleep(0.01)
        permits.hear(Permit(boot=3, call=1))
        await asking

        assert set(words(sent)) == {("PermitWanted", 1)}

    run(story)


def test_a_grant_of_another_boot_or_another_call_does_not_count(permits):
    async def story() -> None:
        asking = asyncio.create_task(permits.acquire())
        await moment()
        permits.hear(Permit(boot=2, call=1))
        permits.hear(Permit(boot=3, call=9))
        await moment()

        assert not asking.done()
        assert permits.held == 0

        asking.cancel()

    run(story)


def test_a_new_coordinator_is_asked_at_once_and_an_older_one_counts_no_more(permits, sent):
    async def story() -> None:
        asking = asyncio.create_task(permits.acquire())
        await moment()
        permits.welcomed(4)
        permits.welcomed(3)

        assert [message.boot for message in sent] == [3, 4, 4]

        permits.hear(Permit(boot=4, call=1))
        await asking

    run(story)


def test_who_is_cancelled_in_line_says_so_and_a_grant_that_comes_late_is_nothing(permits, sent):
    async def story() -> None:
        asking = asyncio.create_task(permits.acquire())
        await moment()
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        permits.hear(Permit(boot=3, call=1))

        assert words(sent)[-1] == ("PermitReturned", 1)
        assert (permits.held, permits.over) == (0, 1)

    run(story)


def test_who_is_cancelled_as_the_permit_comes_gives_it_back(permits, sent):
    async def story() -> None:
        asking = asyncio.create_task(permits.acquire())
        await moment()
        permits.hear(Permit(boot=3, call=1))
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking

        assert words(sent)[-1] == ("PermitReturned", 1)
        assert permits.held == 0

    run(story)


def test_two_requests_of_one_worker_go_one_after_the_other(permits, sent):
    async def story() -> None:
        first, second = (asyncio.create_task(permits.acquire()) for _ in range(2))
        await moment()
        permits.hear(Permit(boot=3, call=1))
        await first
        await moment()

        assert words(sent) == [("PermitWanted", 1)]

        permits.release(1, Outcome(200))
        await moment()
        permits.hear(Permit(boot=3, call=2))

        assert await second == 2

    run(story)


def test_a_refusal_is_raised_and_the_next_request_may_ask(permits, sent):
    async def story() -> None:
        asking = asyncio.create_task(permits.acquire())
        await moment()
        permits.hear(PermitRefused(call=1, error=ErrorView(code="spend.limit", message="All spent.", hint="Raise.")))
        with pytest.raises(ModelFailed) as failed:
            await asking

        assert (failed.value.case, failed.value.message, failed.value.hint) == ("spend.limit", "All spent.", "Raise.")
        assert words(sent)[-1] == ("PermitReturned", 1)

        asyncio.get_running_loop().call_later(0.01, permits.hear, Permit(boot=3, call=2))

        assert await permits.acquire() == 2

    run(story)


def test_how_long_the_endpoint_bars_it_is_told_when_it_asks_again(permits, sent):
    async def story() -> None:
        for call, outcome in ((1, Outcome(429, 30.0)), (2, Outcome(200))):
            asyncio.get_running_loop().call_later(0.01, permits.hear, Permit(boot=3, call=call))
            permits.release(await permits.acquire(), outcome)
        wanted = [message for message in sent if isinstance(message, PermitWanted)]

        assert wanted[0].barred_s == 0
        assert 20 < wanted[1].barred_s <= 30

    run(story)


def test_the_end_of_a_turn_gives_back_what_was_left(permits, sent):
    async def story() -> None:
        asyncio.get_running_loop().call_later(0.01, permits.hear, Permit(boot=3, call=1))
        await permits.acquire()
        permits.end()

        assert words(sent)[-1] == ("PermitReturned", 1)
        assert permits.over == 1

    run(story)
