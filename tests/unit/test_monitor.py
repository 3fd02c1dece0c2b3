"""Memory of real processes: what is read, how often, and at whose expense."""

import mmap
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from coordinator.core.events import MemorySampled, SystemSampled
from coordinator.shell import monitor
from coordinator.shell.monitor import BUDGET_S, READ_S, REST_S, Helpers, Reader
from coordinator.shell.supervisor import Running
from protocol.processes import start_ticks
from protocol.settings import Settings

MIB = 1 << 20
# Grows by as many MiB as each line says, and says when it has; "child N" starts a child with as many.
GROWS = """
import subprocess, sys
kept, children = [], []
for line in sys.stdin:
    word, _, rest = line.partition(" ")
    if word == "child":
        code = f"import sys, time; b = bytearray({int(rest)} << 20); print(flush=True); time.sleep(600)"
        child = subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE)
        child.stdout.readline()
        children.append(child)
        print(child.pid, flush=True)
    elif word == "kill":
        children[-1].kill()
        children[-1].wait()
        print(flush=True)
    else:
        kept.append(bytearray(int(line) << 20))
        print(flush=True)
for child in children:
    child.kill()
"""


class Grows:
    """A process that grows when it is told to."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", GROWS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.say("0")
        self.pid = self.process.pid
        self.running = Running("a", 1, self.pid, start_ticks(self.pid))

    def say(self, text: str) -> str:
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


@pytest.fixture
def grows():
    process = Grows()
    yield process
    process.close()


def samples(events: list) -> list[MemorySampled]:
    return [event for event in events if isinstance(event, MemorySampled)]


# ---- one process


def test_what_is_read_is_what_psutil_reads(grows):
    grows.say("20")
    ours, theirs = monitor.read(grows.pid), psutil.Process(grows.pid).memory_full_info()

    # What others map of the same files changes between the two looks.
    assert (ours.rss, ours.swap) == (theirs.rss, theirs.swap)
    assert ours.uss == pytest.approx(theirs.uss, rel=0.02)
    assert ours.pss == pytest.approx(theirs.pss, rel=0.02)
    assert monitor.rss_bytes(grows.pid) == theirs.rss
    assert ours.uss > 20 * MIB


def test_without_proc_psutil_reads(grows, monkeypatch):
    before = monitor.read(grows.pid)
    monkeypatch.setattr(monitor, "HAS_PROC", False)

    assert monitor.read(grows.pid) == before
    assert monitor.rss_bytes(grows.pid) == before.rss


def test_what_two_processes_share_counts_once_in_the_sum():
    shared = mmap.mmap(-1, 40 * MIB)
    shared.write(b"x" * (40 * MIB))
    pid = os.fork()
    if pid == 0:
        for page in range(0, 40 * MIB, mmap.PAGESIZE):  # touch it, and copy nothing
            shared[page]
        time.sleep(600)
        os._exit(0)
    try:
        deadline_s = time.monotonic() + 10
        while monitor.read(pid).rss < 40 * MIB and time.monotonic() < deadline_s:
            time.sleep(0.01)
        reading = monitor.read(pid)

        assert reading.rss > 40 * MIB
        assert reading.uss < 20 * MIB
        assert reading.pss < reading.rss - 15 * MIB
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        shared.close()


def test_a_process_that_is_gone_is_no_error(grows):
    worker = grows.running
    grows.process.kill()
    grows.process.wait(10)

    assert monitor.read(worker.pid) is None
    assert monitor.rss_bytes(worker.pid) is None
    assert monitor.read_tree(worker) is None
    assert samples(Reader(Settings()).round([worker], Helpers((worker.pid,), (worker.pid,)), 1.0)) == []


def test_a_zombie_is_no_worker():
    child = subprocess.Popen(["sleep", "600"])
    worker = Running("a", 1, child.pid, start_ticks(child.pid))
    child.kill()
    while start_ticks(child.pid) is not None:
        time.sleep(0.01)

    assert monitor.read_tree(worker) is None
    child.wait()


def test_a_process_that_has_the_pid_now_is_not_charged_to_the_worker(grows):
    assert monitor.read_tree(grows.running._replace(ticks=grows.running.ticks - 1)) is None


def test_the_whole_tree_is_read_and_each_of_it_is_named(grows):
    child = int(grows.say("child 30"))
    event = monitor.read_tree(grows.running)
    own = monitor.read(grows.pid)

    assert [c.pid for c in event.tree.children] == [child]
    assert event.tree.children[0].name.startswith("python")
    assert event.tree.tools_bytes > 30 * MIB
    assert event.tree.tree_uss_bytes > event.memory.uss_bytes + 30 * MIB
    assert event.memory.uss_bytes == pytest.approx(own.uss, abs=MIB)
    assert event.tree.pss_bytes == pytest.approx(own.pss, abs=MIB)
    assert event.tree.tree_pss_bytes == event.tree.pss_bytes + event.tree.tools_bytes


# ---- how often


def test_a_worker_that_does_not_change_is_read_once_and_then_seldom(grows):
    reader = Reader(Settings())
    read = [len(samples(reader.round([grows.running], Helpers(), 100.0 + n))) for n in range(int(REST_S) + 1)]

    assert read == [1] + [0] * (int(REST_S) - 1) + [1]


def test_a_worker_whose_size_moved_is_read_again_but_not_at_once(grows):
    reader = Reader(Settings())
    reader.round([grows.running], Helpers(), 100.0)
    grows.say("2")

    assert samples(reader.round([grows.running], Helpers(), 100.0 + READ_S - 0.1)) == []
    (sample,) = samples(reader.round([grows.running], Helpers(), 100.0 + READ_S))
    assert sample.memory.uss_bytes > 2 * MIB


def test_a_worker_that_grows_fast_or_is_near_the_hard_limit_is_read_at_once(grows):
    reader = Reader(Settings(memory_hard_bytes=40 * MIB))
    reader.round([grows.running], Helpers(), 100.0)
    grows.say("10")
    assert len(samples(reader.round([grows.running], Helpers(), 100.1))) == 1
    assert samples(reader.round([grows.running], Helpers(), 100.2)) == []

    grows.say("22")
    for n in range(3):
        assert len(samples(reader.round([grows.running], Helpers(), 100.3 + n / 10))) == 1


def test_a_worker_over_the_soft_limit_is_read_every_few_seconds(grows):
    reader = Reader(Settings(memory_soft_bytes=16 * MIB))
    grows.say("20")
    read = [len(samples(reader.round([grows.running], Helpers(), 100.0 + n))) for n in range(11)]

    assert read == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]


def test_a_child_is_found_within_seconds_and_then_watched_each_second(grows):
    reader = Reader(Settings(tool_memory_bytes=50 * MIB))
    reader.round([grows.running], Helpers(), 100.0)
    grows.say("child 10")
    found = [len(samples(reader.round([grows.running], Helpers(), 100.0 + n))) for n in range(1, 6)]
    assert sum(found) == 1

    grows.say("child 40")
    (sample,) = samples(reader.round([grows.running], Helpers(), 105.1))
    assert sample.tree.tools_bytes > 50 * MIB
    assert len(sample.tree.children) == 2


def test_scheduled_readings_of_many_workers_keep_within_the_budget_and_nobody_starves(grows, monkeypatch):
    workers = [grows.running._replace(session=f"s{n}") for n in range(200)]
    reader = Reader(Settings())
    reader.round(workers, Helpers(), 100.0)
    spent = []
    seen: list[str] = []
    monkeypatch.setattr(monitor.time, "thread_time", lambda: len(spent) * BUDGET_S / 9.5)
    real = monitor.read_tree
    monkeypatch.setattr(monitor, "read_tree", lambda worker: spent.append(1) or real(worker))
    for n in range(20):
        seen += [event.session for event in samples(reader.round(workers, Helpers(), 100.0 + REST_S + n / 100))]

    assert len(seen) == 200  # ten in a round
    assert sorted(seen) == sorted(worker.session for worker in workers)


# ---- the machine, and what is no worker


def test_the_machine_and_our_other_processes_are_read_each_round(grows):
    grows.say("20")
    system = Reader(Settings()).round([], Helpers((grows.pid,), (grows.pid,)), 1.0)[-1]
    facts = psutil.virtual_memory()

    assert isinstance(system, SystemSampled)
    assert 0 < system.available_bytes < system.machine_bytes <= facts.total
    assert system.coordinator_rss_bytes == pytest.approx(monitor.own_rss_bytes(), abs=4 * MIB)
    assert system.zygote_rss_bytes > 20 * MIB
    assert system.model_server_rss_bytes == system.zygote_rss_bytes
    assert system.helpers_pss_bytes > 20 * MIB + monitor.read(os.getpid()).uss // 2

    none = Reader(Settings()).round([], Helpers(), 1.0)[-1]
    assert (none.zygote_rss_bytes, none.model_server_rss_bytes) == (None, None)


def test_a_helper_that_grew_counts_with_its_new_size(grows):
    reader = Reader(Settings())
    before = reader.round([], Helpers((grows.pid,)), 1.0)[-1]
    grows.say("20")
    after = reader.round([], Helpers((grows.pid,)), 2.0)[-1]

    assert after.helpers_pss_bytes - before.helpers_pss_bytes > 19 * MIB
    assert after.zygote_rss_bytes - before.zygote_rss_bytes > 19 * MIB


def test_stalls_are_read_where_the_kernel_tells_them(tmp_path, monkeypatch):
    file = tmp_path / "memory"
    monkeypatch.setattr(monitor, "PRESSURE", file)
    assert monitor.pressure_percent() is None

    file.write_text("some avg10=12.34 avg60=1.00 avg300=0.10 total=5\nfull avg10=3.00 avg60=0 avg300=0 total=1\n")
    assert monitor.pressure_percent() == 12.34

    file.write_text("nonsense\n")
    assert monitor.pressure_percent() is None


def test_the_limit_of_a_control_group_is_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(monitor, "_groups", lambda: [tmp_path / "none", tmp_path / "unlimited", tmp_path])
    (tmp_path / "unlimited").mkdir()
    (tmp_path / "unlimited" / "memory.max").write_text("max\n")
    (tmp_path / "memory.max").write_text(f"{64 * MIB}\n")
    (tmp_path / "memory.current").write_text(f"{50 * MIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon {10 * MIB}\ninactive_file {20 * MIB}\n")

    assert monitor.machine() == (64 * MIB, 34 * MIB)


def test_the_own_control_group_and_those_around_it_count():
    text = Path("/proc/self/cgroup").read_text()
    groups = list(monitor._groups())

    assert all(group.is_relative_to(monitor.CGROUPS) for group in groups)
    assert bool(groups) == any(line.startswith("0::") for line in text.splitlines())
