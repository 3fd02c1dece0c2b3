"""What the command line imports before it knows what is wanted: it must start as fast as the interpreter lets it."""

import subprocess
import sys

import pytest

HEAVY = {
    "textual",
    "rich",
    "markdown_it",
    "pydantic_ai",
    "openai",
    "anthropic",
    "xllamacpp",
    "psutil",
    "sqlite3",
    "aiohttp",
}
ASK = "import sys; import {0}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"


@pytest.mark.parametrize(
    "module",
    ["client.cli", "client.commands.chat", "client.commands.attach", "client.commands.switch", "client.terminal"],
)
def test_no_library_that_only_some_commands_need_is_imported(module: str):
    found = subprocess.run(
        [sys.executable, "-c", ASK.format(module)], capture_output=True, text=True, check=True
    ).stdout.split()

    assert "click" in found
    assert HEAVY & set(found) == set()
