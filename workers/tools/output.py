"""What a model is shown of a tool's output: bounded, and it is told what is missing."""

from protocol.limits import TOOL_OUTPUT_BYTES

# Room for a mark and a last line, such as an exit code.
MARK_CHARS = 500
# Bytes that are no UTF-8 become characters of three bytes.
BOUND_BYTES = 3 * TOOL_OUTPUT_BYTES + MARK_CHARS


class Output:
    """Bytes as they come; what is over the limit is counted and thrown away."""

    def __init__(self, limit_bytes: int = TOOL_OUTPUT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._kept = bytearray()
        self.size_bytes = 0

    def add(self, data: bytes) -> None:
        """Take in some."""
        self.size_bytes += len(data)
        room = self._limit_bytes - len(self._kept)
        if room > 0:
            self._kept += data[:room]

    @property
    def is_full(self) -> bool:
        """Say whether something is missing."""
        return self.size_bytes > len(self._kept)

    def text(self) -> str:
        """Return what is kept, with a mark where the rest is missing."""
        text = bytes(self._kept).decode(errors="replace")
        if self.is_full:
            text += f"\n[… cut: {self.size_bytes} bytes in all, the first {len(self._kept)} are shown]"
        return text


def bounded(text: str) -> str:
    """Return a text within the limit; what was cut before, with its mark, stays as it is."""
    if len(text) <= TOOL_OUTPUT_BYTES + MARK_CHARS and len(text.encode(errors="replace")) <= BOUND_BYTES:
        return text
    output = Output()
    output.add(text.encode(errors="replace"))
    return output.text()
