"""One function for everything that reaches a terminal: text from models, tools, users and errors cannot steer it.

A terminal obeys what it is sent: an escape sequence in a reply could write the clipboard, change the title, or hide
the command that a person is asked to approve. The rule is per character, so a sequence split over two pieces is
broken all the same.
"""

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Direction overrides and isolates, marks, fillers, zero-width characters, the byte-order mark, interlinear, shorthand,
# musical and hieroglyph format characters, tags, variation selectors, line and paragraph separators: they change what a
# reader sees, or carry text, without being seen. U+FE0E and U+FE0F stay: emoji and text symbols need them.
_INVISIBLE = (
    (0x00AD, 0x00AD),
    (0x034F, 0x034F),
    (0x061C, 0x061C),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200F),
    (0x2028, 0x202E),
    (0x2060, 0x206F),
    (0x3164, 0x3164),
    (0xD800, 0xDFFF),
    (0xFE00, 0xFE0D),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFFB),
    (0x13430, 0x1345F),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0000, 0xE0FFF),
)
_CONTROLS = [c for c in range(0x20) if c not in (0x09, 0x0A)] + list(range(0x7F, 0xA0))
_TABLE = dict.fromkeys(_CONTROLS, REPLACEMENT) | {
    c: REPLACEMENT for first, last in _INVISIBLE for c in range(first, last + 1)
}
_LINE_TABLE = _TABLE | {0x09: " ", 0x0A: " "}


def clean(text: str) -> str:
    """Return the text with every character that could steer a terminal made visible; lines and tabs stay."""
    return text.translate(_TABLE)


def clean_line(text: str) -> str:
    """Return the text as one safe line, for names, table cells and errors."""
    return text.translate(_LINE_TABLE)
