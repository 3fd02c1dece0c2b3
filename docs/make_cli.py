"""Makes what the documents say about the code; with ``--check`` it only tells what is out of date.

The command reference comes from every command's ``--help``, the table of settings from their schema, the picture of a
session's life from the table that the coordinator decides with.
"""

import sys
from pathlib import Path

import click

from client.cli import commands
from coordinator.core.lifecycle import RESIDENCY, WORK, Residency, Work
from protocol.mcp_settings import McpSettings
from protocol.settings import (
    NESTING,
    TABLES,
    ModelSettings,
    Settings,
    TemplateSettings,
    ToolSettings,
    TypeSettings,
    allowed,
    description,
)

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 100


def reference() -> str:
    """Return docs/cli.md whole."""
    root = click.Context(commands, info_name="chat-coord", terminal_width=WIDTH, **commands.context_settings)
    lines = [
        "# The command line",
        "",
        "Made by `docs/make_cli.py` from every command's `--help`; do not edit. Commands print no colour at all, so",
        "there is nothing for `NO_COLOR` to turn off. Names of sessions and everything from models are cleaned of what",
        "could steer a terminal. `chat-coord ls` is `chat-coord sessions`.",
        "",
        *_section(commands, root),
    ]
    return "\n".join(lines)


def _section(command: click.Command, context: click.Context) -> list[str]:
    help_text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    lines = [f"## {context.command_path}", "", "```text", help_text, "```", ""]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                inner = click.Context(child, info_name=name, parent=context, terminal_width=WIDTH)
                lines += _section(child, inner)
    return lines


def settings_table() -> str:
    """Return the table of every key."""
    rows = ["| key | default | allowed | what it does |", "|---|---|---|---|"]
    values = {key: getattr(Settings(), key) for key in Settings.__struct_fields__ if key not in TABLES}
    model = ModelSettings(provider="openai")
    values |= {f"models.NAME.{key}": getattr(model, key) for key in ModelSettings.__struct_fields__}
    values |= {f"tools.NAME.{key}": getattr(ToolSettings(), key) for key in ToolSettings.__struct_fields__}
    for table, one in (("types", TypeSettings()), ("templates", TemplateSettings())):
        fields = [key for key in one.__struct_fields__ if key != "tools"]
        values |= {f"{table}.NAME.{key}": getattr(one, key) for key in fields}
    values |= {f"mcp.NAME.{key}": getattr(McpSettings(), key) for key in McpSettings.__struct_fields__}
    for table in sorted(NESTING, reverse=True):
        values[f"{table}.NAME.tools.TOOL.rule"] = None
    for key, value in values.items():
        if key.endswith(".tools.TOOL.rule"):
            rows.append(f"| `{key}` |  | as `tools.NAME.rule`, and its lists | Comes before `tools.NAME`. |")
            continue
        is_required = key in {"models.NAME.provider", "models.NAME.model"}
        shown = "required" if is_required else "" if value is None else f"`{_toml(value)}`"
        rows.append(f"| `{key}` | {shown} | {allowed(key)} | {description(key)} |")
    return "\n".join(rows)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value).removesuffix(".0")


def lifecycle_picture() -> str:
    """Return the tables of residency and work as a Mermaid picture each."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {Residency.HIBERNATED}: created"]
    lines += [f"    {before} --> {after}: {fact}" for (before, fact), after in RESIDENCY.items()]
    ends = [state for state in Residency if state not in {before for before, _ in RESIDENCY}]
    lines += [f"    {state} --> [*]" for state in ends]
    lines += ["```", "", "What a turn does:", "", "```mermaid", "stateDiagram-v2", f"    [*] --> {Work.IDLE}"]
    lines += [f"    {before} --> {after}: {fact}" for (before, fact), after in WORK.items()]
    return "\n".join([*lines, "```"])


def between(text: str, mark: str, made: str) -> str:
    """Return the text with what was made between two marks."""
    begin, end = f"<!-- {mark}: made by docs/make_cli.py -->", f"<!-- end of {mark} -->"
    head, _, rest = text.partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        raise SystemExit(f"The marks of {mark} are missing.")
    return f"{head}{begin}\n{made}\n{end}{tail}"


def pages() -> dict[Path, str]:
    """Return every page that is made, whole or in part, as it should be."""
    settings, lifecycle = ROOT / "docs" / "configuration.md", ROOT / "docs" / "lifecycle.md"
    return {
        ROOT / "docs" / "cli.md": reference(),
        settings: between(settings.read_text(encoding="utf-8"), "settings", settings_table()),
        lifecycle: between(lifecycle.read_text(encoding="utf-8"), "picture", lifecycle_picture()),
    }


def main() -> int:
    """Write the pages, or with --check only compare them; returns the exit code."""
    stale = {
        path: text for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text
    }
    for path, text in stale.items():
        print(f"{path.relative_to(ROOT)} {'is out of date' if '--check' in sys.argv else 'is made'}")
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    raise SystemExit(main())
