"""Settings: a bad value stops the start with file, key and the allowed range."""

import re

import pytest

from protocol.errors import EXIT_CONFIG, ConfigBad
from protocol.settings import (
    EMBEDDED,
    TABLES,
    ModelSettings,
    Settings,
    ToolSettings,
    allowed,
    description,
    load_settings,
    load_with_origins,
    parse,
)

RANGES = [
    ("max_active_sessions", 1, 10_000, "a whole number"),
    ("buffer_size_bytes", 1_024, 1 << 30, "a whole number"),
    ("start_timeout_s", 0.1, 600, "a number"),
    ("restart_limit", 0, 1_000_000, "a whole number"),
    ("restart_window_s", 1, 86_400, "a number"),
    ("model_idle_s", 1, 31_536_000, "a number"),
]
OUTSIDE = [
    (key, value, f"Allowed: {kind} from {least} to {most}.")
    for key, least, most, kind in RANGES
    for value in (least - 1, most + 1)
]
MODEL_TABLES = (
    'tables [models.NAME] with provider = "openai", "anthropic" or "local", base_url, model, api_key_env or '
    "api_key_file"
)
MODEL = '[models.big]\nprovider = "openai"\nmodel = "m"\n'


@pytest.fixture
def path(tmp_path):
    return tmp_path / "config.toml"


@pytest.fixture
def load(path):
    """Load a configuration with this text and these variables, none of the real ones."""

    def load(text="", **environment):
        path.write_text(text, encoding="utf-8")
        return load_settings(path, environment)

    return load


# ---- where a value comes from


def test_without_a_file_the_documented_defaults_are_in_force(path):
    assert load_settings(path, {}) == Settings(
        max_active_sessions=10,
        buffer_size_bytes=10_485_760,
        start_timeout_s=10.0,
        restart_limit=5,
        restart_window_s=60.0,
        launcher="local",
        pass_env=[],
        default_model="embedded",
        models={},
    )


def test_the_file_comes_before_the_default(load):
    assert load("max_active_sessions = 3").max_active_sessions == 3


def test_the_environment_comes_before_the_file(load):
    settings = load("max_active_sessions = 3\nrestart_limit = 2", CHAT_COORD_MAX_ACTIVE_SESSIONS="4")

    assert (settings.max_active_sessions, settings.restart_limit) == (4, 2)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("max_active_sessions", "4", 4),
        ("buffer_size_bytes", "2048", 2048),
        ("start_timeout_s", "2.5", 2.5),
        ("restart_limit", "0", 0),
        ("restart_window_s", "90", 90.0),
        ("launcher", "spawn", "spawn"),
        ("pass_env", "ONE,TWO", ["ONE", "TWO"]),
        ("pass_env", "ONE,,TWO,", ["ONE", "TWO"]),
        ("pass_env", "", []),
        ("default_model", "big", "big"),
    ],
)
def test_every_key_can_come_from_the_environment(load, key, text, value):
    settings = load(MODEL, **{f"CHAT_COORD_{key.upper()}": text})

    assert getattr(settings, key) == value


def test_a_flag_comes_before_the_environment(path):
    path.write_text('launcher = "local"')
    settings = load_settings(path, {"CHAT_COORD_LAUNCHER": "local"}, {"launcher": "spawn"})

    assert settings.launcher == "spawn"


def test_a_bad_flag_is_named(path):
    with pytest.raises(ConfigBad, match=r"^--launcher: launcher: ") as caught:
        load_settings(path, {}, {"launcher": "thread"})

    assert caught.value.hint == 'Allowed: "local" or "spawn".'


def test_the_process_environment_is_asked_when_none_is_given(path, monkeypatch):
    monkeypatch.setenv("CHAT_COORD_MAX_ACTIVE_SESSIONS", "7")

    assert load_settings(path).max_active_sessions == 7


def test_models_come_from_the_file_alone(load):
    assert load(MODEL, CHAT_COORD_MODELS="nonsense").models.keys() == {"big"}


# ---- ranges


@pytest.mark.parametrize(("key", "least", "most", "kind"), RANGES)
def test_both_ends_of_a_range_are_allowed(load, key, least, most, kind):
    ends = [getattr(load(f"{key} = {value}"), key) for value in (least, most)]

    assert ends == [least, most]


@pytest.mark.parametrize(("key", "value", "allowed"), OUTSIDE)
def test_a_value_outside_its_range_names_file_key_and_range(load, path, key, value, allowed):
    with pytest.raises(ConfigBad) as caught:
        load(f"{key} = {value}")

    assert caught.value.message.startswith(f"{path}: {key}: ")
    assert caught.value.hint == allowed
    assert caught.value.exit_code == EXIT_CONFIG


