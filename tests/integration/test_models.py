"""Models from the command line: what there is, what is ready, and which one new sessions get."""

import pytest

from tests.support.product import Product

pytestmark = pytest.mark.integration

TWO = """\
# mine
default_model = "one"  # for now

[models.one]
provider = "openai"
model = "m"
base_url = "http://127.0.0.1:1/v1"

[models.two]
provider = "openai"
model = "n"
api_key_env = "SOME_KEY"
"""


def test_models_are_listed_with_what_is_ready(fresh: Product):
    fresh.configure(TWO)
    listed = {model["name"]: model for model in fresh.json("model", "list")}

    assert listed["one"] == {
        "name": "one",
        "provider": "openai",
        "model": "m",
        "base_url": "http://127.0.0.1:1/v1",
        "default": True,
        "tools": True,
        "ready": True,
    }
    assert (listed["two"]["default"], listed["two"]["ready"]) == (False, False)
    assert (listed["embedded"]["ready"], listed["embedded"]["base_url"]) == (False, None)

    fresh.env["SOME_KEY"] = "k"

    assert {m["name"]: m["ready"] for m in fresh.json("model", "list")}["two"]
    assert ">  one" in fresh.run("model", "list")
    assert "k\n" not in fresh.run("model", "list")


def test_a_key_file_that_is_not_there_is_not_ready(product: Product):
    assert [m["ready"] for m in product.json("model", "list") if m["name"] == "scripted"] == [True]

    (product.home.parent / "key").unlink()

    assert [m["ready"] for m in product.json("model", "list") if m["name"] == "scripted"] == [False]


def test_a_model_of_the_anthropic_protocol_is_listed_with_its_default_address(fresh: Product):
    fresh.configure('[models.claude]\nprovider = "anthropic"\nmodel = "m"\n')
    listed = {model["name"]: model for model in fresh.json("model", "list")}["claude"]

    assert (listed["base_url"], listed["ready"]) == ("https://api.anthropic.com", True)


def test_the_chosen_model_is_the_default_of_new_sessions(fresh: Product):
    fresh.configure(TWO)
    said = fresh.run("model", "use", "two")

    assert "default_model is two now" in said
    assert (fresh.home / "config.toml").read_text() == TWO.replace('"one"', '"two"')

    refused = fresh.result("model", "use", "three")

    assert refused.returncode == 1
    assert "no model 'three'" in refused.stderr
    assert "embedded, one, two" in refused.stderr
    assert (fresh.home / "config.toml").read_text() == TWO.replace('"one"', '"two"')

    assert fresh.json("new", "a")["model"] == "two"
    assert "restart the coordinator" in fresh.result("model", "use", "one").stderr
