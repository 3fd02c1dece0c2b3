"""The settings: one schema. A key exists only when something obeys it.

Order of origin: a flag (``start --launcher``), the environment (``CHAT_COORD_<KEY>``), ``config.toml``, then the
default written here.
"""

import os
import re
import shlex
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from protocol.errors import ConfigBad
from protocol.limits import NAME_CHARS, SYSTEM_BYTES
from protocol.mcp_settings import McpSettings
from protocol.mcp_settings import check as check_mcp
from protocol.mcp_settings import check_name as check_mcp_name
from protocol.views import SESSION_TYPES, SessionType

EMBEDDED = "embedded"
ANTHROPIC_URL = "https://api.anthropic.com"
# Keys that are tables of tables; they come from the file alone.
TABLES = frozenset({"models", "tools", "types", "templates", "mcp"})
# Those whose tables hold tables of tools in turn: ``types.review.tools.run_command.rule``.
NESTING = frozenset({"types", "templates"})
LISTS = frozenset({"pass_env", "allow", "ask", "deny"})
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
TEMPLATE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
Origin = Literal["default", "file", "environment", "flag"]
# A tool is at least an interpreter; a coordinator, its zygote and one worker have about 100 MiB together.
LEAST_TOOL_BYTES = 16 << 20
LEAST_TOTAL_BYTES = 128 << 20


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table ``[models.NAME]``."""

    provider: Annotated[
        Literal["openai", "anthropic", "local"],
        Meta(description="Who answers: an endpoint, by the protocol that it speaks, or this machine."),
    ]
    base_url: Annotated[
        str, Meta(description="Address of the endpoint; without one, that of the company behind the protocol.")
    ] = "https://api.openai.com/v1"
    model: Annotated[str, Meta(description="What the endpoint calls the model; the .gguf file of a local one.")] = ""
    api_key_env: Annotated[str | None, Meta(description="Variable of the coordinator that holds the API key.")] = None
    api_key_file: Annotated[str | None, Meta(description="File that holds the API key.")] = None
    context_tokens: Annotated[
        Annotated[int, Meta(ge=256, le=100_000_000)] | None, Meta(description="Bounds what is sent of a conversation.")
    ] = None
    max_concurrent_api_calls: Annotated[
        Annotated[int, Meta(ge=1, le=1_000)] | None,
        Meta(description="Requests to this endpoint at once; the general limit holds as well."),
    ] = None
    requests_per_minute: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None,
        Meta(description="Requests to this endpoint within any 60 s; more wait."),
    ] = None
    tokens_per_minute: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000_000)] | None,
        Meta(description="Tokens that this endpoint counted within any 60 s, from which on requests wait."),
    ] = None
    input_price: Annotated[
        Annotated[float, Meta(ge=0, le=1_000_000)] | None,
        Meta(description="Price of a million tokens that are sent, for `usage`, in whatever money you count."),
    ] = None
    output_price: Annotated[
        Annotated[float, Meta(ge=0, le=1_000_000)] | None,
        Meta(description="Price of a million tokens that are answered, for `usage`."),
    ] = None
    temperature: Annotated[
        Annotated[float, Meta(ge=0, le=2)] | None,
        Meta(description="For sessions that set none; Anthropic's end at 1, and a local model's is 0 without one."),
    ] = None
    tools: Annotated[
        Literal["auto", "yes", "no"],
        Meta(description="Whether it is offered tools; `auto`: an endpoint is, a local model is not."),
    ] = "auto"

    images: Annotated[
        Literal["auto", "yes", "no"],
        Meta(description="Whether it is shown images; `auto`: an endpoint is, a local model is not."),
    ] = "auto"

    @property
    def takes_images(self) -> bool:
        """Say whether the model is shown images."""
        return self.provider != "local" if self.images == "auto" else self.images == "yes"

    @property
    def has_tools(self) -> bool:
        """Say whether the model is offered tools."""
        return self.provider != "local" if self.tools == "auto" else self.tools == "yes"


Rule = Literal["allow", "ask", "deny"]
# What each tool may do when nothing is configured; those that take paths, inside the session's working directory.
TOOL_RULES: dict[str, Rule] = {
    "read_file": "allow",
    "list_directory": "allow",
    "search_text": "allow",
    "write_file": "ask",
    "run_command": "ask",
    "fetch_url": "ask",
    "ask_person": "ask",
}
# Those whose paths can be named in patterns.
PATH_TOOLS = ("read_file", "list_directory", "search_text", "write_file")
_PATHS = "paths with * and ?, absolute, from ~ or from the session's directory; the strictest that fits counts."


class ToolSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table ``[tools.NAME]``."""

    rule: Annotated[
        Rule | None,
        Meta(description="What it may do; for tools that take a path, inside the session's working directory."),
    ] = None
    allow: Annotated[list[str], Meta(description=f"Allowed without asking: {_PATHS}")] = []
    ask: Annotated[list[str], Meta(description=f"Asked for: {_PATHS}")] = []
    deny: Annotated[list[str], Meta(description=f"Never: {_PATHS}")] = []


class TypeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table ``[types.NAME]``."""

    system: Annotated[
        str | None, Meta(description="System prompt of sessions of this type that have none of their own.")
    ] = None
    tools: Annotated[
        dict[str, ToolSettings], Meta(description="Tables as `[tools.NAME]`; they come before those.")
    ] = {}


class TemplateSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table ``[templates.NAME]``, for ``new --template NAME``."""

    type: Annotated[SessionType, Meta(description="Type of the session.")] = "development"
    system: Annotated[str | None, Meta(description="System prompt of its own.")] = None
    model: Annotated[str | None, Meta(description="A model; else default_model.")] = None
    cwd: Annotated[str | None, Meta(description="Where it works; else where `new` is called. `~` is your home.")] = None
    tools: Annotated[
        dict[str, ToolSettings], Meta(description="Tables as `[tools.NAME]`; they come before those, and its type's.")
    ] = {}


FIELDS: dict[str, type[msgspec.Struct]] = {
    "models": ModelSettings,
    "tools": ToolSettings,
    "types": TypeSettings,
    "templates": TemplateSettings,
    "mcp": McpSettings,
}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every key with its default, its range and what it does."""

    max_active_sessions: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="Sessions with a live worker. For one more, the idle one used least recently hibernates, "
            "or it waits in line.",
        ),
    ] = 10
    idle_hibernate_s: Annotated[
        float,
        Meta(
            ge=0,
            le=31_536_000,
            description="A session that nobody used for so long is hibernated; 0: only when its slot is needed.",
        ),
    ] = 900.0
    max_concurrent_api_calls: Annotated[
        int,
        Meta(ge=1, le=1_000, description="Requests to models at once, over all sessions; more wait in line."),
    ] = 5
    spend_tokens_session: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000_000_000_000,
            description="Tokens that one session may spend; then its turns fail until this is raised. 0: no limit.",
        ),
    ] = 0
    spend_tokens_total: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000_000_000_000,
            description="Tokens that all sessions together may spend; then every turn fails until this is raised. "
            "0: no limit.",
        ),
    ] = 0
    buffer_size_bytes: Annotated[
        int, Meta(ge=1_024, le=1 << 30, description="Running reply kept for clients that come later, per session.")
    ] = 10_485_760
    start_timeout_s: Annotated[
        float, Meta(ge=0.1, le=600, description="A worker that has not said hello by then counts as crashed.")
    ] = 10.0
    restart_limit: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Restarts of one session's worker within `restart_window_s`; "
            "beyond it the session is `failed`.",
        ),
    ] = 5
    restart_window_s: Annotated[
        float, Meta(ge=1, le=86_400, description="The window of `restart_limit` and `restart_limit_total`.")
    ] = 60.0
    restart_limit_total: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Restarts of all workers within `restart_window_s`; beyond it a session that crashes is "
            "`failed`, so that a storm ends.",
        ),
    ] = 20
    on_interrupt: Annotated[
        Literal["ask", "resume"],
        Meta(
            description="A turn whose worker died after its first request to the model: `ask` marks it `interrupted` "
            "and only `retry` runs it again; `resume` runs it again once, by itself."
        ),
    ] = "ask"
    ask_expire_s: Annotated[
        float,
        Meta(
            ge=0,
            le=31_536_000,
            description="An ask that nobody answered for so long is denied, and the model is told so; 0: it waits "
            "for ever.",
        ),
    ] = 0.0
    tool_timeout_s: Annotated[
        float,
        Meta(ge=0.1, le=86_400, description="A tool that runs longer is ended, with everything that it started."),
    ] = 120.0
    turn_timeout_s: Annotated[
        float,
        Meta(
            ge=0,
            le=604_800,
            description="A turn that works longer ends `failed`, its text is kept; waiting for a person or in line "
            "does not count; 0: no limit.",
        ),
    ] = 0.0
    stall_after_s: Annotated[
        float,
        Meta(
            ge=1,
            le=86_400,
            description="A running turn without a piece of text or a tool's progress for so long is shown as "
            "`running (stalled)`; nothing is done about it.",
        ),
    ] = 60.0
    orphan_exit_s: Annotated[
        float,
        Meta(
            ge=1,
            le=86_400,
            description="A worker that has no coordinator for this long leaves; it finishes its turn before, and "
            "what it finished is kept.",
        ),
    ] = 900.0
    memory_soft_bytes: Annotated[
        int,
        Meta(
            ge=16 << 20,
            le=1 << 50,
            description="Memory of a worker alone, its tools not counted (USS): above it the session is hibernated "
            "when it is idle, not pinned, and nobody looks at it.",
        ),
    ] = 52_428_800
    memory_hard_bytes: Annotated[
        int,
        Meta(
            ge=32 << 20,
            le=1 << 50,
            description="Memory of a worker alone (USS): above it the worker is killed and replaced. "
            "More than `memory_soft_bytes`.",
        ),
    ] = 536_870_912
    tool_memory_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=1 << 50,
            description="Memory of everything that one worker started (PSS): above it all of that is killed and the "
            "model is told; the worker stays. 0: a quarter of the machine's; else at least 16777216.",
        ),
    ] = 0
    memory_total_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=1 << 50,
            description="Memory of all processes together (PSS): above it idle sessions are hibernated, new ones are "
            "refused, and prompts to sleeping ones wait. 0: half of the machine's; else at least 134217728.",
        ),
    ] = 0
    model_idle_s: Annotated[
        float,
        Meta(ge=1, le=31_536_000, description="A local model's server that no turn has used for this long is stopped."),
    ] = 600.0
    launcher: Annotated[
        Literal["local", "spawn"],
        Meta(
            description="How workers start: `local` forks them from a warm zygote, in milliseconds; with `spawn` each "
            "is an interpreter of its own, which takes a second or two. `start --launcher` comes before."
        ),
    ] = "local"
    pass_env: Annotated[
        list[str],
        Meta(
            description="Variables that sessions get besides PATH, HOME, LANG, LC_*, TZ and VIRTUAL_ENV "
            "(a proxy's, for example)."
        ),
    ] = []
    auto_names: Annotated[
        bool,
        Meta(description="Whether a session that was given no name gets one from its first prompts."),
    ] = True
    auto_names_by_model: Annotated[
        bool,
        Meta(
            description="Whether a session without a name of its own asks its model for one after its first turn: one "
            "short request, only when no request waits and a permit is to spare. Local models are not asked."
        ),
    ] = True
    name_max_length: Annotated[int, Meta(ge=16, le=64, description="Characters that a name of a session may have.")] = (
        NAME_CHARS
    )
    hook_requires_action: Annotated[
        list[str],
        Meta(
            description="A command, as a list of words, that is run when a session begins to wait for a person. It is "
            "told the session in CHAT_COORD_SESSION, CHAT_COORD_SESSION_NAME, CHAT_COORD_EVENT and CHAT_COORD_STATE."
        ),
    ] = []
    hook_failed: Annotated[
        list[str],
        Meta(description="The same, when a session gave up, or a turn ended `failed`, `poisoned` or `interrupted`."),
    ] = []
    hook_completed: Annotated[list[str], Meta(description="The same, when a turn ended `completed`.")] = []
    log_level: Annotated[
        Literal["info", "debug"],
        Meta(
            description="How much processes log. With `debug` the logs may hold what people and models said; with "
            "`info` they never do."
        ),
    ] = "info"
    metrics_port: Annotated[
        int,
        Meta(
            ge=0,
            le=65_535,
            description="Port of 127.0.0.1 at which Prometheus finds the metrics (extra `metrics`); 0: none.",
        ),
    ] = 0
    trace_endpoint: Annotated[
        str,
        Meta(
            description="Address of an OpenTelemetry collector that is told of each turn as a trace (OTLP over HTTP, "
            "extra `otel`), for example `http://127.0.0.1:4318/v1/traces`; empty: none."
        ),
    ] = ""
    default_model: Annotated[str, Meta(description="The model of sessions that name none.")] = EMBEDDED
    models: Annotated[dict[str, ModelSettings], Meta(description="Models by name.")] = {}
    tools: Annotated[dict[str, ToolSettings], Meta(description="Rules of tools by name.")] = {}
    types: Annotated[dict[SessionType, TypeSettings], Meta(description="What types of sessions are told.")] = {}
    templates: Annotated[dict[str, TemplateSettings], Meta(description="Templates of sessions by name.")] = {}
    mcp: Annotated[dict[str, McpSettings], Meta(description="Servers of tools by name.")] = {}

    def all_models(self) -> dict[str, ModelSettings]:
        """Return the configured models and the embedded one."""
        return {EMBEDDED: ModelSettings(provider="local")} | self.models


@dataclass(frozen=True)
class Loaded:
    """The settings in force, and where each key's value comes from.

    Args:
        settings: the values.
        origins: by key, ``models.NAME.KEY`` for what is in a model's table.
    """

    settings: Settings
    origins: Mapping[str, Origin]


def load_settings(
    path: Path, environment: Mapping[str, str] | None = None, flags: Mapping[str, str] | None = None
) -> Settings:
    """Return the settings in force.

    Args:
        path: the configuration file; it need not exist.
        environment: where CHAT_COORD_<KEY> is looked up; the process's own when None.
        flags: what the command line said, by key.

    Raises:
        ConfigBad: names the file or variable, the key, and what is allowed.
    """
    return load_with_origins(path, environment, flags).settings


def load_with_origins(
    path: Path, environment: Mapping[str, str] | None = None, flags: Mapping[str, str] | None = None
) -> Loaded:
    """Return the settings in force and where they come from; see ``load_settings``.

    Raises:
        ConfigBad: names the file or variable, the key, and what is allowed.
    """
    return settings_of(str(path), _read_file(path), os.environ if environment is None else environment, flags)


def settings_of(
    source: str, document: Mapping[str, Any], environment: Mapping[str, str], flags: Mapping[str, str] | None = None
) -> Loaded:
    """Return what a configuration and an environment say, checked; see ``load_settings``.

    Args:
        source: what errors call the configuration.
        document: its keys.
        environment: where CHAT_COORD_<KEY> is looked up.
        flags: what the command line says, by key.

    Raises:
        ConfigBad: names the source or variable, the key, and what is allowed.
    """
    hints = get_type_hints(Settings, include_extras=True)
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = dict.fromkeys(hints, "default")
    for key, value in document.items():
        if key not in hints:
            raise ConfigBad(f"{source}: there is no key {key!r}.", hint=f"Keys are: {', '.join(sorted(hints))}.")
        if key in _READERS and isinstance(value, dict):
            values[key] = {name: _READERS[key](source, name, table) for name, table in value.items()}
        else:
            values[key] = _convert(source, key, value, hints[key], strict=True)
        origins[key] = "file"
    for key in set(hints) - TABLES:
        text = environment.get(variable(key))
        if text is not None:
            values[key] = _convert(variable(key), key, split(variable(key), key, text), hints[key], strict=False)
            origins[key] = "environment"
    for key, text in (flags or {}).items():
        values[key] = _convert(f"--{key.replace('_', '-')}", key, text, hints[key], strict=False)
        origins[key] = "flag"
    settings = Settings(**values)
    _check_models(source, settings)
    _check_memory(source, settings, origins)
    if settings.trace_endpoint and not _is_address(settings.trace_endpoint):
        where = variable("trace_endpoint") if origins["trace_endpoint"] == "environment" else source
        raise ConfigBad(f"{where}: trace_endpoint is no http or https address.", hint="Or leave it empty.")
    if settings.default_model not in settings.all_models():
        where = variable("default_model") if origins["default_model"] == "environment" else source
        names = ", ".join(sorted(settings.all_models()))
        raise ConfigBad(
            f"{where}: there is no model {settings.default_model!r} for default_model.", hint=f"Models: {names}."
        )
    for name, template in settings.templates.items():
        if template.model is not None and template.model not in settings.all_models():
            names = ", ".join(sorted(settings.all_models()))
            where = f"{source}: templates.{name}.model"
            raise ConfigBad(f"{where}: there is no model {template.model!r}.", hint=f"Models: {names}.")
    for key in table_values(settings):
        path = [part for part in table_path(key) if part]
        table = document
        for part in path[:-1]:
            table = table.get(part, {})
        origins[key] = "file" if path[-1] in table else "default"
    return Loaded(settings, origins)


def _model(source: str, name: str, table: Any) -> ModelSettings:
    """Return one table ``[models.NAME]``, each of its keys checked on its own, so that an error names the key."""
    if not MODEL_NAME.fullmatch(name):
        hint = "Use letters, digits, '.', '_' and '-'."
        raise ConfigBad(f"{source}: models.{name}: that is no name for a model.", hint=hint)
    if isinstance(table, dict):
        for field, value in table.items():
            key = f"models.{name}.{field}"
            _convert(source, key, value, hint_of(source, key), strict=True)
    found: ModelSettings = _convert(source, f"models.{name}", table, ModelSettings, strict=True)
    if found.provider == "anthropic" and "base_url" not in table:
        found = msgspec.structs.replace(found, base_url=ANTHROPIC_URL)
    return found


def _tool(source: str, name: str, table: Any, above: str = "") -> ToolSettings:
    """Return one table ``[tools.NAME]``, checked as a model's is; ``above`` is what it lies in, ``types.review.``."""
    where = f"{above}tools.{name}"
    if name not in TOOL_RULES:
        hint = f"Tools are: {', '.join(TOOL_RULES)}."
        raise ConfigBad(f"{source}: {where}: there is no such tool.", hint=hint)
    if isinstance(table, dict):
        for field, value in table.items():
            key = f"{where}.{field}"
            _convert(source, key, value, hint_of(source, key), strict=True)
    found: ToolSettings = _convert(source, where, table, ToolSettings, strict=True)
    if name not in PATH_TOOLS and (found.allow or found.ask or found.deny):
        hint = "Use rule; a pattern over command lines or addresses would let through what it does not mean."
        raise ConfigBad(f"{source}: {where} takes no path, so it has no patterns.", hint=hint)
    if name == "ask_person" and found.rule == "allow":
        raise ConfigBad(f'{source}: {where}: rule cannot be "allow".', hint="A question is asked, or denied.")
    return found


