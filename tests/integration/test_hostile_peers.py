"""What a hostile or broken peer costs: its own connection, nobody else's time or memory."""

import asyncio
import json
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import zmq

from client.connection import Connection
from protocol import messages as m
from protocol.codec import Decoder, encode
from protocol.limits import FRAME_BYTES
from protocol.paths import Home, read_discovery
from tests.support.product import Product, wait_for

pytestmark = pytest.mark.integration

FRAMES = 1_000
SEED = 20_261_123


@contextmanager
def dealer(endpoint: str) -> Iterator[zmq.Socket]:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.connect(endpoint)
        yield socket


def endpoints(product: Product) -> tuple[str, str]:
    found = read_discovery(Home(product.home))
    assert found is not None
    return found.clients, found.workers


@contextmanager
def another_user() -> Iterator[None]:
    """Be somebody else towards the kernel; only root can."""
    os.seteuid(12_345)
    try:
        yield
    finally:
        os.seteuid(0)


def coordinator(product: Product) -> psutil.Process:
    return psutil.Process(product.json("status")["pid"])


def rejected(product: Product) -> int:
    """How many frames the coordinator has counted; 0 when it does not answer in time."""
    status = product.result("status", "--json")
    return json.loads(status.stdout)["rejected_frames"] if status.returncode == 0 else 0


def fuzzed(rng: random.Random, session: str) -> bytes:
    """A frame that is garbage, or a valid one with bytes changed, cut or added."""
    seeds = (
        encode(m.Submit(request=1, session="a", idem="k", text="hello", follow=True)),
        encode(m.Hello(session=session, epoch=1, token=b"x" * 32, pid=1)),
        encode(m.Reply(session=session, epoch=1, seq=1, turn_id="t", text="x", stop_reason="completed",
                       usage=m.Usage(), pieces=0)),
        encode(m.PartAck(transfer=1, n=1)),
        encode(m.Part(transfer=1, n=0, last=False, crc=1, data=b"xxxx")),
    )  # fmt: skip
    frame = bytearray(rng.choice(seeds))
    match rng.randrange(5):
        case 0:
            return rng.randbytes(rng.randrange(300))
        case 1:
            return bytes(frame[: rng.randrange(len(frame))])
        case 2:
            return bytes(frame) + rng.randbytes(rng.randrange(1, 50))
        case _:
            for _ in range(rng.randrange(1, 6)):
                frame[rng.randrange(len(frame))] = rng.randrange(256)
            return bytes(frame)


