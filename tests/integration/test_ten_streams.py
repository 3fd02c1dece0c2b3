"""Ten sessions stream at once: every reply is complete, and none has a piece of another."""

import pytest

from tests.support.model_server import ModelServer
from tests.support.product import Product

pytestmark = pytest.mark.integration


def test_ten_sessions_stream_at_once_and_never_mix(fresh: Product, model: ModelServer):
    product = fresh
    product.use_model(model.url, more="max_concurrent_api_calls = 10")
    names = [f"s{i}x" for i in range(10)]
    for name in names:
        product.run("new", name)
    readers = {name: product.popen("send", name, f"count 120 {name}-") for name in names}
    printed = {name: reader.communicate(timeout=60)[0] for name, reader in readers.items()}

    for name in names:
        assert printed[name] == "".join(f"{name}-{i};" for i in range(120)) + "\n"
    assert model.most_at_once == 10
    assert len({product.session(name)["pid"] for name in names}) == 10
