"""Files of an export: one for each session, for the user alone, never outside their folder, never over another."""

import json
import os
from pathlib import Path

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from client.export_files import FORMS, ExportRefused, file_name, make_folder, write, write_one
from client.export_forms import as_html, as_text
from protocol.views import ErrorView, Exported, HistoryRow, ParentView

ID = "0123456789abcdef"


def exported(name: str = "a b", session: str = ID, text: str = "hello", missing: str | None = None) -> Exported:
    error = ErrorView(code="model.timeout", message="It did not answer.")
    rows = [
        HistoryRow(seq=1, role="user", text=text, turn_id=None, stop_reason=None, at=1.0),
        HistoryRow(seq=2, role="assistant", text="half", turn_id="t", stop_reason="failed", at=2.0, error=error),
    ]
    return Exported(
        id=session, name=name, type="debug", model="m", cwd="/", closed=False, created_at=1.0, last_active_at=2.0,
        messages=rows, missing=missing,
    )  # fmt: skip


@given(name=st.text(max_size=300), session=st.text(max_size=40))
def test_whatever_a_session_is_called_its_file_is_one_plain_name(name, session):
    found = file_name(exported(name, session), "json")

    assert found == Path(found).name
    assert found not in {"", ".", ".."}
    assert not found.startswith((".", "-"))
    assert len(os.fsencode(found)) <= 255
    assert all(c.isalnum() or c in "-_." for c in found)


def test_sessions_of_one_name_have_files_of_their_own():
    assert file_name(exported("a", ID), "md") == f"a-{ID}.md"
    assert file_name(exported("a", ID[::-1]), "md") != file_name(exported("a", ID), "md")
    assert file_name(exported("a", "../x"), "md") != file_name(exported("a", "../y"), "md")


def test_json_is_exact_and_markdown_cannot_steer_a_terminal(tmp_path):
    text = "größer 🙂 \x1b[2J\x1b]0;title\x07"
    in_json, in_md = (write(tmp_path, exported(text=text), form) for form in ("json", "md"))
    raw = Path(in_json.file).read_bytes()
    shown = Path(in_md.file).read_text()

    assert json.loads(raw)["messages"][0]["text"] == text
    assert raw.isascii()
    assert "größer 🙂" in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "message 2, failed" in shown
    assert "It did not answer." in shown
    assert (in_json.messages, in_json.missing) == (2, None)


def test_files_are_private_and_nothing_is_overwritten_or_followed(tmp_path):
    first = write(tmp_path, exported(), "md")
    again = write(tmp_path, exported(text="another"), "md")
    trap = tmp_path / file_name(exported("trap"), "md")
    trap.symlink_to(tmp_path / "elsewhere")
    followed = write(tmp_path, exported("trap"), "md")

    assert Path(first.file).stat().st_mode & 0o777 == 0o600
    assert again.file is None
    assert "is there already" in again.missing
    assert "hello" in Path(first.file).read_text()
    assert followed.file is None
    assert not (tmp_path / "elsewhere").exists()


def test_what_is_missing_is_said_in_the_file_and_in_the_result(tmp_path):
    done = write(tmp_path, exported(missing="messages 3 to 9"), "md")

    assert done.missing == "messages 3 to 9"
    assert "messages 3 to 9" in Path(done.file).read_text()


def test_a_folder_is_made_and_what_is_none_is_refused(tmp_path):
    make_folder(tmp_path / "new")
    (tmp_path / "file").touch()

    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    for folder in (tmp_path / "file", tmp_path / "no" / "such"):
        with pytest.raises(ExportRefused, match=str(folder)):
            make_folder(folder)


def test_a_page_of_html_has_no_script_and_asks_nobody_for_anything():
    text = "<script>alert(1)</script> \x1b[2J & größer\nsecond line"
    page = as_html(exported(name="<b>", text=text, missing="message 3 <i>"))

    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<title>&lt;b&gt;</title>" in page
    assert "default-src 'none'" in page
    assert "\x1b" not in page
    assert "größer\nsecond line" in page
    assert "message 3 &lt;i&gt;" in page
    assert "It did not answer." in page
    assert not any(word in page for word in ("http://", "https://", "src=", "href="))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_where_a_session_came_from(form):
    session = msgspec.structs.replace(exported(), parent=ParentView(session=ID[::-1], seq=4), origin="codex:<1>")

    assert ID[::-1] in as_text(session, form)
    assert "codex:" in as_text(session, form)
    assert ("codex:<1>" in as_text(session, form)) == (form != "html")


def test_a_file_is_replaced_only_when_that_is_wanted_and_a_link_is_not_followed(tmp_path):
    path = tmp_path / "a.md"
    write_one(path, exported(), "md")
    with pytest.raises(ExportRefused, match="already"):
        write_one(path, exported(text="another"), "md")
    assert "hello" in path.read_text()
    write_one(path, exported(text="another"), "md", is_forced=True)
    assert "another" in path.read_text()

    (tmp_path / "link.md").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ExportRefused):
        write_one(tmp_path / "link.md", exported(), "md")
    write_one(tmp_path / "link.md", exported(), "md", is_forced=True)

    assert not (tmp_path / "elsewhere").exists()
    assert not (tmp_path / "link.md").is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.md", "link.md"]


def test_a_file_that_cannot_be_written_is_said_and_leaves_nothing(tmp_path):
    with pytest.raises(ExportRefused, match="cannot be written"):
        write_one(tmp_path / "no" / "a.md", exported(), "md")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ExportRefused, match="folder"):
        write_one(tmp_path / "folder", exported(), "md", is_forced=True)

    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
