"""An image in a prompt reaches models that take images, through both protocols, and only with its own prompt."""

import base64
import json

import pytest

from tests.support.anthropic_server import AnthropicServer
from tests.support.model_server import ModelServer
from tests.support.product import Product, wait_for

pytestmark = pytest.mark.integration

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def test_an_image_goes_to_models_of_both_protocols_survives_an_ask_and_is_refused_by_others(
    product: Product, model: ModelServer
):
    claude = AnthropicServer()
    folder = product.home.parent / "work"
    folder.mkdir()
    (folder / "dot.png").write_bytes(PIXEL)
    (folder / "big.png").write_bytes(PIXEL + bytes(2_000_000))
    config = (product.home / "config.toml").read_text()
    key = product.home.parent / "key"
    config += (
        f'[models.claude]\nprovider = "anthropic"\nmodel = "scripted"\nbase_url = "{claude.url}"\n'
        f'api_key_file = "{key}"\n[models.blind]\nprovider = "openai"\nmodel = "scripted"\nimages = "no"\n'
        f'base_url = "{model.url}"\napi_key_file = "{key}"\n'
    )
    product.configure(config)
    product.run("start")
    product.run("new", "a", "--cwd", str(folder))
    first = product.json("send", "a", "echo @dot.png", "--file", str(folder / "big.png"))
    url = f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}"

    assert "[image dot.png: image/png, " in first["reply"]
    assert model.calls[-1].images[0] == url
    assert len(model.calls[-1].images) == 2

    use = f"use {json.dumps({'tool': 'run_command', 'arguments': {'command': 'true'}})}"
    product.run("send", "a", use, "--file", str(folder / "dot.png"), "--no-wait")
    ask = wait_for(lambda: next(iter(product.json("inbox")), None))
    product.run("hibernate", "a")
    product.run("approve", ask["id"])
    wait_for(lambda: "[exit code 0]" in product.json("history", "a")[-1]["text"])

    assert model.calls[-1].images == [url]  # that of this prompt alone, and in the next leg as well

    product.run("model", "set", "a", "claude")
    product.run("send", "a", "echo @dot.png")
    blocks = [b for message in claude.bodies[-1]["messages"] for b in message["content"] if isinstance(b, dict)]
    claude.close()

    assert [b["source"]["data"] for b in blocks if b["type"] == "image"] == [base64.b64encode(PIXEL).decode()]

    product.run("model", "set", "a", "blind")
    refused = product.result("send", "a", "echo @dot.png")

    assert refused.returncode == 1
    assert "takes no images" in refused.stderr
