"""Files in prompts: what names one, what is refused, how they stand in the text."""

import os
from pathlib import Path

import pytest

from client.attachments import attach, prompt_of, read_files
from client.core.attaching import mentions, with_files
from protocol.errors import AttachmentBad, PromptTooLarge
from protocol.limits import IMAGES, IMAGES_BYTES, PROMPT_BYTES

SOURCE = "x = 1\n"


def block(name: str, text: str, fence: str = "```") -> str:
    return f"File {name} ({len(text.encode())} bytes):\n{fence}\n{text}{fence}"


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "a.py").write_text("x = 1\n")
    (folder / "notes.").write_text("odd\n")
    (tmp_path / "secret").write_text("key\n")
    return folder


def test_a_word_that_names_a_file_brings_its_text(cwd: Path):
    assert prompt_of("What does @src/a.py do?", cwd).text == f"What does @src/a.py do?\n\n{block('src/a.py', SOURCE)}"


@pytest.mark.parametrize("text", ["@src/a.py", "see (and) @src/a.py.", "@src/a.py, why?", "a\n@src/a.py)"])
def test_marks_at_the_end_belong_to_the_sentence(cwd: Path, text: str):
    assert prompt_of(text, cwd).text == f"{text}\n\n{block('src/a.py', SOURCE)}"


def test_a_file_whose_name_ends_with_a_mark_is_meant_first(cwd: Path):
    assert prompt_of("@notes.", cwd).text.endswith(block("notes.", "odd\n"))


def test_a_file_that_is_named_twice_comes_once(cwd: Path):
    assert prompt_of("@src/a.py and @src/a.py", cwd).text.count("x = 1") == 1


@pytest.mark.parametrize(
    "text",
    ["mail me@src/a.py", "@nothing", "@src", "@", "@ src/a.py", "\\@nothing", "@../secret", "@~/x", "@@src/a.py"],
)
def test_what_names_no_file_of_the_folder_stays_as_it_is(cwd: Path, text: str):
    assert prompt_of(text, cwd).text == text


def test_an_absolute_path_is_a_word(cwd: Path):
    assert prompt_of(f"@{cwd / 'src' / 'a.py'}", cwd).text == f"@{cwd / 'src' / 'a.py'}"


def test_a_backslash_makes_it_a_word(cwd: Path):
    assert prompt_of("say \\@src/a.py and \\@none", cwd).text == "say @src/a.py and \\@none"


def test_a_link_that_leads_out_is_refused_and_one_within_is_followed(cwd: Path):
    (cwd / "out").symlink_to("../secret")
    (cwd / "in").symlink_to("src/a.py")

    assert prompt_of("@in", cwd).text.endswith(block("in", "x = 1\n"))
    with pytest.raises(AttachmentBad, match=r"out leads out of the session's folder\."):
        prompt_of("@out", cwd)


def test_a_file_that_is_named_by_option_may_lie_anywhere(cwd: Path):
    (cwd / "out").symlink_to("../secret")

    assert read_files([str(cwd / "out")]) == [(str(cwd / "out"), "key\n")]


def test_a_fifo_and_a_device_are_refused_at_once(cwd: Path):
    os.mkfifo(cwd / "fifo")

    for path in (cwd / "fifo", Path("/dev/zero"), cwd / "src"):
        with pytest.raises(AttachmentBad):
            read_files([str(path)])
    assert prompt_of("@fifo", cwd).text == "@fifo"


@pytest.mark.parametrize(("data", "why"), [(b"a\0b", "is binary"), (b"ok\xff", "no text in UTF-8: byte 2")])
def test_what_is_no_text_is_refused_with_its_size(cwd: Path, data: bytes, why: str):
    (cwd / "b").write_bytes(data)

    with pytest.raises(AttachmentBad, match=rf"b \(3 bytes\) .*{why}"):
        prompt_of("@b", cwd)


def test_a_file_that_is_not_there_is_told_by_name(cwd: Path):
    with pytest.raises(AttachmentBad, match=r"no-file cannot be read: No such file or directory\."):
        read_files(["no-file"])


def test_what_is_too_large_is_refused_with_its_sizes(cwd: Path):
    (cwd / "big").write_bytes(b"x" * (PROMPT_BYTES + 5))
    (cwd / "half").write_bytes(b"x" * (PROMPT_BYTES // 2))

    with pytest.raises(PromptTooLarge, match=f"big has {PROMPT_BYTES + 5} bytes; a prompt may have {PROMPT_BYTES}"):
        prompt_of("@big", cwd)
    half = str(cwd / "half")
    with pytest.raises(PromptTooLarge, match=rf"half {PROMPT_BYTES // 2}.*; {PROMPT_BYTES} are allowed"):
        attach("x", [*read_files([half]), ("b", "y" * (PROMPT_BYTES // 2))])


def test_a_fence_is_longer_than_any_in_the_file():
    text = "```\n````py\n"

    assert with_files("", [("f", text)]) == block("f", text, "`````")


def test_a_file_without_an_end_of_line_gets_one():
    assert with_files("", [("f", "x")]) == "File f (1 bytes):\n```\nx\n```"
    assert with_files("", [("f", "")]) == "File f (0 bytes):\n```\n```"


def test_a_name_cannot_steer_a_terminal(tmp_path: Path):
    path = tmp_path / "a\x1b[2Jb"
    path.write_text("x\n")

    assert "\x1b" not in read_files([str(path)])[0][0]


PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0" + bytes(9), "image/jpeg"),
        (b"GIF89a" + bytes(9), "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
    ],
)
def test_an_image_goes_along_as_it_is_and_the_text_says_so(cwd: Path, data: bytes, kind: str):
    (cwd / "x.bin").write_bytes(data)
    prompt = prompt_of("What is in @x.bin?", cwd, read_files([str(cwd / "x.bin")])[:0])

    assert [(image.media_type, image.data) for image in prompt.images] == [(kind, data)]
    assert f"\n\n[image x.bin: {kind}, {len(data)} bytes, " in prompt.text


def test_images_are_bounded_alone_and_together(cwd: Path):
    (cwd / "huge.png").write_bytes(PNG + bytes(IMAGES_BYTES))
    for n in range(IMAGES + 1):
        (cwd / f"{n}.png").write_bytes(PNG + bytes([n]))
    for n in (1, 2):
        (cwd / f"half{n}.png").write_bytes(PNG + bytes([n]) * (IMAGES_BYTES // 2))

    with pytest.raises(PromptTooLarge, match="images may have"):
        prompt_of("@huge.png", cwd)
    with pytest.raises(PromptTooLarge, match=f"has {IMAGES + 1} images"):
        prompt_of(" ".join(f"@{n}.png" for n in range(IMAGES + 1)), cwd)
    with pytest.raises(PromptTooLarge, match="has 2 images"):
        prompt_of("@half1.png @half2.png", cwd)


def test_mentions_say_where_they_are():
    assert [(m.at, m.is_escaped, m.paths) for m in mentions("a @b, \\@c")] == [
        (2, False, ("b,", "b")),
        (6, True, ("c",)),
    ]
