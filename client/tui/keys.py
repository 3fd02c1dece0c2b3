"""Keys with Alt as terminals send them: an escape and a character.

Textual takes Alt with a digit for a character that macOS types so, Alt+Enter for Enter, and waits a tenth of a second
for more behind the others. Here each is known at once.
"""

from dataclasses import dataclass

from textual._ansi_sequences import ANSI_SEQUENCES_KEYS


@dataclass(frozen=True, slots=True)
class AltKey:
    """A key as Textual's table has it."""

    value: str


SEQUENCES = {"\x1b\r": AltKey("alt+enter"), **{f"\x1b{key}": AltKey(f"alt+{key}") for key in "123456789w"}}


def teach() -> None:
    """Have Textual know them."""
    for sequence, key in SEQUENCES.items():
        ANSI_SEQUENCES_KEYS[sequence] = (key,)  # type: ignore[index]
