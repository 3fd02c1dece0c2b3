"""Frames that are lost, come twice, late or all at once: what is acknowledged is there, once and in order."""

import asyncio
import os

import pytest
import zmq

from client.asking import create
from client.connection import Connection
from protocol import messages as m
from protocol.codec import Decoder, encode
from protocol.errors import CoordinatorSilent
from protocol.paths import Home, read_discovery
from tests.support.lossy import LossyLine
from tests.support.model_server import ModelServer
from tests.support.product import Product

pytestmark = pytest.mark.integration

CLIENTS, PROMPTS = 3, 30
COPIES = 100


async def opened(home: Home, name: str) -> Connection:
    """Say hello until it is heard."""
    while True:
        connection = Connection(home, name)
        try:
            await connection.open()
        except CoordinatorSilent:
            await connection.close()
        else:
            return connection


def test_frames_that_are_lost_doubled_and_late_lose_double_and_garble_nothing(product: Product, model: ModelServer):
    product.run("start")
    folder = product.home.parent / "line"
    folder.mkdir()

    async def talk(home: Home, session: str, number: int) -> list[tuple[int, str]]:
        connection = await opened(home, f"client-{number}")
        try:
            acknowledged = []
            for n in range(PROMPTS):
                text = f"raw {number}-{n}"
                ack = await connection.submit(session, text, f"key-{number}-{n}", follow=True)
                acknowledged.append((ack.seq, text))
            return acknowledged
        finally:
            await connection.close()

    async def story() -> list[list[tuple[int, str]]]:
        with LossyLine(Home(product.home), folder, rate=0.05, seed=34) as line:
            opener = await opened(line.home, "opener")
            made = await create(opener, line.home, name="a")
            await opener.close()
            told = await asyncio.gather(*(talk(line.home, made.id, n) for n in range(CLIENTS)))
        assert all(line.met[what] > 0 for what in ("lost", "twice", "late")), line.met
        return list(told)

    told = asyncio.run(story())
    product.wait_session("a", lambda s: s["messages"] == 2 * CLIENTS * PROMPTS)
    rows = product.json("history", "a")
    prompts = {row["seq"]: row["text"] for row in rows if row["role"] == "user"}
    replies = [row["text"] for row in rows if row["role"] == "assistant"]

    assert prompts == {seq: text for acknowledged in told for seq, text in acknowledged}
    assert all(acknowledged == sorted(acknowledged) for acknowledged in told)
    assert replies == [prompts[seq].removeprefix("raw ") for seq in sorted(prompts)]
    assert len(model.calls) == len(prompts)


def test_a_prompt_that_comes_a_hundred_times_at_once_is_one_and_its_key_takes_no_other_text(product: Product):
    product.run("new", "a")
    product.live("a")
    found = read_discovery(Home(product.home))
    assert found is not None
    heard: list[m.ToClient] = []
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.connect(found.clients)
        socket.send(encode(m.ClientHello(client="hasty", pid=os.getpid())))
        for number in range(1, COPIES + 2):
            text = "raw once" if number <= COPIES else "raw another"
            socket.send(encode(m.Submit(request=number, session="a", idem="one-key", text=text, follow=False)))
        while sum(isinstance(message, m.Ack | m.Refused) for message in heard) <= COPIES:
            assert socket.poll(60_000)
            heard.append(Decoder(m.ToClient).decode(socket.recv()))
    acks = [message for message in heard if isinstance(message, m.Ack)]
    refusals = [message for message in heard if isinstance(message, m.Refused)]

    assert {ack.seq for ack in acks} == {1}
    assert {ack.request for ack in acks} == set(range(1, COPIES + 1))
    assert [(refused.request, refused.code) for refused in refusals] == [(COPIES + 1, "prompt.conflict")]
    product.wait_session("a", lambda s: s["messages"] == 2)
    assert [row["text"] for row in product.json("history", "a")] == ["raw once", "once"]


def test_of_two_peers_with_one_identity_the_newest_is_answered(product: Product):
    product.run("start")
    found = read_discovery(Home(product.home))
    assert found is not None
    with zmq.Context() as context, context.socket(zmq.DEALER) as old, context.socket(zmq.DEALER) as new:
        for socket in (old, new):
            socket.linger = 0
            socket.identity = b"the same"
            socket.connect(found.clients)
            socket.send(encode(m.ClientHello(client="twin", pid=os.getpid())))
            assert socket.poll(60_000)
            assert isinstance(Decoder(m.ToClient).decode(socket.recv()), m.ClientWelcome)
        new.send(encode(m.GetStatus(request=7)))

        assert new.poll(60_000)
        assert Decoder(m.ToClient).decode(new.recv()).request == 7
        assert not old.poll(0)
    assert product.json("status")["rejected_frames"] == 0
