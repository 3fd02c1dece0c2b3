"""Sessions that grew over years: they wake in bounded memory and are answered."""

import psutil
import pytest

from tests.support.model_server import ModelServer
from tests.support.product import Product
from tests.support.stored import lengthen

pytestmark = pytest.mark.integration

MESSAGES = 100_000


def test_a_session_of_a_hundred_thousand_messages_wakes_in_bounded_memory_and_is_answered(
    product: Product, model: ModelServer
):
    made = product.json("new", "long")
    product.run("send", "long", "first")
    product.run("stop")
    lengthen(product.home / "chat-coord.db", made["id"], MESSAGES, "x" * 30)
    product.run("start")
    coordinator = psutil.Process(product.json("status")["pid"])
    before = coordinator.memory_info().rss
    done = product.json("send", "long", "raw last")

    assert (done["reply"], done["stop_reason"]) == ("last", "completed")
    assert product.session("long")["exit_card"] is None
    assert product.session("long")["messages"] == MESSAGES + 2
    assert 1_000 < len(model.calls[-1].messages) < 10_000
    assert coordinator.memory_info().rss - before < 32 << 20
    assert psutil.Process(product.session("long")["pid"]).memory_info().rss < 256 << 20
