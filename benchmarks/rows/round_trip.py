"""Round trips: a bare ping, a request with a document, and a prompt up to its acknowledgement."""

import asyncio
import time

import zmq

from benchmarks.measure import OURS, Comparison, in_turn
from benchmarks.model import scripted_model
from benchmarks.peers import python
from benchmarks.processes import Driver, taken
from benchmarks.product import Product, running
from protocol import messages as m
from protocol.codec import Decoder, encode

PINGS = 300
SUBMITS = 10
PEER_PINGS = 50


class Dealer:
    """A client in bare pyzmq, like the floor's, so that both sides of a ratio have the same client.

    Args:
        endpoint: the coordinator's address for clients.
    """

    def __init__(self, endpoint: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.RCVTIMEO, 10_000)
        self._socket.connect(endpoint)
        self._decoder: Decoder[m.ToClient] = Decoder(m.ToClient)

    def trip(self, message: m.ClientSays) -> m.ToClient:
        """Send and return the answer."""
        self._socket.send(encode(message))
        return self._decoder.decode(self._socket.recv())

    def trips(self, message: m.ClientSays, number: int) -> list[float]:
        """Return the microseconds of so many round trips; encoding and decoding are within."""
        samples = []
        for _ in range(number):
            begun_s = time.perf_counter()
            self.trip(message)
            samples.append((time.perf_counter() - begun_s) * 1e6)
        return samples

    def close(self) -> None:
        """Say goodbye."""
        self._socket.send(encode(m.ClientBye()))
        self._socket.close(50)
        self._context.term()


async def run(rounds: int) -> list[Comparison]:
    """Measure."""
    async with (
        scripted_model() as url,
        running(url) as product,
        product.client() as client,
        Driver("kernels.py", python=python()) as kernels,
        Driver("actors.py", "multiprocTCPBase", python=python()) as actors,
        Driver("floor.py") as floor,
    ):
        await kernels.ask("hold")
        await actors.ask("hold")
        session, _ = await client.create()

        async def ping() -> list[float]:
            return await _trips(product, m.ClientPing())

        async def look() -> list[float]:
            return await _trips(product, m.GetSession(request=1, session=session))

        async def submit() -> list[float]:
            samples = []
            for _ in range(SUBMITS):
                samples.append(await client.submit(session, "hello") * 1e6)
                await client.final(session)
            return samples

        pings = await in_turn(
            {
                OURS: ping,
                "floor: bare pyzmq echo (one hop)": lambda: taken(floor, "ping", kind="echo", number=PINGS),
                "floor: bare pyzmq broker and worker": lambda: taken(floor, "ping", kind="broker", number=PINGS),
                "Jupyter kernel_info": lambda: taken(kernels, "ping", number=PEER_PINGS),
                "thespian ask": lambda: taken(actors, "ping", number=PEER_PINGS),
            },
            rounds,
        )
        looks = await in_turn(
            {
                OURS: look,
                "floor: bare pyzmq echo (one hop)": lambda: taken(floor, "ping", kind="echo", number=PINGS),
            },
            rounds,
        )
        submits = await in_turn(
            {
                OURS: submit,
                "floor: one fsync": lambda: fsyncs(floor, product),
            },
            rounds,
        )
    bare = Comparison("bare ping: client, coordinator, client", "µs", pings)
    bare.at_most(1.7, "floor: bare pyzmq echo (one hop)", "bare ping: ≤ 1.7 times bare pyzmq with as many hops")
    bare.notes.append(
        "The protocol has no message that a client sends to a worker and back, so ours is one hop where the broker, "
        "the kernel and the actor are asked through to the other end; the goal is held against the echo of one hop."
    )
    full = Comparison("request with a document (GetSession): client, coordinator, client", "µs", looks)
    full.at_most(3, "floor: bare pyzmq echo (one hop)", "message of the full protocol: ≤ 3 times bare pyzmq, one hop")
    acked = Comparison("SUBMIT to ACK, one idle session: the prompt is committed", "µs", submits)
    return [bare, full, acked]


async def _trips(product: Product, message: m.ClientSays) -> list[float]:
    """Open a client, warm it, and measure in a thread, so that our own loop goes on."""

    def work() -> list[float]:
        dealer = Dealer(product.discovery.clients)
        dealer.trip(m.ClientHello(client="bare", pid=0))
        dealer.trips(message, 50)
        samples = dealer.trips(message, PINGS)
        dealer.close()
        return samples

    return await asyncio.to_thread(work)


async def fsyncs(floor: Driver, product: Product) -> list[float]:
    """Return the microseconds of fsyncs in the folder where the database is."""
    return [ms * 1000 for ms in await taken(floor, "fsync", number=50, folder=str(product.home.root))]
