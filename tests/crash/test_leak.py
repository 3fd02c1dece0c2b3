"""A worker that leaks 50 MB each second: everybody can see it, the limits act, and the exit card says what it was."""

import re
from pathlib import Path

import pytest

from tests.support.model_server import ModelServer
from tests.support.product import Product, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.crash]

MIB = 1 << 20
# What every forked worker runs beside its work: a thread that leaks once a file names its session.
LEAK = """
import os, threading, time
from pathlib import Path

def leak(kept=[]):
    while not Path({file!r}).exists() or Path({file!r}).read_text() not in os.environ.get("CHAT_COORD_WORKER", ""):
        time.sleep(0.1)
    while True:
        kept.append(b"x" * 5_000_000)
        time.sleep(0.1)

os.register_at_fork(after_in_child=lambda: threading.Thread(target=leak, daemon=True).start())
"""


def test_a_leak_of_fifty_megabytes_a_second_is_seen_stopped_and_told(product: Product, model: ModelServer):
    folder = product.home.parent / "leaking"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(LEAK.format(file=str(folder / "who")))
    product.env["PYTHONPATH"] = str(folder)
    product.use_model(model.url, more=f"memory_hard_bytes = {240 * MIB}\n")
    product.run("new", "a")
    product.run("new", "b")
    a, b = product.live("a"), product.live("b")
    product.run("send", "a", "wait", "--no-wait")  # the soft limit leaves it alone while it works
    wait_for(lambda: model.at_once)

    def top() -> dict:
        return next(s for s in product.json("top", "--once")["sessions"] if s["name"] == "a")

    quiet = wait_for(lambda: next((s for s in [top()] if s["memory"]["uss_bytes"]), None))
    (folder / "who").write_text(a["id"])
    fat = wait_for(lambda: next((s for s in [top()] if (s["memory"]["uss_bytes"] or 0) > 100 * MIB), None))
    line = next(line for line in product.run("top", "--once").splitlines() if re.search(r"\ba\b", line))
    killed = product.wait_session("a", lambda s: s["exit_card"] is not None)
    (folder / "who").unlink()
    card = killed["exit_card"]
    model.gate.set()
    after = product.live("a") if killed["pid"] else product.json("wake", "a")

    assert quiet["memory"]["uss_bytes"] < 40 * MIB
    assert fat["history"][-1] > 60 * MIB
    assert re.search(r" [12]\d\d\.\dM .*[▅▆▇█]", line), line
    assert card["signal"] == "SIGKILL"
    had, allowed = (float(n) for n in re.findall(r"([\d.]+) MiB", card["reason"]))
    assert "memory_hard_bytes" in card["reason"]
    assert (allowed, card["oom_suspected"]) == (240.0, False)
    assert 240 < had < 500
    assert after["pid"] != a["pid"]
    assert product.json("send", "a", "next")["reply"] == "<wait><next>"

    (folder / "who").write_text(b["id"])
    slept = product.wait_session("b", lambda s: s["residency"] == "hibernated")
    (folder / "who").unlink()
    assert slept["exit_card"] is None  # the soft limit put it to sleep; nothing crashed
    said = [line for line in product.json("logs", "b") if line["message"] == "hibernated for its size"]
    assert said[0]["uss_bytes"] > said[0]["limit_bytes"] == 52_428_800
    assert not Path(f"/proc/{b['pid']}").exists()
