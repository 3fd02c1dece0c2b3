"""What the zygote does before the first fork: a worker's first minute is played, and the heap's holes are filled.

Each runs in an interpreter of its own: both change what later forks share.
"""

import json
import subprocess
import sys

import pytest

STATE = """
import json, logging, os, signal, sys, threading
def state():
    return {
        "threads": len(os.listdir("/proc/self/task")),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "handlers": len(logging.getLogger().handlers),
        "signals": [str(signal.getsignal(n)) for n in (signal.SIGTERM, signal.SIGINT)],
        "scratch": [n for n in os.listdir(os.environ["TMPDIR"])],
    }
"""
REHEARSED = """
from workers import rehearsal
heard = []
before = state()
answers = rehearsal.Prompter._answers
def listen(prompter, said):
    heard.append(type(said).__name__)
    return answers(prompter, said)
rehearsal.Prompter._answers = listen
rehearsal.rehearse()
after = state()
rehearsal.SAID = "hot"
try:
    rehearsal.rehearse()
except RuntimeError as error:
    print(json.dumps({"heard": heard, "before": before, "after": after, "wrong": str(error)}))
"""
# Half of the small blocks of a heap are free, in no order; then a child takes some, and says what it owns.
HOLES = """
import gc, os, sys
gc.disable()
kept = [[bytes(size) for _ in range(20_000)] for size in range(15, 400, 48)]
for blocks in kept:
    del blocks[::2]
from workers import heap
if sys.argv[1] == "with": heap.freeze()
else: gc.freeze()
def own_kib():
    with open("/proc/self/smaps_rollup") as rollup:
        return sum(int(line.split()[1]) for line in rollup if line.startswith("Private_Dirty:"))
read, write = os.pipe()
if os.fork() == 0:
    before = own_kib()
    more = [bytes(size) for size in range(15, 400, 48) for _ in range(200)]
    os.write(write, str(own_kib() - before).encode())
    os._exit(0)
os.wait()
print(os.read(read, 99).decode())
"""


def in_its_own_interpreter(tmp_path: object, source: str, *arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", source, *arguments],
        capture_output=True, text=True, timeout=60, check=False, env={"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_worker_lives_from_its_hello_to_its_snapshot_and_leaves_nothing_behind(tmp_path: object):
    facts = json.loads(in_its_own_interpreter(tmp_path, STATE + REHEARSED))

    said = set(facts["heard"])
    assert {"Hello", "Restored", "PermitWanted", "PermitReturned", "Started", "Delta", "Reply", "SnapshotTaken"} <= said
    assert facts["after"] == facts["before"]
    assert "text='warm'" in facts["wrong"]  # another reply than the model's is an error


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="only CPython tells where its holes are")
def test_a_child_of_a_heap_without_holes_takes_new_pages_and_few(tmp_path: object):
    scattered = int(in_its_own_interpreter(tmp_path, HOLES, "without"))
    dense = int(in_its_own_interpreter(tmp_path, HOLES, "with"))

    assert dense < scattered * 0.7
