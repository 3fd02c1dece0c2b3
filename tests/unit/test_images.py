"""Prompts with images: kept by the store alone, delivered with their prompt, copied with it. Core and store."""

import sqlite3

import pytest

from coordinator.core import effects as e
from coordinator.shell import images, records
from coordinator.shell.schema import prepare
from protocol import messages as m
from protocol.limits import IMAGES_BYTES
from protocol.settings import ModelSettings
from protocol.views import Usage
from tests.support.simulated import Simulated, live

PNG = m.Image(media_type="image/png", data=b"\x89PNG\r\n\x1a\nx")
GIF = m.Image(media_type="image/gif", data=b"GIF89a")


def submit(world: Simulated, *given: m.Image) -> list[m.Message]:
    return world.say(m.Submit(request=9, session="a", idem="k", text="look", follow=False, images=list(given)))


def test_a_prompt_with_images_is_looked_up_when_it_is_delivered_also_after_a_restart():
    world = live()
    world._at_once = True
    submit(world, PNG)
    world.settle()

    assert [(sent.session, sent.seq) for sent in world.prompts_sent] == [(world.world.roll.owner_of("a").id, 1)]
    assert [d for _, d in world.to_workers if isinstance(d, m.Deliver)] == []

    world.reboot()

    assert world.world.sessions[world.prompts_sent[0].session].waiting[0].has_images


def test_images_that_are_too_large_or_that_nobody_would_see_are_refused():
    world = live()
    huge = m.Image(media_type="image/png", data=bytes(IMAGES_BYTES))
    too_large = submit(world, PNG, huge)
    world.world.settings.models["m"] = ModelSettings(provider="openai", model="m", images="no")
    not_taken = submit(world, PNG)

    assert [a.code for a in (*too_large, *not_taken)] == ["prompt.too_large", "model.no_images"]
    assert world.world.sessions[world.world.roll.owner_of("a").id].messages == 0


@pytest.fixture
def db():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.row_factory = sqlite3.Row
    prepare(connection)
    records.next_boot(connection)
    records.apply(e.InsertSession("s", "a", 1, "debug", "m", None, "/", {}, 1.0, b"", 1), connection)
    records.apply(e.InsertPrompt("s", "k", "look", 1.0, b"", 1, follow=False, images=(PNG, GIF)), connection)
    yield connection
    connection.close()


def finish(db: sqlite3.Connection, stop_reason: str) -> None:
    records.apply(e.InsertReply("s", 1, "t", "x", stop_reason, Usage(), None, False, 2.0), db)


def test_the_store_gives_a_prompt_its_images_in_order_and_says_that_it_has_some(db):
    (stored,) = records.load_sessions(db)

    assert stored.unanswered[0].has_images
    assert images.prompt_of("s", 1)(db) == m.Deliver(seq=1, text="look", images=[PNG, GIF])
    assert images.prompt_of("s", 7)(db) is None


def test_a_retry_and_a_fork_have_them_too_and_a_deleted_session_leaves_none(db):
    finish(db, "failed")
    again = records.apply(e.InsertRetry("s", "k2", 3.0, b"", 1, follow=False), db)
    records.apply(e.InsertFork("f", "s", None, "f", 2, 4.0, b"", 1), db)

    assert (again.seq, again.has_images) == (3, True)
    assert images.prompt_of("s", 3)(db).images == [PNG, GIF]
    assert images.prompt_of("f", 1)(db).images == [PNG, GIF]

    for session in ("s", "f"):
        records.apply(e.DeleteSession(session, b"", 1), db)

    assert db.execute("SELECT count(*) FROM images").fetchone()[0] == 0
