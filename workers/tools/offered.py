"""The tools of our own, as a model is told of them."""

from typing import Any

from protocol.messages import ToolRule
from workers.core.calls import QUESTION, Tool


def _text(**described: str) -> dict[str, Any]:
    properties = {name: {"type": "string", "description": text} for name, text in described.items()}
    return {"type": "object", "properties": properties, "required": list(described), "additionalProperties": False}


PATH = "Absolute, or relative to the working directory."
TOOLS = {
    tool.name: tool
    for tool in (
        Tool("read_file", "Read a text file.", _text(path=PATH)),
        Tool("list_directory", "List a directory.", _text(path=PATH)),
        Tool(
            "search_text",
            "Find the lines that hold a text, as it stands, in a file or in all files below a directory.",
            _text(pattern="The text to look for; no regular expression.", path=PATH),
        ),
        Tool("write_file", "Write a text file, replacing what it holds.", _text(path=PATH, text="The whole new text.")),
        Tool(
            "run_command",
            "Run a command line with /bin/sh in the working directory and return its output. It gets no input, and "
            "what it leaves running is ended.",
            _text(command="The command line."),
        ),
        Tool("fetch_url", "Fetch an http or https address and return its text.", _text(url="The address.")),
        Tool(
            QUESTION,
            "Ask the person something that only they can know or decide, and wait for their answer.",
            _text(question="The question, with what they need to know to answer it."),
        ),
    )
}


# Everything, for the warm-up.
OFFERED = {name: ToolRule(rule="ask") for name in TOOLS}
