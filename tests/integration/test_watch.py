"""What `watch` shows: every change of state with its cause, as it happens."""

import itertools
import json
import signal
import subprocess

import pytest

from tests.support.product import COMMAND, Product

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "words"])
def test_every_change_is_a_line_with_its_cause_until_ctrl_c(product: Product, *, as_json: bool):
    product.run("start")
    with subprocess.Popen(
        [COMMAND, "watch", *(["--json"] if as_json else [])],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=product.environment,
    ) as watcher:
        assert watcher.stdout is not None
        assert watcher.stderr is not None
        assert "Following" in watcher.stderr.readline()

        product.run("new", "first")
        lines = [watcher.stdout.readline()]
        product.run("send", "first", "hello", "--no-wait")
        while "unread" not in lines[-1]:
            lines.append(watcher.stdout.readline())
            assert lines[-1]
        watcher.send_signal(signal.SIGINT)

        assert watcher.wait(60) == 0
    if not as_json:
        assert lines[-1] == "first: running -> unread (turn ended)\n"
        return
    changes = [json.loads(line) for line in lines]
    identity = product.session("first")["id"]

    assert {frozenset(change) for change in changes} == {frozenset(["seq", "at", "session", "from", "to", "cause"])}
    assert {change["session"] for change in changes} == {identity}
    assert [change["seq"] for change in changes] == list(range(changes[0]["seq"], changes[0]["seq"] + len(changes)))
    assert [change["to"] for change in changes][-2:] == ["running", "unread"]
    assert all(after["from"] == before["to"] for before, after in itertools.pairwise(changes))
