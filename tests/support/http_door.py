"""The HTTP door as a process of its own, and a client of it that is the standard library's."""

import contextlib
import http.client
import json
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.support.product import COMMAND, Product


@dataclass
class Door:
    """Where the door is, and its token."""

    port: int
    token: str
    process: subprocess.Popen[str]

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Return status and document of an answer; headers with None for a value are left out."""
        status, data = self.raw(method, path, None if body is None else json.dumps(body).encode(), **headers)
        return status, json.loads(data) if data else None

    def raw(self, method: str, path: str, data: bytes | None, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            sent = {"authorization": f"Bearer {self.token}"} | {k.replace("_", "-"): v for k, v in headers.items()}
            connection.request(method, path, data, {k: v for k, v in sent.items() if v is not None})
            answer = connection.getresponse()
            return answer.status, answer.read()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def http_door(product: Product, *words: str) -> Iterator[Door]:
    process = subprocess.Popen(
        [COMMAND, "http", "--port", "0", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=product.environment,
        cwd=product.home.parent,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("Listening on http://127.0.0.1:"), (line, process.stderr.read() if not line else "")
        port = int(line.split(";")[0].rpartition(":")[2])
        yield Door(port, (product.home / "http-token").read_text().strip(), process)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        said = process.stderr.read()
        assert said == "", said
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
