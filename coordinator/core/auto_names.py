"""Names that come from the conversation: a few words of a prompt, in kebab case. Pure words, no model.

A script that separates no words (Chinese, Japanese, Thai) gives its first run of letters.
"""

import itertools
import re
from collections.abc import Callable

from coordinator.core.naming import normal_name
from protocol.errors import NameIllegal
from protocol.terminal_safe import clean

NAME_CHARS = 20
# So many words make a name; one alone says too little, unless the script separates none.
WORDS = 3
FEWEST = 2
# A run of letters that is longer is no word of a name.
LONGEST_WORD = 14
# Nor one with digits that is: it may be a piece of a key, and a name is shown to everybody as the title of a process.
LONGEST_MIXED = 5
READ_CHARS = 2_000
# Whoever has not said by then what it is about keeps the number for a name.
PROMPTS = 3
# A longer answer of a model is no name.
MODEL_CHARS = 60
_WORD = re.compile(r"[^\W_]+")
_ADDRESS = re.compile(r"\S*(?:://|@)\S*")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
STOP_WORDS = """
about all am an and any are as at be been but by can could do does for from get give had has have hello help hey
hi how if in into is it its just let like make me my need no not of on one or our out please should so some tell
than thank thanks that the their them then there these they this to up us use want was we were what when where
which who why will with would write you your did said say see show know think go going more now then really very
aber als am auch auf aus bei bin bitte das dass dem den der des die du ein eine einem einen einer er es für hallo
ich im in ist kannst mein mich mir mit nach nicht oder sich sie sind und uns vom von war was wenn wer wie wir wird
zu zum zur
au aux avec ce ces comment dans de des du elle en est et il je la le les leur mais mes moi mon ne nous par pas peux
pour que qui sa se ses son sont sur tu un une veux vous
al como con de del el ella en es esta este la las lo los me mi no para pero por que se si su una un uno yo
вы для из как мне мы на не но он она от по что это
"""
_STOP = frozenset(STOP_WORDS.split())


def name_for(text: str, is_taken: Callable[[str], bool], limit: int = NAME_CHARS) -> str | None:
    """Return a name that says what a prompt is about; None when it does not say enough.

    Args:
        text: the prompt.
        is_taken: whether another session has that name.
        limit: characters that it may have, 20 at most.
    """
    limit = min(limit, NAME_CHARS)
    words = _words(clean(text[:READ_CHARS]))
    base = _joined(words, limit)
    if base is None:
        return None
    for n in itertools.count(1):
        ending = "" if n == 1 else f"-{n}"
        name = base[: limit - len(ending)].rstrip("-") + ending
        if not is_taken(name):
            return name
    raise AssertionError  # there is always a number that is free


def name_of_model(text: str, is_taken: Callable[[str], bool], limit: int = NAME_CHARS) -> str | None:
    """Return the name that a model's answer is; None when it says anything else.

    Args:
        text: the answer.
        is_taken: whether another session has that name.
        limit: characters that it may have, 20 at most.
    """
    lines = [line for line in clean(text).splitlines() if line.strip()]
    if len(lines) != 1 or len(lines[0]) > MODEL_CHARS or any(mark in lines[0] for mark in "<>[]{}"):
        return None
    return name_for(lines[0], is_taken, limit)


def _words(text: str) -> list[str]:
    found: list[str] = []
    for word in _WORD.findall(_ADDRESS.sub(" ", text.replace("'", "").replace("\u2019", "")).casefold()):
        has_digits = any(char.isdigit() for char in word)
        longest = LONGEST_MIXED if has_digits else LONGEST_WORD
        is_telling = 1 < len(word) <= longest and not word.isdigit() and word not in _STOP
        if (is_telling or _UNSPACED.match(word)) and word not in found:
            found.append(word)
    return found


def _joined(words: list[str], limit: int) -> str | None:
    unspaced = next((word for word in words if _UNSPACED.match(word)), None)
    if unspaced is not None and (len(words) < FEWEST or len(unspaced) > LONGEST_WORD):
        words = [unspaced[: limit // 2]]
    elif len(words) < FEWEST:
        return None
    name = ""
    for word in words[:WORDS]:
        longer = f"{name}-{word}" if name else word[:limit]
        if len(longer) <= limit:
            name = longer
    try:
        return normal_name(name)
    except NameIllegal:  # a mark at the beginning, or a type's word
        return None
