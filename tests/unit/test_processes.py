"""A pid and a start time name a process; a pid alone does not."""

import os
import shutil
import subprocess
import time

import psutil
import pytest

from protocol.processes import is_running, start_ticks

CAT = shutil.which("cat")


@pytest.fixture
def spawn():
    """Start a process that lives until its standard input is closed; none outlives the test."""
    started = []

    def spawn(program=CAT):
        child = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        started.append(child)
        return child

    yield spawn
    for child in started:
        child.stdin.close()
        child.wait()


def test_a_running_process_is_known_by_pid_and_start_time(spawn):
    child = spawn()

    assert is_running(child.pid, start_ticks(child.pid))


@pytest.mark.parametrize("other", [-1, 1])
def test_a_process_with_the_pid_but_another_start_time_is_another(other):
    assert not is_running(os.getpid(), start_ticks(os.getpid()) + other)


def test_the_start_time_is_counted_from_the_machine_s_boot_and_not_from_1970(spawn):
    child = spawn()
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - start_ticks(child.pid) / os.sysconf("SC_CLK_TCK")

    assert -1 < age_s < 30


def test_the_start_times_of_two_processes_lie_as_far_apart_as_the_processes(spawn):
    child = spawn()
    ticks = start_ticks(child.pid) - start_ticks(os.getpid())
    apart_s = psutil.Process(child.pid).create_time() - psutil.Process().create_time()

    assert ticks / os.sysconf("SC_CLK_TCK") == pytest.approx(apart_s, abs=0.05)


def test_a_process_that_ended_and_waits_for_its_parent_runs_no_more(spawn):
    child = spawn()
    ticks = start_ticks(child.pid)
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert start_ticks(child.pid) is None
    assert not is_running(child.pid, ticks)


def test_a_process_that_is_gone_has_no_start_time(spawn):
    child = spawn()
    child.stdin.close()
    child.wait()

    assert start_ticks(child.pid) is None


@pytest.mark.parametrize("name", ["a) Z 1 (b", "two words", "( Z )", "brack)et", "\N{SNOWMAN} Z"])
def test_a_process_may_have_any_name(spawn, tmp_path, name):
    program = tmp_path / name
    program.symlink_to(CAT)
    child = spawn(str(program))

    assert start_ticks(child.pid) >= start_ticks(os.getpid())
