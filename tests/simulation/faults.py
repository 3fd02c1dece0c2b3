"""What goes wrong, and how often: a profile for each episode, so that the run meets storms as well as drizzle."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from coordinator.core import events as ev
from protocol import messages as m
from protocol.settings import Settings
from protocol.views import ChildMemory, Memory, TreeMemory
from tests.simulation.network import CALM, Weather

if TYPE_CHECKING:
    from tests.simulation.workers import Worker
    from tests.simulation.world import World

# So many crashes, then everybody is quiet until all is served, and the books are compared.
CRASHES_A_BARRIER = 20
MACHINE = 4 << 30
SOFT, HARD = Settings().memory_soft_bytes, Settings().memory_hard_bytes


class Faults:
    """The bad luck of one episode. ``calm`` ends it, ``storm`` begins it again."""

    def __init__(self, world: "World") -> None:
        self._world = world
        rng = world.time.rng
        self._every_s = rng.choice((0.1, 0.3, 1.0, 3.0))
        self._crash_point = rng.choice((0.0, 0.01, 0.05, 0.15))
        self._coordinator_point = rng.choice((0.0, 0.005, 0.02))
        self._loss = rng.choice((0.0, 0.01, 0.05))
        self._slow_commits_s = rng.choice((0.001, 0.005, 0.03))
        self._spawn_failures = rng.choice((0.0, 0.05, 0.3))
        self._births_late = rng.choice((0.0, 0.02))
        self.spawn_s = rng.choice((0.005, 0.2))
        self._rate_limits = rng.choice((0.0, 0.02, 0.1))
        self._model_s = rng.choice((0.02, 0.1, 1.0))
        self.disk_is_full = self.descriptors_are_short = False
        self.memory_is_short = self.budget_is_spent = False
        self._fat: dict[tuple[str, int], int] = {}
        self.is_calm = False
        self._weights: dict[Callable[[], None], int] = {
            self._kill_worker: 60,
            self._kill_coordinator: 12,
            self._kill_both: 5,
            self._kill_everybody: 1,
            self._stop_worker: 6,
            self._freeze_coordinator: 2,
            self._fill_disk: 3,
            self._run_short_of_descriptors: 2,
            self._run_short_of_memory: 2,
            self._spend_the_budget: 2,
            self._fatten_worker: 3,
            self._fatten_tools: 2,
            self._drain: 1,
            self._restart: 2,
            self._jump_wall_clock: 3,
            self._suspend: 1,
            self._end_store: 1,
            self._client_dies: 4,
            self._forge: 6,
        }
        self._doers = list(self._weights)
        self._shares = list(self._weights.values())

    # ---- when

    def storm(self) -> None:
        """Let it begin."""
        self.is_calm = False
        self._world.network.weather = Weather(drop=self._loss, double=self._loss, reorder=self._loss)

    def calm(self) -> None:
        """Let it end: the wires carry, the disk takes, stopped processes go on."""
        self.is_calm = True
        self.disk_is_full = self.descriptors_are_short = False
        self.memory_is_short = self.budget_is_spent = False
        self._fat.clear()
        self._world.network.weather = CALM
        for worker in self._world.living():
            worker.resume()
        coordinator = self._world.coordinator
        if coordinator is not None and coordinator.is_frozen:
            coordinator.thaw()

    def strike(self) -> None:
        """One thing goes wrong, and the next will."""
        time = self._world.time
        time.soon(2 * self._every_s, self.strike)
        if not self.is_calm:
            time.rng.choices(self._doers, self._shares)[0]()

    # ---- asked by others on their way

    def _is(self, probability: float) -> bool:
        return not self.is_calm and self._world.time.random() < probability

    def kills_here(self) -> bool:
        """Say whether a worker dies between these two lines."""
        return self._is(self._crash_point)

    def kills_coordinator_here(self, where: str) -> bool:
        """Kill the coordinator between these two lines, perhaps."""
        if self._is(self._coordinator_point):
            self._world.crash(f"coordinator killed {where}")
            self._world.coordinator_ends(None)
            return True
        return False

    def hangs_here(self) -> bool:
        """Say whether a worker stops answering for good."""
        return self._is(0.02)

    def damages_snapshot(self) -> bool:
        """Say whether a snapshot cannot be read."""
        return self._is(0.05)

    def spawn_fails(self) -> bool:
        """Say whether fork has no memory."""
        return self._is(self._spawn_failures)

    def commit_s(self) -> float:
        """How long a transaction takes."""
        return 2 * self._slow_commits_s * self._world.time.random()

    def birth_s(self) -> float:
        """How long a worker takes to its first line; some take longer than they may."""
        return 15.0 if self._is(self._births_late) else 0.01 * self._world.time.random()

    def refuses_request(self) -> float | None:
        """Say for how long the model wants to be left alone, 0 if it does not say; None: it answers."""
        if not self._is(self._rate_limits):
            return None
        return self._world.time.rng.choice((0.0, 0.5, 5.0, 30.0))

    def memory_of(self, worker: "Worker") -> ev.MemorySampled:
        """What the monitor reads of a worker and its tools."""
        key = worker.session, worker.epoch
        uss = self._fat.get(key, 8 << 20)
        tools = MACHINE // 3 if key in self._world.fat_tools and not self.is_calm else 0
        children = (ChildMemory(pid=1, name="make", pss_bytes=tools),) if tools else ()
        tree = TreeMemory(pss_bytes=uss, tree_uss_bytes=uss + tools, tree_pss_bytes=uss + tools, children=children)
        return ev.MemorySampled(*key, Memory(uss_bytes=uss, rss_bytes=uss + (60 << 20)), tree)

    def memory_of_all(self) -> ev.SystemSampled:
        """What the monitor reads of the machine."""
        return ev.SystemSampled(
            machine_bytes=MACHINE,
            available_bytes=MACHINE // (50 if self.memory_is_short else 2),
            helpers_pss_bytes=MACHINE if self.budget_is_spent else 100 << 20,
        )

    def model_s(self) -> float:
        """How long the model takes to its next piece."""
        return (0.02 if self.is_calm else self._model_s) * self._world.time.random()

    # ---- the things

    def _kill_worker(self) -> None:
        living = self._world.living()
        if living:
            worker = self._world.time.rng.choice(living)
            self._world.crash("worker killed")
            worker.die("SIGKILL", None)

    def _kill_coordinator(self) -> None:
        if self._world.coordinator is not None:
            self._world.crash("coordinator killed")
            self._world.coordinator_ends(None)

    def _kill_both(self) -> None:
        if self._world.time.chance(0.5):
            self._kill_worker()
            self._kill_coordinator()
        else:
            self._kill_coordinator()
            self._kill_worker()

    def _kill_everybody(self) -> None:
        self._kill_coordinator()
        for worker in self._world.living():
            self._world.crash("worker killed with everybody")
            worker.die("SIGKILL", None)

    def _stop_worker(self) -> None:
        living = self._world.living()
        if living:
            worker = self._world.time.rng.choice(living)
            worker.is_stopped = True
            self._world.ledger.counts["workers stopped"] += 1
            self._world.time.soon(30.0, worker.resume)

    def _freeze_coordinator(self) -> None:
        coordinator = self._world.coordinator
        if coordinator is not None and not coordinator.is_frozen:
            coordinator.is_frozen = True
            self._world.ledger.counts["coordinators stopped"] += 1
            self._world.time.soon(self._world.time.rng.choice((1.0, 30.0)), coordinator.thaw)

    def _fill_disk(self) -> None:
        self.disk_is_full = True
        self._world.ledger.counts["disks full"] += 1
        self._world.time.soon(3.0, self._free_disk)

    def _free_disk(self) -> None:
        self.disk_is_full = False

    def _run_short_of_descriptors(self) -> None:
        self.descriptors_are_short = True
        self._world.ledger.counts["descriptors short"] += 1
        self._world.time.soon(5.0, self._free_descriptors)

    def _free_descriptors(self) -> None:
        self.descriptors_are_short = False

    def _run_short_of_memory(self) -> None:
        self.memory_is_short = True
        self._world.ledger.counts["memory short"] += 1
        self._world.time.soon(5.0, self._free_memory)

    def _spend_the_budget(self) -> None:
        self.budget_is_spent = True
        self._world.ledger.counts["budgets spent"] += 1
        self._world.time.soon(5.0, self._free_memory)

    def _free_memory(self) -> None:
        self.memory_is_short = self.budget_is_spent = False

    def _fatten_worker(self) -> None:
        living = self._world.living()
        if living:
            worker = self._world.time.rng.choice(living)
            self._fat[worker.session, worker.epoch] = self._world.time.rng.choice((SOFT + 1, HARD + 1))

    def _fatten_tools(self) -> None:
        living = self._world.living()
        if living:
            worker = self._world.time.rng.choice(living)
            self._world.fat_tools.add((worker.session, worker.epoch))

    def _drain(self) -> None:
        self._world.tell(ev.StopAsked(now=self._world.time.chance(0.5)))

    def _restart(self) -> None:
        """Somebody replaces the coordinator by another version of it."""
        client = self._world.time.rng.choice(self._world.clients)
        self._world.network.from_client(client.peer, m.HandOver(request=0))

    def _jump_wall_clock(self) -> None:
        self._world.time.wall_jumps_s += self._world.time.rng.choice((-86_400.0, -1.0, 1.0, 86_400.0))
        self._world.ledger.counts["wall clocks moved"] += 1

    def _suspend(self) -> None:
        self._world.time.suspend(self._world.time.rng.choice((2.0, 8.0, 60.0, 3_600.0)))
        self._world.ledger.counts["suspends"] += 1

    def _end_store(self) -> None:
        if self._world.coordinator is not None:
            self._world.crash("store ended")
            self._world.tell(ev.StoreEnded("a fault of ours"))

    def _client_dies(self) -> None:
        client = self._world.time.rng.choice(self._world.clients)
        if client.is_awake:
            client.leave()
            self._world.time.soon(1.0, self._world.wake_client, client)

    def _forge(self) -> None:
        self._world.forge()
