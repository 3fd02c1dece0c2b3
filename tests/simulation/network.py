"""The wires between processes: they delay, and in bad times they drop, double and reorder (faults 29 and 34).

What is under way to a coordinator that dies is lost with it; what is sent while none is there waits for the next one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coordinator.core import events as ev
from protocol import messages as m

if TYPE_CHECKING:
    from tests.simulation.world import World

# How many frames a peer keeps for a coordinator that is away, over all peers.
KEPT = 200


@dataclass(slots=True)
class Weather:
    """How bad the wires are: probabilities of a frame's fate, and seconds."""

    drop: float = 0.0
    double: float = 0.0
    reorder: float = 0.0
    delay_s: float = 0.002
    late_s: float = 0.5


CALM = Weather()


class Network:
    """Carries frames. A frame that is not reordered arrives behind those that were sent before it on its wire."""

    def __init__(self, world: "World", weather: Weather) -> None:
        self._world = world
        self.weather = weather
        self._free_s: dict[bytes, float] = {}
        self._kept: list[ev.ClientSpoke | ev.WorkerSpoke] = []

    def from_client(self, peer: bytes, message: m.ClientSays) -> None:
        """A client sends."""
        self._to_coordinator(peer, ev.ClientSpoke(peer, message))

    def from_worker(self, peer: bytes, message: m.WorkerSays) -> None:
        """A worker sends."""
        self._to_coordinator(peer, ev.WorkerSpoke(peer, message))

    def to_peer(self, peer: bytes, message: m.ToClient | m.ToWorker) -> None:
        """The coordinator sends."""
        self._carry(b"to " + peer, self._world.arrive, peer, message)

    def _to_coordinator(self, peer: bytes, event: ev.ClientSpoke | ev.WorkerSpoke) -> None:
        coordinator = self._world.coordinator
        if coordinator is None:
            if len(self._kept) < KEPT:
                self._kept.append(event)
        else:
            self._carry(peer, coordinator.post, event)

    def flush(self) -> None:
        """A coordinator is there again: what was kept leaves now."""
        kept, self._kept = self._kept, []
        for event in kept:
            self._to_coordinator(event.peer, event)

    def _carry(self, wire: bytes, do: Callable[..., None], *args: Any) -> None:
        time, weather = self._world.time, self.weather
        fate = time.random()
        delay_s = weather.delay_s * time.random()
        if fate < weather.drop:
            self._world.ledger.counts["frames dropped"] += 1
            return
        fate -= weather.drop
        if fate < weather.reorder:
            self._world.ledger.counts["frames late"] += 1
            time.soon(weather.late_s, do, *args)
            return
        due_s = max(self._free_s.get(wire, 0.0), time.now_s + delay_s)
        self._free_s[wire] = due_s
        time.after(due_s - time.now_s, do, *args)
        if fate - weather.reorder < weather.double:
            self._world.ledger.counts["frames doubled"] += 1
            time.soon(weather.late_s, do, *args)
