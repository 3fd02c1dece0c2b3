"""The six tests of the original coordinator, as behaviour over real processes."""

import pytest

from tests.support.product import Product

pytestmark = pytest.mark.integration


def test_a_session_is_created(product: Product):
    made = product.json("new", "first", "--type", "debug")

    assert (made["name"], made["number"], made["type"], made["model"]) == ("first", 1, "debug", "scripted")
    assert made["active"]  # the first session created becomes active
    assert product.live("first")["pid"] != product.json("status")["pid"]


def test_several_sessions_each_have_a_process_of_their_own(product: Product):
    for name in ("one", "two", "three"):
        product.run("new", name)
    pids = {product.live(name)["pid"] for name in ("one", "two", "three")}

    assert len(pids) == 3
    assert [s["number"] for s in product.sessions()] == [1, 2, 3]
    assert [s["name"] for s in product.sessions() if s["active"]] == ["one"]


def test_the_session_limit_is_kept_and_names_who_holds_the_slots(product: Product):
    product.configure((product.home / "config.toml").read_text().replace("\n[", "\nmax_active_sessions = 2\n[", 1))
    product.run("new", "one")
    product.run("new", "two")
    refused = product.result("new", "three", "--no-queue")

    assert refused.returncode == 1
    assert "All 2 slots are held, by: one, two." in refused.stderr
    assert [s["name"] for s in product.sessions("--all")] == ["one", "two"]

    product.run("close", "one")
    product.run("new", "three")  # the slot is free when close returns

    assert product.json("status")["sessions"]["live"] == 2


def test_switching_changes_the_active_session(product: Product):
    product.run("new", "one")
    product.run("new", "two")
    switched = product.json("switch", "two")

    assert switched["active"]
    assert [s["name"] for s in product.sessions() if s["active"]] == ["two"]
    assert product.json("switch", "1")["name"] == "one"  # by number
    assert product.json("switch", switched["id"][:6])["name"] == "two"  # by a prefix of the id


def test_closing_ends_the_worker_and_keeps_the_history(product: Product):
    product.run("new", "one")
    product.run("new", "two")
    product.run("switch", "two")
    product.run("send", "two", "remember this")
    closed = product.json("close", "two")

    assert (closed["residency"], closed["pid"]) == ("stopped", None)
    assert [s["name"] for s in product.sessions()] == ["one"]
    assert [s["name"] for s in product.sessions() if s["active"]] == ["one"]  # the most recently used takes over
    assert [row["text"] for row in product.json("history", "two")] == ["remember this", "<remember this>"]
    assert product.json("new", "two")["number"] == 2  # the name is free again


def test_waiting_sessions_are_those_with_an_answer_nobody_has_seen(product: Product):
    product.run("new", "seen")
    product.run("new", "unseen")
    product.run("send", "seen", "hello")
    product.run("send", "unseen", "hello", "--no-wait")
    waiting = product.wait_session("unseen", lambda s: s["unread"])

    assert [s["name"] for s in product.sessions("--waiting")] == ["unseen"]
    assert waiting["display"] == "unread"
    assert waiting["waiting_since"] is not None

    product.run("history", "unseen")

    assert product.sessions("--waiting") == []
