"""Tables ``[types.NAME]`` and ``[templates.NAME]``, and the tables of tools within them."""

from pathlib import Path

import pytest

from client.config_file import entries, set_values
from protocol.errors import ConfigBad
from protocol.limits import SYSTEM_BYTES
from protocol.paths import Home
from protocol.settings import load_with_origins

WHOLE = """
[types.review]
system = "Be strict."
[types.review.tools.write_file]
rule = "ask"
allow = ["docs"]

[templates.quick]
type = "debug"
model = "embedded"
[templates.quick.tools.run_command]
rule = "allow"
"""


def load(path: Path, text: str):
    path.write_text(text)
    return load_with_origins(path, {})


def test_every_key_is_read_and_its_origin_known(tmp_path: Path):
    loaded = load(tmp_path / "config.toml", WHOLE)
    review, quick = loaded.settings.types["review"], loaded.settings.templates["quick"]

    assert (review.system, review.tools["write_file"].rule, review.tools["write_file"].allow) == (
        "Be strict.",
        "ask",
        ["docs"],
    )
    assert (quick.type, quick.model, quick.system, quick.cwd) == ("debug", "embedded", None, None)
    assert quick.tools["run_command"].rule == "allow"
    assert loaded.origins["types.review.system"] == "file"
    assert loaded.origins["types.review.tools.write_file.rule"] == "file"
    assert loaded.origins["types.review.tools.write_file.deny"] == "default"
    assert loaded.origins["templates.quick.system"] == "default"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[types.poetry]", "types.poetry"),
        ("[types.review]\nsystem = 1", "types.review.system"),
        ("[types.review]\nmodel = 'x'", "types.review.model"),
        ("[types.review.tools.fly]", "types.review.tools.fly"),
        ("[types.review.tools.run_command]\nallow = ['x']", "types.review.tools.run_command"),
        ("[types.review.tools.run_command]\nrule = 'maybe'", "types.review.tools.run_command.rule"),
        ("[types.review]\ntools = 1", "types.review"),
        ("types = 1", "types"),
        ("types.review = 1", "types.review"),
        ("[templates.'a.b']", "templates.a.b"),
        ("[templates.a]\ntype = 'poetry'", "templates.a.type"),
        ("[templates.a]\nmodel = 'none'", "templates.a.model"),
        (f"[types.review]\nsystem = '{'x' * (SYSTEM_BYTES + 1)}'", "types.review.system"),
        ("auto_names = 1", "auto_names"),
        ("name_max_length = 65", "name_max_length"),
    ],
)
def test_a_bad_value_is_refused_with_its_key(tmp_path: Path, text: str, key: str):
    with pytest.raises(ConfigBad, match=key):
        load(tmp_path / "config.toml", text)


def test_keys_within_are_set_and_taken_out_from_the_command_line(tmp_path: Path):
    home = Home(tmp_path)
    set_values(home, [("types.review.tools.run_command.rule", "deny"), ("templates.t.type", "debug")])
    set_values(home, [("types.review.system", "Be strict."), ("auto_names", "false")])
    found = {entry.key: entry.value for entry in entries(home)}

    assert found["types.review.tools.run_command.rule"] == "deny"
    assert found["templates.t.type"] == "debug"
    assert found["types.review.system"] == "Be strict."
    assert found["auto_names"] is False
    set_values(home, [("types.review.system", "")])
    assert {entry.key: entry.value for entry in entries(home)}["types.review.system"] is None


@pytest.mark.parametrize("key", ["types.review.tools", "types.review.tools.fly.rule", "templates.t.tools.run_command"])
def test_what_is_no_key_cannot_be_set(tmp_path: Path, key: str):
    with pytest.raises(ConfigBad):
        set_values(Home(tmp_path), [(key, "x")])