def _type(source: str, name: str, table: Any) -> TypeSettings:
    """Return one table ``[types.NAME]``, checked as a model's is."""
    if name not in SESSION_TYPES:
        hint = f"Types are: {', '.join(SESSION_TYPES)}."
        raise ConfigBad(f"{source}: types.{name}: there is no such type.", hint=hint)
    found: TypeSettings = _nesting(source, f"types.{name}", table, TypeSettings)
    return found


def _template(source: str, name: str, table: Any) -> TemplateSettings:
    """Return one table ``[templates.NAME]``, checked as a model's is."""
    if not TEMPLATE_NAME.fullmatch(name):
        hint = "Use letters, digits, '_' and '-'."
        raise ConfigBad(f"{source}: templates.{name}: that is no name for a template.", hint=hint)
    found: TemplateSettings = _nesting(source, f"templates.{name}", table, TemplateSettings)
    return found


def _mcp(source: str, name: str, table: Any) -> McpSettings:
    """Return one table ``[mcp.NAME]``, checked as a model's is."""
    check_mcp_name(source, name)
    if isinstance(table, dict):
        for field, value in table.items():
            key = f"mcp.{name}.{field}"
            _convert(source, key, value, hint_of(source, key), strict=True)
    found: McpSettings = _convert(source, f"mcp.{name}", table, McpSettings, strict=True)
    check_mcp(f"{source}: mcp.{name}", found, has_address=_is_address(found.url))
    return found