@pytest.mark.parametrize(("key", "value", "allowed"), OUTSIDE)
def test_a_variable_outside_its_range_names_variable_key_and_range(load, key, value, allowed):
    with pytest.raises(ConfigBad) as caught:
        load(**{f"CHAT_COORD_{key.upper()}": str(value)})

    assert caught.value.message.startswith(f"CHAT_COORD_{key.upper()}: {key}: ")
    assert caught.value.hint == allowed


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("max_active_sessions", '"10"', "a whole number from 1 to 10000"),
        ("max_active_sessions", "true", "a whole number from 1 to 10000"),
        ("max_active_sessions", "2.5", "a whole number from 1 to 10000"),
        ("max_active_sessions", "[3]", "a whole number from 1 to 10000"),
        ("max_active_sessions", "1" + "0" * 40, "a whole number from 1 to 10000"),
        ("restart_window_s", '"60"', "a number from 1 to 86400"),
        ("restart_window_s", "nan", "a number from 1 to 86400"),
        ("restart_window_s", "inf", "a number from 1 to 86400"),
        ("restart_window_s", "1979-05-27", "a number from 1 to 86400"),
        ("pass_env", '"ONE"', "a list of texts"),
        ("pass_env", '["ONE", 2]', "a list of texts"),
        ("launcher", '"thread"', '"local" or "spawn"'),
        ("default_model", "5", "a text"),
        ("models", "5", MODEL_TABLES),
        ("models", "[]", MODEL_TABLES),
    ],
)
def test_a_value_of_the_wrong_type_names_file_key_and_what_is_allowed(load, path, key, value, allowed):
    with pytest.raises(ConfigBad) as caught:
        load(f"{key} = {value}")

    assert caught.value.message.startswith(f"{path}: {key}")
    assert caught.value.hint == f"Allowed: {allowed}."


@pytest.mark.parametrize("text", ["", "many", "2.5", "0x10", "nan", "true"])
def test_a_variable_that_is_no_number_is_named(load, text):
    with pytest.raises(ConfigBad, match=r"^CHAT_COORD_MAX_ACTIVE_SESSIONS: max_active_sessions: "):
        load(CHAT_COORD_MAX_ACTIVE_SESSIONS=text)


def test_the_place_of_a_bad_item_in_a_list_is_named(load):
    with pytest.raises(ConfigBad, match=r"pass_env\[\d\]"):
        load('pass_env = ["ONE", 2]')


# ---- the file


def test_an_unknown_key_is_refused_and_the_known_ones_are_listed(load, path):
    with pytest.raises(ConfigBad, match=f"^{re.escape(str(path))}: there is no key 'max_sessions'") as caught:
        load("max_sessions = 3")

    assert all(key in caught.value.hint for key in Settings.__struct_fields__)


def test_a_file_that_is_no_toml_is_named_with_the_line(load, path):
    with pytest.raises(ConfigBad, match=r"is not valid TOML.*line 2") as caught:
        load("restart_limit = 1\nmax_active_sessions 3\n")

    assert str(path) in caught.value.message


def test_a_file_that_is_not_utf8_is_refused(path):
    path.write_bytes(b'default_model = "\xff"')

    with pytest.raises(ConfigBad, match="is not valid TOML"):
        load_settings(path, {})


def test_a_file_that_cannot_be_read_is_named_with_the_reason(path):
    path.mkdir()

    with pytest.raises(ConfigBad, match="cannot be read: Is a directory") as caught:
        load_settings(path, {})

    assert str(path) in caught.value.message


# ---- models


def test_a_table_of_models_is_read_whole(load):
    settings = load(MODEL + 'base_url = "http://127.0.0.1:1/v1"\napi_key_env = "KEY"\ncontext_tokens = 8192')

    assert settings.models["big"] == ModelSettings(
        provider="openai", base_url="http://127.0.0.1:1/v1", model="m", api_key_env="KEY", context_tokens=8192
    )


@pytest.mark.parametrize("key", ["api_key_env", "api_key_file"])
def test_a_key_may_come_from_a_variable_or_from_a_file(load, key):
    assert getattr(load(f'{MODEL}{key} = "it"').models["big"], key) == "it"


def test_a_local_model_needs_no_address(load):
    settings = load('[models.big]\nprovider = "local"\nmodel = "/m.gguf"\nbase_url = ""')

    assert settings.models["big"].provider == "local"


def test_the_embedded_model_is_always_there(load):
    models = load(MODEL).all_models()

    assert models.keys() == {EMBEDDED, "big"}
    assert models[EMBEDDED].provider == "local"


def test_a_configured_model_can_be_the_default(load):
    assert load(f'default_model = "big"\n{MODEL}').default_model == "big"


