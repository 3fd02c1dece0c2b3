"""Settings from the command line: where a value comes from, and a file that keeps its owner's hand."""

import json
import os
import stat

import pytest

from protocol.settings import TABLES, Settings
from tests.support.product import Product

pytestmark = pytest.mark.integration

WRITTEN = """\
# my settings
max_active_sessions = 3   # not more

[models.a]  # the first
model = "m"
provider = "openai" # over there
# the end
"""


def origins(product: Product) -> dict[str, tuple[object, str]]:
    return {entry["key"]: (entry["value"], entry["origin"]) for entry in product.json("config", "show")}


def test_show_lists_every_key_with_its_origin(fresh: Product):
    fresh.configure(WRITTEN)
    fresh.env["CHAT_COORD_RESTART_LIMIT"] = "2"
    listed = fresh.json("config", "show")
    found = origins(fresh)

    assert set(listed[0]) == {"key", "value", "origin", "allowed", "description"}
    assert set(Settings.__struct_fields__) - TABLES == {key for key in found if "." not in key}
    assert found["max_active_sessions"] == (3, "file")
    assert found["restart_limit"] == (2, "environment")
    assert found["restart_window_s"] == (60.0, "default")
    assert found["models.a.model"] == ("m", "file")
    assert found["models.a.api_key_env"] == (None, "default")
    assert listed[0]["allowed"] == "a whole number from 1 to 10000"

    table = fresh.run("config", "show")

    assert "max_active_sessions 3 file" in " ".join(table.split())
    assert "a whole number from 1 to 10000" in table
    assert not list(fresh.home.glob("logs"))  # looking makes nothing


def test_get_prints_the_value_alone(fresh: Product):
    fresh.configure(WRITTEN)

    assert fresh.run("config", "get", "max_active_sessions") == "3\n"
    assert fresh.run("config", "get", "restart_window_s") == "60\n"
    assert fresh.json("config", "get", "models.a.provider")["value"] == "openai"
    assert "there is no key 'colour'" in fresh.result("config", "get", "colour").stderr
    assert "no model 'b'" in fresh.result("config", "get", "models.b.model").stderr
    assert fresh.result("config", "get", "models").returncode == 78


def test_set_keeps_comments_and_order_and_the_file_private(fresh: Product):
    fresh.configure(WRITTEN)
    (fresh.home / "config.toml").chmod(0o644)
    said = fresh.run("config", "set", "max_active_sessions", "7", "models.a.model", "n", "pass_env", "A,B")

    text = (fresh.home / "config.toml").read_text()

    assert "max_active_sessions is 7 now" in said
    assert text == WRITTEN.replace("= 3 ", "= 7 ").replace('"m"', '"n"').replace(
        "# not more\n", '# not more\npass_env = ["A", "B"]\n'
    )
    assert stat.S_IMODE((fresh.home / "config.toml").stat().st_mode) == 0o600
    assert not list(fresh.home.glob(".config*"))


def test_a_whole_model_is_set_at_once_and_taken_out_by_key(fresh: Product):
    fresh.run(
        *("config", "set", "models.gpt-4.1.provider", "openai", "models.gpt-4.1.model", "x"),
        *("models.gpt-4.1.api_key_env", "KEY", "default_model", "gpt-4.1"),
    )

    assert origins(fresh)["models.gpt-4.1.api_key_env"] == ("KEY", "file")
    assert origins(fresh)["default_model"] == ("gpt-4.1", "file")

    fresh.run("config", "set", "models.gpt-4.1.api_key_env", "", "models.gpt-4.1.api_key_file", "/k")

    assert origins(fresh)["models.gpt-4.1.api_key_env"] == (None, "default")
    assert origins(fresh)["models.gpt-4.1.api_key_file"] == ("/k", "file")


