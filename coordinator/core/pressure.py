"""Is memory short, and why? The machine's and our own budget, each with a mark where it begins and one where it ends.

Two marks, because what is done about it (hibernating) takes a moment to show, and because a coordinator that hibernates
and wakes at one and the same mark would do nothing else.
"""

from dataclasses import dataclass

from coordinator.core.events import SystemSampled
from protocol.settings import Settings

# PSI, "some avg10": of the last 10 s, the part in which some task stood still until memory was found for it. A machine
# that is well has 0; from 10 % on a person notices.
STALLED_PERCENT, WELL_PERCENT = 10.0, 5.0
# Memory that programs can get without swapping. A machine without swap may run out of it with hardly a stall before,
# so this is looked at beside PSI, and alone where the kernel has no PSI.
LOW_PART, ENOUGH_PART = 0.05, 0.08
# The budget is kept again when this part of it is used.
BUDGET_PART = 0.9
# What was read so long ago says nothing about now.
STALE_S = 15.0


@dataclass(slots=True)
class Pressure:
    """The last reading of the machine, and what follows from it."""

    system: SystemSampled | None = None
    total_pss_bytes: int = 0
    limit_bytes: int = 0
    tool_limit_bytes: int = 0
    is_machine_short: bool = False
    is_budget_spent: bool = False
    at_s: float = 0.0

    def take(self, system: SystemSampled, workers_pss_bytes: int, settings: Settings, now_s: float) -> None:
        """Take in a reading of the machine.

        Args:
            system: the reading.
            workers_pss_bytes: what all workers have, with everything below them.
            settings: the limits; 0 means a part of the machine.
            now_s: monotonic time in seconds.
        """
        self.system, self.at_s = system, now_s
        self.total_pss_bytes = system.helpers_pss_bytes + workers_pss_bytes
        self.limit_bytes = settings.memory_total_bytes or system.machine_bytes // 2
        self.tool_limit_bytes = settings.tool_memory_bytes or system.machine_bytes // 4
        part, percent = (ENOUGH_PART, WELL_PERCENT) if self.is_machine_short else (LOW_PART, STALLED_PERCENT)
        is_low = system.available_bytes < part * system.machine_bytes
        self.is_machine_short = is_low or (system.pressure_percent or 0.0) >= percent
        mark = BUDGET_PART if self.is_budget_spent else 1.0
        self.is_budget_spent = self.total_pss_bytes > mark * self.limit_bytes

    def expire(self, now_s: float) -> None:
        """Forget what was read too long ago: nobody is refused for it."""
        if self.system is not None and now_s - self.at_s > STALE_S:
            self.is_machine_short = self.is_budget_spent = False

    @property
    def excess_bytes(self) -> int:
        """How much has to go until the budget is kept again."""
        return int(self.total_pss_bytes - BUDGET_PART * self.limit_bytes) if self.is_budget_spent else 0

    @property
    def why(self) -> str | None:
        """Why memory is short, with the numbers; None when it is not."""
        if self.system is None:
            return None
        if self.is_machine_short:
            system = self.system
            stalls = (
                "" if system.pressure_percent is None else f", and tasks waited for memory {_percent(system)} of 10 s"
            )
            return f"the machine has {mib(system.available_bytes)} of {mib(system.machine_bytes)} left{stalls}"
        if self.is_budget_spent:
            return (
                f"all processes together have {mib(self.total_pss_bytes)}, and memory_total_bytes allows "
                f"{mib(self.limit_bytes)}"
            )
        return None


def _percent(system: SystemSampled) -> str:
    return f"{system.pressure_percent:.0f} %"


def mib(count: int) -> str:
    """Return bytes in words."""
    return f"{count / (1 << 20):.1f} MiB" if count < 10 << 30 else f"{count / (1 << 30):.1f} GiB"
