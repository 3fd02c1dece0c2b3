"""The wire, spoken by hand: notifications, fencing, refused changes of state, garbage."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from client.asking import create
from client.connection import Connection
from protocol import messages as m
from protocol.codec import Decoder, encode
from protocol.mailbox import Mailbox
from protocol.paths import Home, read_discovery
from tests.support.product import Product

pytestmark = pytest.mark.integration


@asynccontextmanager
async def connection(product: Product, name: str) -> AsyncIterator[Connection]:
    opened = Connection(Home(product.home), name)
    await opened.open()
    try:
        yield opened
    finally:
        await opened.close()


@asynccontextmanager
async def raw(endpoint: str, union: object) -> AsyncIterator[tuple[Mailbox, asyncio.Queue]]:
    """A peer that sends whatever it likes."""
    decoder: Decoder = Decoder(union)
    heard: asyncio.Queue = asyncio.Queue()
    mailbox = Mailbox(endpoint, lambda frame: heard.put_nowait(decoder.decode(frame)))
    try:
        yield mailbox, heard
    finally:
        mailbox.close()


def endpoints(product: Product) -> tuple[str, str]:
    found = read_discovery(Home(product.home))
    assert found is not None
    return found.clients, found.workers


def test_every_client_that_listens_hears_every_change_with_its_cause(product: Product):
    product.run("start")

    async def story() -> list[list[m.Changed]]:
        async with connection(product, "x") as one, connection(product, "y") as two:
            for listener in (one, two):
                await listener.ask(m.Listen(request=listener.number()), m.Done)
            made = await create(one, Home(product.home), name="a")
            await one.submit(made.id, "hello", "key", follow=False)
            heard: list[list[m.Changed]] = []
            for listener in (one, two):
                changes: list[m.Changed] = []
                while not changes or changes[-1].after != "unread":
                    pushed = await asyncio.wait_for(listener.pushed.get(), 60)
                    assert isinstance(pushed, m.Changed)
                    changes.append(pushed)
                heard.append(changes)
            return heard

    first, second = asyncio.run(story())

    assert first == second
    assert [change.seq for change in first] == list(range(first[0].seq, first[0].seq + len(first)))
    words = [(c.before, c.after) for c in first]
    assert words[0] == (None, "starting")
    assert words[-1] == ("running", "unread")
    assert all(change.cause for change in first)


def test_two_clients_have_an_active_session_each(product: Product):
    product.run("start")

    async def story() -> tuple[str, str]:
        async with connection(product, "x") as one, connection(product, "y") as two:
            await create(one, Home(product.home), name="a")
            await create(two, Home(product.home), name="b")
            seen = []
            for client in (one, two):
                order = m.GetSession(request=client.number(), session=None)
                answer = await client.ask(order, m.SessionAnswer)
                assert answer.session is not None
                seen.append(answer.session.name)
            return seen[0], seen[1]

    assert asyncio.run(story()) == ("a", "b")


def test_the_same_create_sent_twice_makes_one_session(product: Product):
    product.run("start")

    async def story() -> tuple[str, str]:
        async with connection(product, "x") as client:
            order = m.Create(
                request=1, id="0123456789abcdef", name=None, type="debug", model=None, system=None, cwd="/", env={}
            )
            first = await client.ask(order, m.SessionAnswer)
            second = await client.ask(order, m.SessionAnswer)
            assert first.session is not None
            assert second.session is not None
            return first.session.name, second.session.name

    one, two = asyncio.run(story())

    assert one == two
    assert len(product.sessions()) == 1


def test_a_worker_without_the_token_of_its_epoch_is_fenced(product: Product):
    product.run("new", "a")
    session = product.live("a")

    async def story(epoch: int) -> m.Message:
        async with raw(endpoints(product)[1], m.ToWorker) as (mailbox, heard):
            hello = m.Hello(session=session["id"], epoch=epoch, token=b"x" * 32, pid=os.getpid())
            mailbox.send(encode(hello))
            return await asyncio.wait_for(heard.get(), 30)

    for epoch in (session["epoch"], session["epoch"] - 1, session["epoch"] + 1):
        assert isinstance(asyncio.run(story(epoch)), m.Fenced)
    assert product.session("a")["pid"] == session["pid"]
    assert product.json("send", "a", "hello")["reply"] == "<hello>"


def test_a_peer_that_speaks_for_the_session_of_another_changes_nothing(product: Product):
    product.run("new", "a")
    session = product.live("a")

    async def story() -> None:
        async with raw(endpoints(product)[1], m.ToWorker) as (mailbox, heard):
            common = {"session": session["id"], "epoch": session["epoch"], "turn_id": "t"}
            mailbox.send(encode(m.Started(seq=1, **common)))
            mailbox.send(encode(m.Delta(seq=1, n=0, text="forged", **common)))
            mailbox.send(encode(m.EndpointWanted(session=session["id"], epoch=session["epoch"])))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(heard.get(), 0.5)

    asyncio.run(story())

    assert product.session("a")["messages"] == 0


def test_garbage_is_counted_and_answered_and_others_go_on(product: Product):
    product.run("new", "a")

    async def story() -> list[m.Message]:
        async with raw(endpoints(product)[0], m.ToClient) as (mailbox, heard):
            mailbox.send(b"")
            mailbox.send(b"\xc1" + os.urandom(1_000))  # a byte that msgpack never uses, so it is no part of a transfer
            mailbox.send(b"\x95" + os.urandom(1_000))  # a damaged part: counted, and there is no request to answer
            mailbox.send(b"\xdd\x00\x0f\x00\x00" + b"\x90" * 0x0F0000)
            mailbox.send(encode(m.ClientPing()).replace(b"CLIENTPING", b"NEVERHEARD"))
            return [await asyncio.wait_for(heard.get(), 30) for _ in range(4)]

    answers = asyncio.run(story())

    assert [a.code for a in answers if isinstance(a, m.Refused)][-1] == "protocol.unsupported"
    assert product.json("status")["rejected_frames"] == 5
    assert product.json("send", "a", "hello")["reply"] == "<hello>"


def test_a_request_before_hello_is_refused(product: Product):
    product.run("start")

    async def story() -> m.Message:
        async with raw(endpoints(product)[0], m.ToClient) as (mailbox, heard):
            mailbox.send(encode(m.GetStatus(request=7)))
            return await asyncio.wait_for(heard.get(), 30)

    refused = asyncio.run(story())

    assert isinstance(refused, m.Refused)
    assert (refused.request, refused.code) == (7, "protocol.hello_missing")


def test_a_newer_version_of_the_protocol_is_refused_with_both_versions(product: Product):
    product.run("start")

    async def story() -> m.Message:
        async with raw(endpoints(product)[0], m.ToClient) as (mailbox, heard):
            mailbox.send(encode(m.GetStatus(request=7, v=99)))
            return await asyncio.wait_for(heard.get(), 30)

    refused = asyncio.run(story())

    assert isinstance(refused, m.Refused)
    assert refused.code == "protocol.version"
    assert "99" in refused.message
    assert str(m.PROTOCOL_VERSION) in refused.message
