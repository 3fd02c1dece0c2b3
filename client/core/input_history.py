"""What was typed before, for the keys up and down. Pure."""

# Of a terminal; what is older is forgotten.
KEPT = 200


class InputHistory:
    """The lines that a person sent, and where in them the keys are.

    What stood in the input when a person began to look is given back at the end.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._at = 0
        self._begun = ""

    def add(self, line: str) -> None:
        """Note a line that was sent; the same twice in a row counts once."""
        if line.strip() and (not self._lines or self._lines[-1] != line):
            self._lines.append(line)
            del self._lines[:-KEPT]
        self._at = len(self._lines)

    def older(self, current: str) -> str | None:
        """Return the line before; None when there is none."""
        if self._at == 0:
            return None
        if self._at == len(self._lines):
            self._begun = current
        self._at -= 1
        return self._lines[self._at]

    def newer(self) -> str | None:
        """Return the line after, at the end what was begun; None when that is already there."""
        if self._at == len(self._lines):
            return None
        self._at += 1
        return self._begun if self._at == len(self._lines) else self._lines[self._at]

    def leave(self) -> None:
        """The text was changed: what is looked up next begins at the end again."""
        self._at = len(self._lines)
