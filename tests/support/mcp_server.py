"""An MCP server for tests, over stdio, without a library: what it does wrong is said by its first argument.

``python mcp_server.py [WRONG]`` offers ``echo{text}``, ``env{name}``, ``cwd{}``, ``misbehave{how}``, ``hang{}``.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

TOOLS = {
    "echo": {"text": {"type": "string"}},
    "env": {"name": {"type": "string"}},
    "cwd": {},
    "misbehave": {"how": {"type": "string"}},
}


def say(facts: dict) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def answer(number: object, **result: object) -> None:
    say({"jsonrpc": "2.0", "id": number, "result": result})


def text(number: object, words: str, *, is_error: bool = False) -> None:
    answer(number, content=[{"type": "text", "text": words}], isError=is_error)


def misbehave(how: str, number: object) -> None:
    if how == "die":
        sys.stderr.write("I am going to die\n")
        sys.stderr.flush()
        os._exit(3)
    if how == "hang":
        time.sleep(600)
    if how == "line":
        while True:
            sys.stdout.write("x" * 65536)
    if how == "messages":
        while True:
            say({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "flood"}})
    if how == "stderr":
        while True:
            sys.stderr.write("y" * 65536)
    if how == "garbage":
        sys.stdout.write('hello\n{"half": \n[]\nnull\n{"jsonrpc": "2.0", "id": 77, "result": {}}\n')
        text(number, "after the garbage")
    if how == "wrong":
        answer(number, content="no list")
    if how == "error":
        text(number, "it went wrong", is_error=True)
    if how == "big":
        text(number, "z" * 200_000)
    if how == "child":  # one that ignores signals and is of a session of its own
        child = subprocess.Popen(
            ["/bin/sh", "-c", "trap '' TERM HUP; while :; do sleep 1; done"], start_new_session=True
        )
        text(number, str(child.pid))


def call(number: object, name: str, arguments: dict) -> None:
    if name == "echo":
        text(number, arguments["text"])
    elif name == "env":
        text(number, os.environ.get(arguments["name"], "(not set)"))
    elif name == "cwd":
        text(number, str(Path.cwd()))
    elif name == "misbehave":
        misbehave(arguments["how"], number)
    else:
        say({"jsonrpc": "2.0", "id": number, "error": {"code": -32602, "message": f"no tool {name}"}})


def main() -> None:
    wrong = sys.argv[1] if len(sys.argv) > 1 else ""
    if wrong == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if wrong == "mute":
        time.sleep(600)
    if wrong == "dead":
        sys.exit("I cannot start")
    for line in sys.stdin:
        said = json.loads(line)
        method, number = said.get("method"), said.get("id")
        if method == "initialize":
            version = said["params"]["protocolVersion"]
            info = {"name": "test", "version": "1"}
            answer(number, protocolVersion=version, capabilities={"tools": {}}, serverInfo=info)
        elif method == "tools/list":
            tools = [
                {"name": name, "description": name, "inputSchema": {"type": "object", "properties": properties}}
                for name, properties in TOOLS.items()
            ]
            answer(number, tools=tools)
        elif method == "tools/call":
            call(number, said["params"]["name"], said["params"].get("arguments", {}))
        elif number is not None:
            say({"jsonrpc": "2.0", "id": number, "error": {"code": -32601, "message": "no such method"}})


if __name__ == "__main__":
    main()
