"""What waits for a peer whose pipe is full: bounded, in order, and of each state only the last value."""

from collections.abc import Hashable, Iterator

# Frames kept for one peer.
FRAMES = 1_000


class Backlog:
    """Frames for one peer."""

    def __init__(self) -> None:
        self._frames: dict[Hashable, bytes] = {}
        self._count = 0

    def add(self, frame: bytes, key: Hashable | None) -> bool:
        """Keep a frame; False when there is no room for it.

        Args:
            frame: what to send later.
            key: frames of the same key replace each other; None is a frame of its own.
        """
        if key is None:
            self._count += 1
            key = self._count
        else:
            self._frames.pop(key, None)  # the newer value takes the newer place
        if len(self._frames) >= FRAMES:
            return False
        self._frames[key] = frame
        return True

    def __iter__(self) -> Iterator[bytes]:
        """Yield the frames in order; what was yielded is taken out when the next is asked for."""
        while self._frames:
            key, frame = next(iter(self._frames.items()))
            yield frame
            del self._frames[key]

    def __len__(self) -> int:
        return len(self._frames)
