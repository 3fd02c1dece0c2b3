"""What the store keeps of a session's group, template, type and name."""

import dataclasses
from pathlib import Path

from coordinator.core import effects as e
from tests.support.stored import opened, session

KEY = f"{1:016x}"


def kept(path: Path):
    with opened(path) as store:
        return store.contents.sessions[0]


def test_group_template_and_whether_a_person_named_it_are_kept(tmp_path: Path):
    path = tmp_path / "chat-coord.db"
    with opened(path) as store:
        store.commit(dataclasses.replace(session(1), group="night", template="t", is_named=False))
    found = kept(path)

    assert (found.group, found.template, found.is_named, found.proposed_type) == ("night", "t", False, None)


def test_a_session_has_a_name_for_good_once_it_got_one(tmp_path: Path):
    path = tmp_path / "chat-coord.db"
    with opened(path) as store:
        store.commit(dataclasses.replace(session(1), is_named=False))
        store.commit(e.SaveName(KEY, "harbour-cranes", b"", 0, is_auto=True))
    found = kept(path)

    assert (found.name, found.is_named) == ("harbour-cranes", True)


def test_a_type_that_a_person_chose_ends_what_was_proposed(tmp_path: Path):
    path = tmp_path / "chat-coord.db"
    with opened(path) as store:
        store.commit(session(1))
        store.commit(e.SaveMark(KEY, "proposed_type", "review", b"", 0))
    assert kept(path).proposed_type == "review"
    with opened(path) as store:
        store.commit(e.SaveMark(KEY, "type", "planning", b"p", 1))
    found = kept(path)

    assert (found.type, found.proposed_type) == ("planning", None)
