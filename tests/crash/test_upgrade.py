"""Another version is installed while sessions live: a restart replaces the coordinator, and workers one by one."""

import os

import pytest

from protocol.version import __version__
from tests.support.model_server import ModelServer
from tests.support.product import Product, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.crash]

OTHER = "0.0.1"
# What an interpreter runs before everything else.
PATCH = f"import protocol.version\nprotocol.version.__version__ = {OTHER!r}\n"


def test_a_restart_after_an_upgrade_loses_no_session_and_no_turn(product: Product, model: ModelServer):
    patch = product.home.parent / "older"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(PATCH)
    product.env["PYTHONPATH"] = str(patch)
    product.run("start")
    del product.env["PYTHONPATH"]
    for name in ("idle", "busy", "pinned"):
        product.run("new", name)
        product.run("send", name, f"first {name}")
    product.run("pin", "pinned")
    before = {name: product.live(name)["pid"] for name in ("idle", "busy", "pinned")}
    sender = product.popen("send", "busy", "wait", "--json")
    wait_for(lambda: model.at_once)

    found = {check["name"]: check for check in product.json("doctor", code=1)}
    assert found["version"]["finding"] == f"{__version__} is installed, and the coordinator that runs is {OTHER}."
    assert found["version"]["fix"] == "Run `chat-coord restart`."

    assert product.json("restart")["version"] == __version__
    idle = product.wait_session("idle", lambda s: s["residency"] == "hibernated")
    pinned = product.wait_session("pinned", lambda s: s["residency"] == "live" and s["pid"] != before["pinned"])
    assert product.session("busy")["pid"] == before["busy"]
    os.kill(before["busy"], 0)
    model.gate.set()
    sender.communicate(timeout=60)
    assert sender.returncode == 0
    product.wait_session("busy", lambda s: s["residency"] == "hibernated")

    assert (idle["exit_card"], pinned["exit_card"]) == (None, None)
    assert product.json("send", "busy", "next")["reply"] == "<first busy><wait><next>"
    assert product.json("send", "idle", "next")["reply"] == "<first idle><next>"
    assert product.json("send", "pinned", "next")["reply"] == "<first pinned><next>"
    assert len(model.calls_of("wait")) == 1
    assert product.json("doctor")[-1]["ok"]
    said = [line["message"] for line in product.json("logs", "busy")]
    assert "worker of another version is replaced" in said