def _nesting(source: str, where: str, table: Any, kind: type[msgspec.Struct]) -> Any:
    """Return a table that holds tables of tools, each of its keys checked on its own."""
    tools = table.get("tools", {}) if isinstance(table, dict) else {}
    if isinstance(tools, dict):
        for name, rules in tools.items():
            _tool(source, name, rules, f"{where}.")
    if isinstance(table, dict):
        for field, value in table.items():
            if field != "tools":
                _convert(source, f"{where}.{field}", value, hint_of(source, f"{where}.{field}"), strict=True)
    found = _convert(source, where, table, kind, strict=True)
    if len((found.system or "").encode()) > SYSTEM_BYTES:
        raise ConfigBad(f"{source}: {where}.system is too long.", hint=f"{SYSTEM_BYTES} bytes are allowed.")
    return found


_READERS: dict[str, Callable[[str, str, Any], Any]] = {
    "models": _model,
    "tools": _tool,
    "types": _type,
    "templates": _template,
    "mcp": _mcp,
}


def variable(key: str) -> str:
    """Return the environment variable of a key."""
    return f"CHAT_COORD_{key.upper()}"


def split(source: str, key: str, text: str) -> str | list[str]:
    """Return a value that was given as text in the form that its key wants.

    Names are separated by commas; the words of a command by spaces, with quotes as in a shell.

    Raises:
        ConfigBad: a quote is not closed.
    """
    if key.startswith("hook_") or (key.startswith("mcp.") and key.endswith(".command")):
        try:
            return shlex.split(text)
        except ValueError as error:
            hint = "Quotes are those of a shell, and each has an end."
            raise ConfigBad(f"{source}: {key}: {error}.", hint=hint) from error
    return [part for part in text.split(",") if part] if key.rpartition(".")[2] in LISTS else text


