"""The terminal in a browser: who is let in, over HTTP and WebSocket; and the whole of it where there is a Chromium."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import psutil
import pyte
import pytest

from tests.support.model_server import ModelServer
from tests.support.product import COMMAND, Product, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.terminal]

WITHIN_S = 30
WISH = 'use {"tool": "run_command", "arguments": {"command": "echo some words > made.txt"}}'
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def server(product: Product) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [COMMAND, "web"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=product.environment,
        cwd=product.home.parent,
    )  # fmt: skip
    assert process.stdout is not None
    address = process.stdout.readline().removeprefix("Open ").strip()
    yield process, address
    below = terminals(process)
    process.send_signal(signal.SIGINT)
    process.stdout.close()
    assert process.wait(WITHIN_S) == 0
    wait_for(lambda: not any(terminal.is_running() for terminal in below), WITHIN_S)


def terminals(server: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the processes that draw for the server's visitors; the coordinator that it started stays."""
    found = psutil.Process(server.pid).children(recursive=True)
    return [process for process in found if "from client.cli" in " ".join(process.cmdline())]


class Eyes:
    """What xterm.js is sent, as a person sees it."""

    def __init__(self, width: int = 80, height: int = 24) -> None:
        self._screen = pyte.Screen(width, height)
        self._stream = pyte.ByteStream(self._screen)

    def feed(self, data: bytes) -> None:
        self._stream.feed(data)

    def text(self) -> str:
        return "\n".join(self._screen.display)


async def until_seen(sent: aiohttp.ClientWebSocketResponse, eyes: Eyes, *words: str) -> None:
    while not all(word in eyes.text() for word in words):
        message = await asyncio.wait_for(sent.receive(), WITHIN_S)
        assert message.type in {aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT}, eyes.text()
        if message.type is aiohttp.WSMsgType.BINARY:
            eyes.feed(message.data)


def test_only_the_browser_that_opened_the_address_first_is_let_in_and_gets_a_terminal(
    server: tuple[subprocess.Popen[str], str], product: Product
):
    _, address = server
    url = address.partition("/?")[0]
    assert url.startswith("http://127.0.0.1:")

    async def story() -> None:
        async with aiohttp.ClientSession() as stranger:
            for path in ("/", "/?token=wrong", "/static/js/textual.js", "/download/x", "/ws"):
                assert (await stranger.get(url + path)).status == 403, path
        jar = aiohttp.CookieJar(unsafe=True)  # a browser keeps cookies of addresses too
        async with aiohttp.ClientSession(cookie_jar=jar) as browser:
            rebound = await browser.get(address, headers={"Host": "evil.example"})
            assert rebound.status == 403  # and the token is not spent
            first = await browser.get(address, allow_redirects=False)
            assert (first.status, first.headers["Location"]) == (303, "/")
            assert {"HttpOnly", "SameSite=Strict"} <= set(first.headers["Set-Cookie"].split("; "))
            page = await browser.get(url)
            assert page.status == 200
            assert "default-src 'none'" in page.headers["Content-Security-Policy"]
            assert f"ws://{url.removeprefix('http://')}/ws" in await page.text()
            async with aiohttp.ClientSession() as late:
                assert (await late.get(address)).status == 403
            for origin in ("http://evil.example", None):
                headers = {} if origin is None else {"Origin": origin}
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await browser.ws_connect(f"{url}/ws", headers=headers)
                assert refused.value.status == 403
            async with browser.ws_connect(f"{url}/ws?width=80&height=24", headers={"Origin": url}) as wire:
                eyes = Eyes()
                await until_seen(wire, eyes, "session-1  development", "type here")
                await wire.send_json(["stdin", "hello from a browser\r"])
                await until_seen(wire, eyes, "<hello from a browser>")
                await wire.send_json(["stdin", "\x1b1\x11"])
                while not wire.closed and (await asyncio.wait_for(wire.receive(), WITHIN_S)).type not in {
                    aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING,
                }:  # fmt: skip
                    pass

    asyncio.run(story())
    assert product.session("session-1")["messages"] == 2


def test_a_server_that_is_killed_leaves_no_terminal_behind_and_a_port_that_is_taken_is_said(
    product: Product,
):
    process = subprocess.Popen(
        [COMMAND, "web"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=product.environment,
        cwd=product.home.parent,
    )  # fmt: skip
    assert process.stdout is not None
    address = process.stdout.readline().removeprefix("Open ").strip()
    url = address.partition("/?")[0]

    async def story() -> list[psutil.Process]:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
            await browser.get(address)
            async with browser.ws_connect(f"{url}/ws", headers={"Origin": url}) as wire:
                await until_seen(wire, Eyes(), "type here")
                below = terminals(process)
                process.kill()
                return below

    below = asyncio.run(story())
    process.wait(WITHIN_S)
    process.stdout.close()
    assert below
    wait_for(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in below), WITHIN_S)
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = product.result("web", "--port", str(port))
    assert done.returncode == 1
    assert f"Port {port} of 127.0.0.1 cannot be had" in done.stderr


