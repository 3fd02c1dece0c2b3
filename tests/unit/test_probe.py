"""What is read of processes that are there, are gone, or are others by now; and when a reading is used again."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from coordinator.shell import probe
from coordinator.shell.probe import Probe, catches, cpu_ns, open_file_named, stat_of
from coordinator.shell.supervisor import Running
from protocol.processes import start_ticks
from tests.support.product import wait_for

MIB = 1 << 20
GROW = """
import sys
for line in sys.stdin:
    held = bytearray(int(line))
    for n in range(0, len(held), 4096): held[n] = 1
    print("grown", flush=True)
"""


def worker_of(pid: int) -> Running:
    return Running("s", 1, pid, start_ticks(pid) or 0)


@pytest.fixture
def child():
    with subprocess.Popen(
        [sys.executable, "-c", GROW], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdin.write("4096\n")
        process.stdin.flush()
        process.stdout.readline()
        yield process
        process.kill()


def grow(child: subprocess.Popen, count: int) -> None:
    child.stdin.write(f"{count}\n")
    child.stdin.flush()
    child.stdout.readline()


def test_the_numbers_agree_with_the_systems_own_within_a_twentieth(child):
    reader = Probe()
    for size in (1 * MIB, 40 * MIB, 2 * MIB):
        grow(child, size)
        facts = reader.look(worker_of(child.pid))
        process = psutil.Process(child.pid)
        own = process.memory_full_info()

        assert facts.uss_bytes == pytest.approx(own.uss, rel=0.05)
        assert facts.pss_bytes == pytest.approx(own.pss, rel=0.05)
        assert facts.rss_bytes == pytest.approx(own.rss, rel=0.05)
        assert facts.tree_uss_bytes == facts.uss_bytes
        assert facts.threads == process.num_threads()
        assert facts.open_files == process.num_fds()
        assert facts.uptime_s == pytest.approx(time.time() - process.create_time(), abs=2)
        assert facts.children == ()


def test_a_process_that_stands_still_is_not_walked_through_again(child, monkeypatch):
    reader = Probe()
    walks = []
    monkeypatch.setattr(probe, "read_tree", lambda worker, read=probe.read_tree: walks.append(1) or read(worker))
    for _ in range(5):
        reader.look(worker_of(child.pid))
    assert walks == [1]

    grow(child, 8 * MIB)
    reader.look(worker_of(child.pid))
    assert walks == [1, 1]

    monkeypatch.setattr(probe, "OLDEST_S", -1.0)
    reader.look(worker_of(child.pid))
    assert walks == [1, 1, 1]


def test_a_child_is_seen_at_once_and_counted(child):
    reader = Probe()
    me = worker_of(os.getpid())
    assert child.pid in {c.pid for c in reader.look(me).children}
    before = reader.look(me)
    with subprocess.Popen(["sleep", "60"]) as other:
        wait_for(lambda: stat_of(other.pid) is not None)
        after = reader.look(me)
        other.kill()

    assert other.pid in {c.pid for c in after.children}
    assert other.pid not in {c.pid for c in before.children}
    assert after.tree_uss_bytes > after.uss_bytes


def test_what_another_thread_started_is_seen_a_little_later(child, monkeypatch):
    reader = Probe()
    me = worker_of(os.getpid())
    reader.look(me)
    started: list[subprocess.Popen] = []
    done = threading.Event()

    def start() -> None:
        started.append(subprocess.Popen(["sleep", "60"]))
        done.wait(20)  # the kernel gives the children of a thread that ends to another

    thread = threading.Thread(target=start)
    thread.start()
    wait_for(lambda: started)
    reader._known["s", 1].threads_s -= probe.CHILDREN_S
    seen = {c.pid for c in reader.look(me).children}
    done.set()
    thread.join()
    started[0].kill()
    started[0].wait()

    assert started[0].pid in seen


def test_a_process_that_is_gone_or_another_by_now_is_none_and_no_error(child):
    reader = Probe()
    worker = worker_of(child.pid)
    assert reader.look(worker._replace(ticks=worker.ticks + 1)) is None
    assert reader.look(worker) is not None
    child.kill()
    wait_for(lambda: stat_of(child.pid) is None)  # a zombie

    assert reader.look(worker) is None
    child.wait()
    assert reader.look(worker) is None
    assert cpu_ns(child.pid) is None
    assert catches(child.pid, signal.SIGUSR1) is False
    assert open_file_named(child.pid, "x") is None


def test_a_process_that_vanishes_between_two_reads_is_none(child, monkeypatch):
    worker = worker_of(child.pid)
    monkeypatch.setattr(probe, "read_tree", lambda _: None)

    assert Probe().look(worker) is None


def test_processor_time_is_that_of_all_threads(child):
    before, used = cpu_ns(child.pid), psutil.Process(child.pid).cpu_times()
    grow(child, 64 * MIB)
    spent_s = (cpu_ns(child.pid) - before) / 1e9
    now = psutil.Process(child.pid).cpu_times()

    assert spent_s == pytest.approx(now.user + now.system - used.user - used.system, abs=0.03)
    assert spent_s > 0


def test_a_signal_is_known_to_be_caught_or_deadly():
    assert catches(os.getpid(), signal.SIGUSR2) is False
    before = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        assert catches(os.getpid(), signal.SIGUSR2) is True
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_a_file_without_a_path_is_found_by_its_whole_name():
    file = os.memfd_create("the-one")
    os.write(file, b"said")
    found = open_file_named(os.getpid(), "the-one")
    try:
        assert os.pread(found, 10, 0) == b"said"
        assert open_file_named(os.getpid(), "the") is None
    finally:
        os.close(file)
        os.close(found)