def parse(source: str, key: str, text: str) -> Any:
    """Return a key's value from text, checked.

    Args:
        source: what errors call the place where the text comes from.
        key: a key of the schema, ``models.NAME.KEY`` for what is in a model's table.
        text: the value; "" for an optional key of a model is None.

    Raises:
        ConfigBad: there is no such key, or the value is not allowed.
    """
    hint = hint_of(source, key)
    if "." in key and not text and type(None) in get_args(get_args(hint)[0]):
        return None
    return _convert(source, key, split(source, key, text), hint, strict=False)


def hint_of(source: str, key: str) -> Any:
    """Return a key's annotated type.

    Raises:
        ConfigBad: there is no such key.
    """
    hints = get_type_hints(Settings, include_extras=True)
    table, name, field = table_key(key)
    if name:
        tool = table_path(key)[3]
        if tool and tool not in TOOL_RULES:
            raise ConfigBad(f"{source}: {key}: there is no such tool.", hint=f"Tools are: {', '.join(TOOL_RULES)}.")
        fields = get_type_hints(ToolSettings if tool else FIELDS[table], include_extras=True)
        if field in fields and not (field == "tools" and table in NESTING):
            return fields[field]
        hint = f"Keys of a {table.removesuffix('s')} are: {', '.join(fields)}."
        raise ConfigBad(f"{source}: there is no key {key!r}.", hint=hint)
    if key not in hints or key in TABLES:
        names = ", ".join(sorted(set(hints) - TABLES))
        hint = f"Keys are: {names}, {', '.join(f'{table}.NAME.KEY' for table in FIELDS)}."
        raise ConfigBad(f"{source}: there is no key {key!r}.", hint=hint)
    return hints[key]


