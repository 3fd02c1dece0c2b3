"""The HTTP client below the model's library: what takes a permit, what gives it back, what is tried again."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest

from protocol.messages import Endpoint
from protocol.views import Usage
from tests.support.fleet import wait_until
from tests.support.model_server import ModelServer
from workers.models.permit_client import TRIES, retry_after_s
from workers.models.port import ModelFailed, Outcome, Question
from workers.models.pydantic_ai_adapter import PydanticAiModel


class Counted:
    """Permits that are given at once, and counted."""

    def __init__(self, refusal: ModelFailed | None = None) -> None:
        self.calls = 0
        self.held: set[int] = set()
        self.most = 0
        self.back: list[Outcome] = []
        self.refusal = refusal
        self.line = asyncio.Event()
        self.line.set()

    async def acquire(self) -> int:
        if self.refusal is not None:
            raise self.refusal
        await self.line.wait()
        self.calls += 1
        self.held.add(self.calls)
        self.most = max(self.most, len(self.held))
        return self.calls

    def release(self, call: int, outcome: Outcome) -> None:
        self.held.discard(call)
        self.back.append(outcome)


def endpoint(server: ModelServer) -> Endpoint:
    return Endpoint(
        provider="openai", base_url=server.url, model="scripted", api_key=server.key, context_tokens=None,
        max_output_tokens=None,
    )  # fmt: skip


async def ask(server: ModelServer, prompt: str, permits: Counted, on_piece=lambda _: None) -> Usage:
    answered = await PydanticAiModel().stream(endpoint(server), Question(None, [], prompt), on_piece, permits)
    return answered.usage


@pytest.fixture
def permits() -> Counted:
    return Counted()


def test_a_request_holds_a_permit_until_its_answer_is_read_and_tells_what_it_cost(model, permits):
    held = []
    usage = asyncio.run(ask(model, "count 3 x", permits, lambda _: held.append(len(permits.held))))

    assert set(held) == {1}
    assert permits.held == set()
    assert permits.back == [Outcome(200, None, usage)]
    assert usage.output_tokens > 0


def test_a_refusal_for_the_rate_is_tried_again_with_a_new_permit_and_then_no_more(model, permits):
    model.refusals["some"] = [(429, {"retry-after": "2"}), (503, {"retry-after-ms": "1500"})]
    asyncio.run(ask(model, "some", permits))

    assert [(o.status, o.retry_after_s) for o in permits.back] == [(429, 2.0), (503, 1.5), (200, None)]
    assert permits.most == 1

    model.refusals["many"] = [(429, {})] * 100
    with pytest.raises(ModelFailed) as failed:
        asyncio.run(ask(model, "many", permits))

    assert failed.value.case == "model.rate_limited"
    assert len(model.calls_of("many")) == TRIES
    assert permits.held == set()


def test_every_retry_of_the_library_takes_a_permit_of_its_own(model, permits):
    model.refusals["some"] = [(500, {}), (408, {})]
    asyncio.run(ask(model, "some", permits))

    assert [o.status for o in permits.back] == [500, 408, 200]
    assert permits.most == 1


def test_an_attempt_that_finds_nobody_gives_its_permit_back(model, permits):
    nobody = Endpoint(
        provider="openai", base_url="http://127.0.0.1:9/v1", model="m", api_key=None, context_tokens=None,
        max_output_tokens=None,
    )  # fmt: skip
    with pytest.raises(ModelFailed):
        asyncio.run(PydanticAiModel().stream(nobody, Question(None, [], "x"), lambda _: None, permits))

    assert permits.held == set()
    assert {o.status for o in permits.back} == {None}


@pytest.mark.parametrize("prompt", ["garbage", "break", "status 400"])
def test_an_answer_that_fails_gives_its_permit_back(model, permits, prompt):
    with pytest.raises(ModelFailed):
        asyncio.run(ask(model, prompt, permits))

    assert permits.held == set()
    assert len(permits.back) == permits.calls


@pytest.mark.parametrize("prompt", ["endless", "slow 2"])
def test_a_turn_that_is_cancelled_gives_its_permit_back_and_its_connection_is_closed(model, permits, prompt):
    async def cancel() -> None:
        turn = asyncio.create_task(ask(model, prompt, permits))
        await wait_until(lambda: model.calls, 20, "no request came")
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn

        assert permits.held == set()

        await wait_until(lambda: model.at_once == 0, 20, "the connection is open")
        await wait_until(lambda: model.calls[0].ended_s, 20, "the server has not noticed")

    asyncio.run(cancel())


def test_an_endpoint_that_does_not_answer_in_time_gives_each_permit_back(model, permits, monkeypatch):
    monkeypatch.setattr("workers.models.pydantic_ai_adapter.SILENCE_S", 0.2)
    with pytest.raises(ModelFailed) as failed:
        asyncio.run(ask(model, "slow 1", permits))
    asyncio.run(wait_until(lambda: all(call.ended_s for call in model.calls), 20, "the server has not noticed"))

    assert failed.value.case == "model.timeout"
    assert permits.calls == len(permits.back) == 3
    assert permits.most == 1


def test_the_time_in_line_is_nobodys_time_out(model, permits, monkeypatch):
    monkeypatch.setattr("workers.models.pydantic_ai_adapter.SILENCE_S", 0.3)
    monkeypatch.setattr("workers.models.pydantic_ai_adapter.CONNECT_S", 0.3)
    permits.line.clear()

    async def wait() -> None:
        turn = asyncio.create_task(ask(model, "count 1 x", permits))
        await asyncio.sleep(1.0)
        permits.line.set()
        await turn

    asyncio.run(wait())

    assert permits.calls == 1


def test_a_request_that_must_not_go_out_says_why_and_is_not_tried_again(model):
    refusal = ModelFailed("spend.limit", "All is spent.", hint="Raise it.")
    with pytest.raises(ModelFailed) as failed:
        asyncio.run(ask(model, "x", Counted(refusal)))

    assert failed.value is refusal
    assert model.calls == []


def test_a_proxy_of_the_environment_is_asked_with_a_permit_too(model, permits, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(ModelFailed) as failed:
        asyncio.run(ask(model, "x", permits))

    assert failed.value.case == "model.unreachable"
    assert permits.calls == 3
    assert permits.held == set()


DATE = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "-7"}, 0.0),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 99 Foo 2026 99:99:99 GMT"}, None),
        ({"retry-after": format_datetime(DATE + timedelta(seconds=9)), "date": format_datetime(DATE)}, 9.0),
        ({"retry-after": format_datetime(DATE), "date": format_datetime(DATE + timedelta(seconds=9))}, 0.0),
    ],
)
def test_retry_after_is_read_in_every_form(headers, seconds):
    assert retry_after_s(httpx2.Response(429, headers=headers)) == seconds


def test_a_date_without_the_servers_clock_is_measured_on_ours():
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60))

    assert 55 < (retry_after_s(httpx2.Response(429, headers={"retry-after": later})) or 0) <= 60