def test_an_unknown_default_model_is_refused_and_the_known_ones_are_listed(load, path):
    with pytest.raises(ConfigBad) as caught:
        load(f'default_model = "bigger"\n{MODEL}')

    assert str(path) in caught.value.message
    assert "'bigger' for default_model" in caught.value.message
    assert caught.value.hint == "Models: big, embedded."


@pytest.mark.parametrize("name", ["a b", "", "-x", "a/b", "x" * 65, "é", ".."])
def test_a_models_name_of_other_characters_is_refused(load, path, name):
    with pytest.raises(ConfigBad) as caught:
        load(MODEL.replace("big", f'"{name}"'))

    assert caught.value.message == f"{path}: models.{name}: that is no name for a model."


@pytest.mark.parametrize("name", ["a", "gpt-4.1_mini", "7b", "x" * 64])
def test_a_models_name_may_have_letters_digits_dots_dashes_and_underscores(load, name):
    assert load(MODEL.replace("big", f'"{name}"')).models.keys() == {name}


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ('model = "m"', "provider"),
        ('provider = "nobody"\nmodel = "m"', "provider"),
        ('provider = "openai"', "the key model is missing"),
        ('provider = "openai"\nmodel = ""', "the key model is missing"),
        ('provider = "openai"\nmodel = 5', "model"),
        ('provider = "openai"\nmodel = "m"\ncolour = 1', "colour"),
        ('provider = "openai"\nmodel = "m"\ncontext_tokens = 255', "context_tokens"),
        ('provider = "openai"\nmodel = "m"\ncontext_tokens = 100000001', "context_tokens"),
        ('provider = "openai"\nmodel = "m"\nbase_url = "ftp://host"', "base_url is no http or https address"),
        ('provider = "openai"\nmodel = "m"\nbase_url = "host/v1"', "base_url is no http or https address"),
        ('provider = "openai"\nmodel = "m"\napi_key_env = "A"\napi_key_file = "b"', "are both given"),
    ],
)
def test_a_bad_table_of_a_model_names_file_and_reason(load, path, table, reason):
    with pytest.raises(ConfigBad) as caught:
        load(f"[models.big]\n{table}")

    assert caught.value.message.startswith(f"{path}: ")
    assert "models" in caught.value.message
    assert reason in caught.value.message
    assert caught.value.hint


# ---- origins


def test_every_value_has_its_origin(path):
    path.write_text(f"restart_limit = 2\nmax_active_sessions = 3\n{MODEL}")
    origins = load_with_origins(path, {"CHAT_COORD_MAX_ACTIVE_SESSIONS": "4"}).origins

    assert origins["restart_limit"] == origins["models"] == origins["models.big.model"] == "file"
    assert origins["max_active_sessions"] == "environment"
    assert origins["pass_env"] == origins["models.big.base_url"] == "default"


def test_every_key_says_what_it_does_and_what_is_allowed():
    keys = [key for key in Settings.__struct_fields__ if key not in TABLES]
    keys += [f"models.NAME.{key}" for key in ModelSettings.__struct_fields__]
    keys += [f"tools.NAME.{key}" for key in ToolSettings.__struct_fields__]

    assert all(description(key).endswith(".") and allowed(key) for key in keys)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("restart_limit", "3", 3),
        ("pass_env", "A,B", ["A", "B"]),
        ("models.gpt-4.1.context_tokens", "300", 300),
        ("models.a.context_tokens", "", None),
        ("models.a.api_key_env", "", None),
        ("models.a.model", "", ""),
    ],
)
def test_text_becomes_a_keys_value(key, text, value):
    assert parse("here", key, text) == value


@pytest.mark.parametrize("key", ["models", "models.a", "models.", "models..", "nothing", "models.a.nothing", ""])
def test_a_key_that_is_in_no_schema_is_refused(key):
    with pytest.raises(ConfigBad, match=r"^here: there is no key"):
        parse("here", key, "1")


def test_a_default_model_of_the_environment_that_is_unknown_is_blamed_on_its_variable(tmp_path):
    with pytest.raises(ConfigBad, match="CHAT_COORD_DEFAULT_MODEL: there is no model 'nope'"):
        load_settings(tmp_path / "config.toml", {"CHAT_COORD_DEFAULT_MODEL": "nope"})


@pytest.mark.parametrize("address", ["http://[::1", "http://", "ftp://x", "nonsense"])
def test_an_address_that_cannot_be_one_is_refused(tmp_path, address):
    path = tmp_path / "config.toml"
    path.write_text(f'[models.x]\nprovider = "openai"\nmodel = "m"\nbase_url = "{address}"\n')

    with pytest.raises(ConfigBad, match=r"models\.x: base_url is no http or https address"):
        load_settings(path, {})


