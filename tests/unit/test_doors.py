"""What doors promise to slow and silent peers, and the words that they translate."""

import asyncio
import base64
import os

import pytest
from acp import RequestError
from acp.schema import (
    BlobResourceContents,
    EmbeddedResourceContentBlock,
    ImageContentBlock,
    ResourceContentBlock,
    TextContentBlock,
)

from client.connection import Back, Gone
from client.doors import http_sessions
from client.doors.acp_shapes import command_of, prompt_of, refusal
from client.doors.http_app import token_of
from client.doors.http_words import refused
from client.doors.stdio import LINE_BYTES, StdioTransport
from client.talking import LINE_MESSAGES, Line
from protocol import messages as m
from protocol.errors import CoordinatorAbsent, HomeUnsafe, PromptTooLarge, RemoteError, ValueIllegal
from protocol.paths import Home
from protocol.views import Usage


def piece(n: int, session: str = "s") -> m.Piece:
    return m.Piece(session=session, seq=1, turn_id="t", n=n, text="x")


def test_a_line_keeps_the_end_of_a_turn_when_its_reader_lost_pieces():
    line = Line("s")
    for n in range(LINE_MESSAGES + 100):
        line.take(piece(n))
    line.take(piece(0, "other"))
    end = m.Final(
        session="s", seq=1, reply_seq=2, turn_id="t", stop_reason="completed", usage=Usage(), pieces=9, queued_ms=None,
        first_piece_ms=None, duration_ms=1,
    )  # fmt: skip
    for told in (end, Gone(), Back()):
        line.take(told)
    kept = [line.pushed.get_nowait() for _ in range(line.pushed.qsize())]

    assert len(kept) == LINE_MESSAGES + 3
    assert kept[-3:] == [end, Gone(), Back()]
    assert all(isinstance(k, Gone | Back) or k.session == "s" for k in kept)


def test_a_silent_stream_shows_that_it_lives(monkeypatch):
    monkeypatch.setattr(http_sessions, "QUIET_S", 0.02)
    is_closed = []

    async def slow():
        try:
            yield b"first"
            await asyncio.sleep(0.3)
            yield b"second"
        finally:
            is_closed.append(True)

    async def story() -> list[bytes]:
        return [item async for item in http_sessions.with_signs_of_life(slow())]

    heard = asyncio.run(story())

    assert (heard[0], heard[-1]) == (b"first", b"second")
    assert 1 <= heard.count(b": still here\n\n") == len(heard) - 2
    assert is_closed == [True]


def test_a_message_without_an_end_takes_no_more_memory_than_its_bound():
    async def story() -> list[dict]:
        reads, feeds = os.pipe()
        answers, writes = os.pipe()
        transport = StdioTransport(reads, writes)

        def feed() -> None:
            for _ in range(3 * LINE_BYTES // 65536):
                os.write(feeds, b"x" * 65536)
            os.write(feeds, b'\n{"id": 1, "method": "m", "params": {"a": 1, "_meta": {}}}\n')
            os.close(feeds)

        feeding = asyncio.create_task(asyncio.to_thread(feed))
        got = [await transport.receive()]
        await feeding
        await transport.send({"id": 1, "result": None})
        got.append(await transport.receive())
        await transport.close()
        first = os.read(answers, 65536)
        for end in (reads, answers, writes):
            os.close(end)
        return [*got, first]

    request, end, complaint = asyncio.run(story())

    assert request == {"id": 1, "method": "m", "params": {"a": 1}}
    assert end is None
    assert b"-32600" in complaint


def test_a_prompt_is_its_text_with_the_texts_and_pictures_that_came_with_it():
    blob = EmbeddedResourceContentBlock(type="resource", resource=BlobResourceContents(uri="file:///b", blob="AA=="))
    link = ResourceContentBlock(type="resource_link", name="a.py", uri="file:///a.py")
    data = b"\x89PNG\r\n\x1a\n" + b"x" * 20
    picture = ImageContentBlock(type="image", data=base64.b64encode(data).decode(), mime_type="image/png")
    prompt = prompt_of([TextContentBlock(type="text", text="look"), link, picture])

    assert prompt.text.startswith("look\na.py (file:///a.py)\n\n[image picture 1: image/png, 28 bytes, ")
    assert [image.data for image in prompt.images] == [data]
    for wrong in (blob, ImageContentBlock(type="image", data="AA==", mime_type="image/png")):
        with pytest.raises(RequestError):
            prompt_of([wrong])
    with pytest.raises(PromptTooLarge):
        prompt_of([picture.model_copy(update={"uri": str(n)}) for n in range(9)])


def test_only_known_words_behind_a_slash_are_commands():
    assert command_of("/rename two words ") == ("rename", "two words")
    assert command_of("/retry") == ("retry", "")
    for text in ("/usr/bin is missing", " /retry", "retry", "/"):
        assert command_of(text) is None


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (RemoteError("session.unknown", "There is none.", ""), -32002, 404),
        (ValueIllegal("That is none."), -32602, 409),
        (RemoteError("session.closed", "It is closed.", ""), -32603, 409),
        (CoordinatorAbsent("There is none."), -32603, 503),
    ],
)
def test_a_no_is_said_in_the_words_of_each_protocol(error, code: int, status: int):
    assert refusal(error).code == code
    assert refusal(error).data["code"] in {"session.unknown", "value.illegal", "session.closed", "coordinator.absent"}
    assert refused(error).status_code == status


def test_a_token_is_made_once_and_is_the_owner_s_alone(tmp_path):
    home = Home(tmp_path / "home")
    token = token_of(home)
    file = home.root / "http-token"

    assert token_of(home) == token
    assert len(token) >= 32
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    with pytest.raises(HomeUnsafe):
        token_of(home)
