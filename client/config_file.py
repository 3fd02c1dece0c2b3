"""Changing config.toml: the one door to tomlkit, which keeps the user's comments and order.

What would be written is checked first, with the same schema as at the coordinator's start; a bad value changes nothing.
"""

import os
import tomllib
from collections.abc import Sequence
from typing import Any

import msgspec
import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.toml_document import TOMLDocument

from protocol.errors import ConfigBad
from protocol.paths import Home, replace_file
from protocol.settings import (
    TABLES,
    Origin,
    allowed,
    description,
    load_with_origins,
    parse,
    settings_of,
    table_path,
    table_values,
    variable,
)


class Entry(msgspec.Struct, frozen=True):
    """A key with its value in force, for people and programs."""

    key: str
    value: Any
    origin: Origin
    allowed: str
    description: str


def entries(home: Home) -> list[Entry]:
    """Return every key of the schema with its value in force, the keys of the configured models and tools last.

    Raises:
        ConfigBad: the configuration cannot be used.
    """
    loaded = load_with_origins(home.config)
    values = {key: getattr(loaded.settings, key) for key in loaded.settings.__struct_fields__ if key not in TABLES}
    values |= table_values(loaded.settings)
    return [Entry(key, value, loaded.origins[key], allowed(key), description(key)) for key, value in values.items()]


def set_values(home: Home, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Write values into config.toml, all of them or none.

    Args:
        home: whose configuration; it is made when it is not there.
        pairs: keys and values as text; "" takes an optional key of a model out.

    Returns:
        What stands in the way of these values, in sentences: variables that come before the file.

    Raises:
        ConfigBad: a key or value is not allowed, or the file cannot be used; nothing was changed.
    """
    path = home.config.resolve()  # a link to a folder of dotfiles stays one
    document = _read(home)
    for key, text in pairs:
        _put(document, key, parse("config set", key, text))
    written = tomlkit.dumps(document)
    settings_of(str(home.config), tomllib.loads(written), {})
    home.prepare()
    try:
        replace_file(path, written.encode())
    except OSError as error:
        raise ConfigBad(
            f"{path} cannot be written: {error.strerror}.", hint="Check its folder and the disk."
        ) from error
    keys = dict(pairs)
    return [
        f"{variable(key)} is set in this environment and comes before the file."
        for key in keys
        if "." not in key and variable(key) in os.environ
    ]


def _read(home: Home) -> TOMLDocument:
    try:
        return tomlkit.parse(home.config.read_bytes().decode())
    except FileNotFoundError:
        return tomlkit.document()
    except OSError as error:
        raise ConfigBad(f"{home.config} cannot be read: {error.strerror}.", hint="Check its owner and mode.") from error
    except (TOMLKitError, ValueError) as error:
        hint = "Mend that line, or move the file away."
        raise ConfigBad(f"{home.config} is not valid TOML: {error}.", hint=hint) from error


def _put(document: TOMLDocument, key: str, value: Any) -> None:
    """Set a value, or take it out when it is None."""
    *above, field = [part for part in table_path(key) if part] or [key]
    table: Any = document
    for n, part in enumerate(above, 1):
        if part not in table:
            table[part] = tomlkit.table(is_super_table=n < len(above) and n != 2)  # noqa: PLR2004 - [types] alone says nothing
        table = table[part]
        if not isinstance(table, dict):
            raise ConfigBad(f"{'.'.join(above[:n])} is no table.", hint="Mend config.toml by hand.")
    if value is None:
        table.pop(field, None)
    else:
        table[field] = value
