"""Where a reply that grows may be cut, so that what is before the cut looks the same for ever. Pure.

Rendering all of a reply again for each piece would cost the square of its length. Markdown is decided block by block:
what lies before a blank line, outside of a fence and of a list, is never changed by what comes after it.
"""

import re

# A block that is longer than this is cut all the same, at the end of a line or a word.
LONGEST_BLOCK = 8 << 10
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_LOOSE = re.compile(r"\s|[-*+]\s|\d{1,9}[.)]\s|>|\|")


def stable_end(text: str, begin: int = 0) -> int:
    """Return up to where a growing text will not look different any more.

    Args:
        text: what has come.
        begin: an earlier answer for the same text; nothing before it is looked at.
    """
    end, at, fence, is_blank = begin, begin, "", False
    for line in text[begin:].splitlines(keepends=True):
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence):
                fence = ""
        else:
            if is_blank and line.strip() and not _LOOSE.match(line):
                end = at
            if mark:
                fence = mark[1]
        is_blank = not line.strip()
        at += len(line)
    if len(text) - end > LONGEST_BLOCK and not fence:
        return _end_of_word(text, end + LONGEST_BLOCK)
    return end


def _end_of_word(text: str, most: int) -> int:
    for mark in ("\n", " "):
        at = text.rfind(mark, most - (LONGEST_BLOCK >> 1), most)
        if at >= 0:
            return at + 1
    return most