def table_key(key: str) -> tuple[str, str, str]:
    """Return table, name and key of ``models.NAME.KEY``, whose name may hold dots; empty texts for another key."""
    table, _, rest = key.partition(".")
    if table not in TABLES or not rest:
        return "", "", ""
    name, _, field = rest.rpartition(".")
    return table, name, field


def table_path(key: str) -> tuple[str, str, str, str, str]:
    """Return table, name, tool's table ("tools" or ""), tool and key, as far as the key has them.

    ``types.review.tools.run_command.rule`` has all five; the tool's table is put before the tool for whoever walks.
    """
    table, name, field = table_key(key)
    inner = name.split(".")
    if table in NESTING and len(inner) == 3 and inner[1] == "tools":  # noqa: PLR2004 - NAME.tools.TOOL
        return table, inner[0], "tools", inner[2], field
    return table, name, "", "", field


def table_values(settings: Settings) -> dict[str, Any]:
    """Return what the tables of the file hold, by key."""
    values: dict[str, Any] = {}
    for table, kind in FIELDS.items():
        for name, found in getattr(settings, table).items():
            for field in kind.__struct_fields__:
                if field == "tools" and table in NESTING:
                    for tool, rules in found.tools.items():
                        above = f"{table}.{name}.tools.{tool}"
                        values |= {f"{above}.{key}": getattr(rules, key) for key in ToolSettings.__struct_fields__}
                else:
                    values[f"{table}.{name}.{field}"] = getattr(found, field)
    return values


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigBad(f"{path} cannot be read: {error.strerror}.", hint="Check its owner and mode.") from error
    except ValueError as error:
        raise ConfigBad(f"{path} is not valid TOML: {error}.", hint="Mend that line, or move the file away.") from error