@pytest.mark.parametrize(
    ("words", "said", "hint"),
    [
        (("max_active_sessions", "0"), "max_active_sessions", "from 1 to 10000"),
        (("max_active_sessions", "many"), "max_active_sessions", "from 1 to 10000"),
        (("models.a.context_tokens", "3"), "models.a.context_tokens", "from 256 to 100000000"),
        (("models.a.provider", "nobody"), "models.a.provider", '"openai" or "anthropic" or "local"'),
        (("models.a.model", ""), "the key model is missing", "Say which model"),
        (("models.b.model", "x"), "provider", "tables [models.NAME]"),
        (("models.a.colour", "red"), "no key 'models.a.colour'", "Keys of a model are: provider"),
        (("colour", "red"), "no key 'colour'", "Keys are: "),
        (("restart_limit", "9", "colour", "red"), "no key 'colour'", "Keys are: "),
        (("default_model", "nobody"), "'nobody' for default_model", "Models: a, embedded"),
    ],
)
def test_a_bad_value_leaves_with_78_and_the_file_untouched(fresh: Product, words, said, hint):
    fresh.configure(WRITTEN)
    before = (fresh.home / "config.toml").stat()
    refused = fresh.result("config", "set", *words)
    after = (fresh.home / "config.toml").stat()
    first, second = refused.stderr.strip().splitlines()

    assert refused.returncode == 78
    assert said in first
    assert hint in second
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert (fresh.home / "config.toml").read_text() == WRITTEN


def test_a_value_without_a_key_is_wrong_usage(fresh: Product):
    assert fresh.result("config", "set", "max_active_sessions").returncode == 2
    assert fresh.result("config", "set").returncode == 2
    assert not fresh.home.exists()


def test_set_mends_the_bad_value_of_a_file_and_names_a_file_that_is_no_toml(fresh: Product):
    fresh.configure("max_active_sessions = 0\n")

    assert fresh.result("config", "show").returncode == 78

    fresh.run("config", "set", "max_active_sessions", "1")

    assert fresh.run("config", "get", "max_active_sessions") == "1\n"

    fresh.configure("max_active_sessions 1\n")
    refused = fresh.result("config", "set", "max_active_sessions", "2")

    assert refused.returncode == 78
    assert "is not valid TOML" in refused.stderr


def test_a_variable_that_comes_before_the_file_is_named(fresh: Product):
    fresh.env["CHAT_COORD_RESTART_LIMIT"] = "2"
    done = fresh.result("config", "set", "restart_limit", "3")

    assert "CHAT_COORD_RESTART_LIMIT is set" in done.stderr
    assert origins(fresh)["restart_limit"] == (2, "environment")


def test_a_link_to_a_file_elsewhere_stays_a_link(fresh: Product):
    fresh.home.mkdir(mode=0o700)
    elsewhere = fresh.home.parent / "dotfile.toml"
    elsewhere.write_text("# mine\n")
    (fresh.home / "config.toml").symlink_to(elsewhere)
    fresh.run("config", "set", "restart_limit", "3")

    assert (fresh.home / "config.toml").is_symlink()
    assert elsewhere.read_text() == "# mine\nrestart_limit = 3\n"


def test_a_running_coordinator_takes_it_at_its_next_start(product: Product):
    assert "restart the coordinator" not in product.result("config", "set", "max_active_sessions", "4").stderr

    product.run("start")
    done = product.result("config", "set", "max_active_sessions", "5", "--json")

    assert "Hint: restart the coordinator" in done.stderr
    assert [entry["value"] for entry in json.loads(done.stdout)] == [5]
    assert product.json("status")["sessions"]["max_active"] == 4

    product.run("stop")
    product.run("start")

    assert product.json("status")["sessions"]["max_active"] == 5


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_cannot_be_read_is_named(fresh: Product):
    fresh.configure("")
    (fresh.home / "config.toml").chmod(0)

    assert "cannot be read" in fresh.result("config", "set", "restart_limit", "3").stderr