def test_a_bad_key_of_a_model_is_named_with_its_model_and_its_range(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('[models.x]\nprovider = "openai"\nmodel = "m"\ncontext_tokens = 5\n')

    with pytest.raises(ConfigBad, match=r"models\.x\.context_tokens") as caught:
        load_settings(path, {})

    assert "from 256 to 100000000" in caught.value.hint


@pytest.mark.parametrize("model_file", ["m.gguf", "/m.bin", "m"])
def test_a_local_model_is_an_absolute_path_of_a_gguf_file(load, model_file):
    with pytest.raises(ConfigBad, match=r"models\.big: model is no absolute path of a \.gguf file"):
        load(f'[models.big]\nprovider = "local"\nmodel = "{model_file}"')


# ---- memory


def test_the_limits_of_memory_have_the_documented_defaults(load):
    settings = load()

    assert (settings.memory_soft_bytes, settings.memory_hard_bytes) == (52_428_800, 536_870_912)
    assert (settings.tool_memory_bytes, settings.memory_total_bytes, settings.model_idle_s) == (0, 0, 600)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("memory_soft_bytes", (16 << 20) - 1, f"Allowed: a whole number from {16 << 20} to {1 << 50}."),
        ("memory_hard_bytes", (32 << 20) - 1, f"Allowed: a whole number from {32 << 20} to {1 << 50}."),
        ("tool_memory_bytes", (16 << 20) - 1, f"Allowed: 0, or a whole number from {16 << 20} to {1 << 50}."),
        ("tool_memory_bytes", 1, f"Allowed: 0, or a whole number from {16 << 20} to {1 << 50}."),
        ("tool_memory_bytes", -1, f"Allowed: a whole number from 0 to {1 << 50}."),
        ("memory_total_bytes", (128 << 20) - 1, f"Allowed: 0, or a whole number from {128 << 20} to {1 << 50}."),
    ],
)
def test_a_limit_below_what_a_process_needs_is_refused_with_the_range(load, path, key, value, allowed):
    with pytest.raises(ConfigBad) as refused:
        load(f"{key} = {value}")

    assert str(path) in refused.value.message
    assert key in refused.value.message
    assert refused.value.hint == allowed


@pytest.mark.parametrize("key", ["tool_memory_bytes", "memory_total_bytes"])
def test_the_least_limit_and_none_are_allowed(load, key):
    least = {"tool_memory_bytes": 16 << 20, "memory_total_bytes": 128 << 20}[key]

    assert getattr(load(f"{key} = {least}"), key) == least
    assert getattr(load(f"{key} = 0"), key) == 0


@pytest.mark.parametrize(
    ("text", "environment", "where"),
    [
        (f"memory_hard_bytes = {40 << 20}", {}, "config.toml"),
        (f"memory_soft_bytes = {512 << 20}", {}, "config.toml"),
        ("", {"CHAT_COORD_MEMORY_HARD_BYTES": str(50 << 20)}, "CHAT_COORD_MEMORY_HARD_BYTES: "),
    ],
)
def test_a_hard_limit_that_is_not_above_the_soft_one_is_refused_and_both_are_named(load, text, environment, where):
    with pytest.raises(ConfigBad, match=r"memory_hard_bytes \(\d+\) is not more than memory_soft_bytes") as refused:
        load(text, **environment)

    assert where in refused.value.message


def test_a_hard_limit_just_above_the_soft_one_is_allowed(load):
    assert load(f"memory_hard_bytes = {52_428_801}").memory_hard_bytes == 52_428_801


def test_a_tool_limit_of_the_environment_that_is_too_small_is_blamed_on_its_variable(load):
    with pytest.raises(ConfigBad, match="CHAT_COORD_TOOL_MEMORY_BYTES: tool_memory_bytes: 5 is less"):
        load(CHAT_COORD_TOOL_MEMORY_BYTES="5")


def test_a_model_that_speaks_the_anthropic_protocol_has_its_own_default_address(load):
    table = 'provider = "anthropic"\nmodel = "m"\n'
    assert load(f"[models.a]\n{table}").models["a"].base_url == "https://api.anthropic.com"
    mine = load(f'[models.a]\n{table}base_url = "http://127.0.0.1:1"').models["a"]
    assert mine.base_url == "http://127.0.0.1:1"
    with pytest.raises(ConfigBad, match="base_url is no http"):
        load(f'[models.a]\n{table}base_url = "elsewhere"')


@pytest.mark.parametrize("value", ["-0.1", "2.1", '"hot"', "nan"])
def test_a_temperature_has_a_range(load, value):
    with pytest.raises(ConfigBad, match="temperature"):
        load(f'[models.a]\nprovider = "openai"\nmodel = "m"\ntemperature = {value}')