def _convert(origin: str, key: str, value: Any, hint: Any, *, strict: bool) -> Any:
    try:
        return msgspec.convert(value, hint, strict=strict)
    except msgspec.ValidationError as error:
        where = str(error).partition(" - at `$")[2].rstrip("`")
        reason = str(error).partition(" - at ")[0]
        raise ConfigBad(f"{origin}: {key}{where}: {reason}.", hint=f"Allowed: {allowed(key)}.") from error


def _allowed_table(key: str) -> str | None:
    """Return in words what a table may hold; None for a key that is none."""
    first, is_table = key.partition(".")[0], key.count(".") <= 1
    if first == "models" and is_table:
        return (
            'tables [models.NAME] with provider = "openai", "anthropic" or "local", base_url, model, api_key_env or '
            "api_key_file"
        )
    if (first == "tools" and is_table) or key.split(".")[-2:-1] == ["tools"]:
        return 'tables [tools.NAME] with rule = "allow", "ask" or "deny", and lists of paths allow, ask, deny'
    if first == "mcp" and is_table:
        return "tables [mcp.NAME] with command or url, pass_env, api_key_env or api_key_file, and rule"
    if key in NESTING or (table_key(key)[0] == "" and first in NESTING):
        return "tables [types.NAME] with system and tools, [templates.NAME] with type, system, model, cwd and tools"
    return None


def allowed(key: str) -> str:
    """Return in words what a key may be."""
    table = _allowed_table(key)
    if table is not None:
        return table
    hint = hint_of("", key)
    inner, meta = get_args(hint)[0], hint.__metadata__[0]
    ending = ""
    if type(None) in get_args(inner):
        inner, ending = get_args(inner)[0], " or nothing"
        meta = inner.__metadata__[0] if hasattr(inner, "__metadata__") else meta
        inner = get_args(inner)[0] if hasattr(inner, "__metadata__") else inner
    if get_origin(inner) is Literal:
        return " or ".join(f'"{word}"' for word in get_args(inner))
    if inner is bool:
        return "true or false"
    kind = {int: "a whole number", float: "a number", str: "a text"}.get(inner, "a list of texts")
    return (kind if meta.ge is None else f"{kind} from {meta.ge} to {meta.le}") + ending


def description(key: str) -> str:
    """Return in words what a key does."""
    return str(hint_of("", key).__metadata__[0].description)


def _check_memory(source: str, settings: Settings, origins: Mapping[str, Origin]) -> None:
    def where(key: str) -> str:
        return variable(key) if origins[key] == "environment" else source

    for key, least in (("tool_memory_bytes", LEAST_TOOL_BYTES), ("memory_total_bytes", LEAST_TOTAL_BYTES)):
        if 0 < getattr(settings, key) < least:
            text = f"{where(key)}: {key}: {getattr(settings, key)} is less than anything needs."
            raise ConfigBad(text, hint=f"Allowed: 0, or a whole number from {least} to {1 << 50}.")
    soft, hard = settings.memory_soft_bytes, settings.memory_hard_bytes
    if hard <= soft:
        key = "memory_hard_bytes" if origins["memory_hard_bytes"] != "default" else "memory_soft_bytes"
        text = f"{where(key)}: memory_hard_bytes ({hard}) is not more than memory_soft_bytes ({soft})."
        raise ConfigBad(text, hint="A worker is hibernated at the soft limit and killed at the hard one: leave room.")


def _check_models(source: str, settings: Settings) -> None:
    for name, model in settings.models.items():
        where = f"{source}: models.{name}"
        if not model.model:
            hint = "Say which model the endpoint shall use; for a local one, the path of its file."
            raise ConfigBad(f"{where}: the key model is missing.", hint=hint)
        if model.provider == "local" and not (Path(model.model).is_absolute() and model.model.endswith(".gguf")):
            hint = "`chat-coord model use FILE.gguf` writes such a table."
            raise ConfigBad(f"{where}: model is no absolute path of a .gguf file.", hint=hint)
        if model.provider != "local" and not _is_address(model.base_url):
            raise ConfigBad(f"{where}: base_url is no http or https address.", hint=f"It is {model.base_url!r}.")
        if model.api_key_env and model.api_key_file:
            raise ConfigBad(f"{where}: api_key_env and api_key_file are both given.", hint="Give one of them.")


def _is_address(text: str) -> bool:
    """Say whether the text is an http or https address with a host."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)