@pytest.mark.parametrize("door", [0, 1], ids=["clients", "workers"])
def test_a_thousand_fuzzed_frames_are_counted_and_harm_nobody(product: Product, door: int):
    product.run("new", "a")
    session = product.live("a")
    rng = random.Random(SEED)
    before = product.json("status")["rejected_frames"]
    for _ in range(FRAMES // 40):  # a peer that sends too much nonsense is not heard, so there are several
        with dealer(endpoints(product)[door]) as socket:
            socket.linger = 2_000
            for _ in range(40):
                socket.send(fuzzed(rng, session["id"]))

    assert product.json("send", "a", "hello")["reply"] == "<hello>"
    after = product.session("a")
    assert (after["pid"], after["epoch"], after["messages"]) == (session["pid"], session["epoch"], 2)
    assert product.json("status")["rejected_frames"] - before > FRAMES // 2


def test_a_message_of_a_million_parts_is_counted_once_and_takes_no_memory(product: Product):
    product.run("new", "a")
    process = coordinator(product)
    bystander = product.popen("send", "a", "count 300 x")
    with dealer(endpoints(product)[0]) as socket:
        for _ in range(999_999):
            socket.send(b"x", zmq.SNDMORE)
        socket.send(b"x")

        # It takes the coordinator about a second of CPU to throw away, so on a busy machine a command may give up.
        wait_for(lambda: rejected(product))
    printed, _ = bystander.communicate(timeout=60)

    # What libzmq holds of an unfinished message cannot be bounded from outside; it is given back afterwards.
    assert rejected(product) == 1
    assert printed == "".join(f"x{i};" for i in range(300)) + "\n"
    assert product.json("send", "a", "hello")["reply"].endswith("<hello>")
    assert process.is_running()


@pytest.mark.parametrize("parts", [0, 2, 5])
def test_a_message_with_another_number_of_parts_is_refused(product: Product, parts: int):
    product.run("start")
    with dealer(endpoints(product)[0]) as socket:
        socket.linger = 2_000
        socket.send_multipart([b"x"] * parts or [b""])

    assert product.json("status")["rejected_frames"] == 1


def test_a_frame_over_the_limit_costs_its_sender_the_connection_and_nobody_else(product: Product):
    product.run("new", "a")
    process = coordinator(product)
    before = process.memory_info().rss
    with dealer(endpoints(product)[0]) as socket:
        for _ in range(5):
            socket.send(b"\x90" * (8 << 20))
        socket.send(encode(m.ClientPing()))
        time.sleep(0.2)

        assert product.json("send", "a", "hello")["reply"] == "<hello>"
    assert process.memory_info().rss - before < 16 << 20


def test_a_small_frame_cannot_grow_into_a_large_heap(product: Product):
    product.run("start")
    process = coordinator(product)
    before = process.memory_info().rss
    bombs = (
        b"\xdd\x00\x0f\x00\x00" + b"\x90" * 0x0F0000,  # lists
        encode(m.ClientPing())[:-1] + b"\xdd\x00\x0f\x00\x00" + b"\x90" * 0x0F0000,  # lists as the version
        b"\x81\xa3env\xdf\x00\x04\x00\x00" + b"\xa0\xa0" * 0x40000,  # a map of empty texts
    )
    with dealer(endpoints(product)[0]) as socket:
        socket.linger = 2_000
        for bomb in bombs:
            assert len(bomb) < FRAME_BYTES
            socket.send(bomb)

    assert product.json("status")["rejected_frames"] == len(bombs)
    assert process.memory_info().rss - before < 16 << 20


def test_a_peer_that_only_sends_nonsense_is_not_answered_for_ever(product: Product):
    product.run("start")
    decoder: Decoder = Decoder(m.ToClient)
    with dealer(endpoints(product)[0]) as socket:
        for _ in range(200):
            socket.send(b"nonsense")
        answers = []
        while socket.poll(1_000):
            answers.append(decoder.decode(socket.recv()))

    assert 0 < len(answers) < 100
    assert {answer.code for answer in answers} == {"protocol.bad_message"}
    assert product.json("status")["rejected_frames"] == 200


def test_a_hello_from_another_process_than_it_says_is_refused(product: Product):
    product.run("new", "a")
    session = product.live("a")
    with dealer(endpoints(product)[1]) as socket:
        socket.send(encode(m.Hello(session=session["id"], epoch=1, token=b"x" * 32, pid=session["pid"])))

        assert socket.poll(5_000)
        answer = Decoder(m.ToWorker).decode(socket.recv())

    assert isinstance(answer, m.Refused)
    assert f"came from pid {os.getpid()}" in answer.message


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
@pytest.mark.parametrize("door", [0, 1], ids=["clients", "workers"])
def test_another_user_is_not_heard_even_where_the_folder_lets_him_in(product: Product, door: int):
    runtime = product.home.parent / "run"
    runtime.mkdir()
    product.env["XDG_RUNTIME_DIR"] = str(runtime)
    product.run("start")
    endpoint = endpoints(product)[door]
    path = Path(endpoint.removeprefix("ipc://"))
    path.chmod(0o777)
    for folder in (product.home.parent, runtime, *path.parents[:2]):
        folder.chmod(0o711)
    with another_user(), dealer(endpoint) as socket:
        socket.send(b"nonsense")

        assert not socket.poll(1_000)
    with dealer(endpoint) as socket:
        socket.send(b"nonsense")

        assert socket.poll(10_000)
    assert product.json("status")["rejected_frames"] == 1


def test_a_client_that_stops_reading_costs_the_others_nothing(product: Product):
    product.run("new", "a")
    with dealer(endpoints(product)[0]) as deaf:
        deaf.rcvhwm = 1
        deaf.send(encode(m.ClientHello(client="deaf", pid=os.getpid())))
        deaf.send(encode(m.Attach(request=1, session="a")))
        deaf.send(encode(m.Listen(request=2)))
        answer = product.json("send", "a", "count 300 x")

    assert answer["reply"] == "".join(f"x{i};" for i in range(300))


def test_a_flood_of_one_client_costs_itself_and_the_others_are_served(product: Product):
    product.run("new", "a")
    product.live("a")
    decoder: Decoder = Decoder(m.ToClient)
    with dealer(endpoints(product)[0]) as socket:
        socket.sndhwm = 0
        socket.send(encode(m.ClientHello(client="flood", pid=os.getpid())))
        frames = [encode(m.GetSession(request=n, session="a")) for n in range(20_000)]
        for frame in frames:
            socket.send(frame)
        assert product.json("send", "a", "hello")["reply"] == "<hello>"
        answers = []
        while socket.poll(1_000):
            answers.append(decoder.decode(socket.recv()))

        refused = [a for a in answers if isinstance(a, m.Refused)]
        assert {a.code for a in refused} == {"protocol.busy"}
        assert len(refused) < 200
        assert len(answers) > 100

        # Whoever waits for its answers is served again.
        socket.send(encode(m.GetSession(request=99_999, session="a")))
        assert socket.poll(10_000)
        assert isinstance(decoder.decode(socket.recv()), m.SessionAnswer)


def test_a_client_that_hands_over_a_thousand_prompts_at_once_gets_each_committed_once(product: Product):
    product.run("new", "a")
    product.live("a")

    async def hand_over() -> list[int]:
        client = Connection(Home(product.home), "eager")
        await client.open()
        try:
            jobs = [client.submit("a", f"raw {n}", f"key{n}", follow=False) for n in range(1_000)]
            return [ack.seq for ack in await asyncio.gather(*jobs)]
        finally:
            await client.close()

    seqs = asyncio.run(hand_over())

    assert len(set(seqs)) == 1_000
    product.run("close", "a")
