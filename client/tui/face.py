"""What the full-screen terminal's knowledge asks of its screen."""

from typing import Protocol

from client.core.record import Record


class Face(Protocol):
    """What the screen does when something has changed."""

    def show(self, record: Record) -> None:
        """Another session is looked at."""

    def grew(self) -> None:
        """The record that is looked at has changed."""

    def listed(self) -> None:
        """The roster has changed."""

    def ring(self, session: str, text: str) -> None:
        """An episode began of which a person who looks elsewhere should know."""

    def state(self, text: str) -> None:
        """Something about coordinator or store; "" when all is well again."""

    def heard(self, command: str, text: str) -> None:
        """A command had more to say than a line."""

    def open_inbox(self) -> None:
        """Show everything that waits."""

    def give_back(self, session: str, line: str) -> None:
        """A line was not taken: it stands in the input again."""