class Page:
    """A page of a headless Chromium, over its DevTools protocol."""

    def __init__(self, wire: aiohttp.ClientWebSocketResponse) -> None:
        self._wire, self._number = wire, 0

    async def do(self, method: str, **facts: object) -> dict:
        self._number += 1
        await self._wire.send_json({"id": self._number, "method": method, "params": facts})
        while True:
            answer = await asyncio.wait_for(self._wire.receive_json(), WITHIN_S)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    async def value(self, script: str) -> object:
        return (await self.do("Runtime.evaluate", expression=script, returnByValue=True))["result"].get("value")

    async def type(self, text: str) -> None:
        await self.do("Input.insertText", text=text)

    async def press(self, key: str, code: int, modifiers: int = 0) -> None:
        facts = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        text = {"text": "\r"} if key == "Enter" else {}
        await self.do("Input.dispatchKeyEvent", type="keyDown", **facts, **text)
        await self.do("Input.dispatchKeyEvent", type="keyUp", **facts)

    async def sees(self, *words: str) -> None:
        end_s = time.monotonic() + WITHIN_S
        while True:
            sent = await self.value(SENT)
            size = await self.value("[window.seen.width, window.seen.height]")
            assert isinstance(size, list)
            eyes = Eyes(*size)
            for piece in json.loads(str(sent)):
                eyes.feed(bytes(piece))
            if all(word in eyes.text() for word in words):
                return
            assert time.monotonic() < end_s, eyes.text()
            await asyncio.sleep(0.1)


# What the page is sent is kept beside it, because the terminal is drawn on a canvas.
HOOK = """
window.seen = {pieces: [], width: 80, height: 24, hosts: []};
const Inner = window.WebSocket;
window.WebSocket = class extends Inner {
  constructor(...words) {
    super(...words);
    this.binaryType = 'arraybuffer';
    const asked = new URL(words[0]).searchParams;
    window.seen.width = +asked.get('width') || 80; window.seen.height = +asked.get('height') || 24;
    this.addEventListener('message', async e => {
      if (typeof e.data === 'string') return;
      const data = e.data instanceof Blob ? await e.data.arrayBuffer() : e.data;
      window.seen.pieces.push(Array.from(new Uint8Array(data)));
    });
  }
};
"""
SENT = "JSON.stringify(window.seen.pieces)"


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Page]:
    folder = Path(tempfile.mkdtemp(prefix="cc-browser-"))
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run",
        f"--user-data-dir={folder}", "--window-size=1100,700", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        line = b""
        while b"DevTools listening on" not in line:
            line = await asyncio.wait_for(process.stderr.readline(), WITHIN_S)
            assert line, "the browser did not start"
        port = re.search(rb":(\d+)/", line)
        assert port is not None
        async with aiohttp.ClientSession() as http:
            pages = await (await http.get(f"http://127.0.0.1:{port[1].decode()}/json")).json()
            found = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
            async with http.ws_connect(found, max_msg_size=0) as wire:
                yield Page(wire)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined] - so that its pipe is closed before the loop is
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed; who is let in is tested without one")
def test_in_a_chromium_a_person_makes_a_session_sees_a_reply_and_approves(
    server: tuple[subprocess.Popen[str], str], product: Product, model: ModelServer
):
    _, address = server

    async def story() -> None:
        async with chromium() as page:
            await page.do("Page.enable")
            await page.do("Network.enable")
            await page.do("Page.addScriptToEvaluateOnNewDocument", source=HOOK)
            await page.do("Page.navigate", url=address)
            await page.sees("session-1  development", "type here")
            await asyncio.to_thread(product.run, "new", "other")
            assert "token" not in str(await page.value("location.href"))
            await page.value("document.querySelector('textarea').focus()")
            await page.type("/new review by-browser")
            await page.press("Enter", 13)
            await page.sees("by-browser  review")
            await page.type("hello")
            await page.press("Enter", 13)
            await page.sees("<hello>")
            await asyncio.to_thread(product.run, "send", "other", WISH, "--no-wait")
            await page.sees("[other] asks")
            await page.press("F2", 113)
            await page.sees("[other] wants run_command", "echo some words > made.txt")
            await page.type("a")
            await page.sees("run_command of other: approved")

    asyncio.run(asyncio.wait_for(story(), 120))
    wait_for((product.home.parent / "made.txt").exists)
    assert product.session("by-browser")["messages"] == 2
