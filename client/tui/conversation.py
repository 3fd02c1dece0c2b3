"""The conversation of one session, line by line: only what is visible is drawn, and a switch draws what is painted.

It follows the end as long as a person has not scrolled away from it.
"""

from bisect import bisect_right

from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from client.core.record import Record
from client.tui.painting import Painter

# Of how many records the painted lines are kept.
KEPT_RECORDS = 24


class Conversation(ScrollView, can_focus=False):
    """Shows a record."""

    DEFAULT_CSS = """
    Conversation { height: 1fr; padding: 0 1; scrollbar-size-vertical: 1; overflow-x: hidden; overflow-y: scroll; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._record = Record()
        self._painters: dict[int, Painter] = {}
        self._starts: list[int] = []
        self._chunks: list[list[Strip]] = []
        self._total = 0
        # By record, where a person was who had scrolled away from the end.
        self._places: dict[int, int] = {}

    @property
    def record(self) -> Record:
        """What is shown."""
        return self._record

    @property
    def is_at_end(self) -> bool:
        """Say whether the last line is visible."""
        return self.scroll_offset.y >= self._total - self.size.height - 1

    def show(self, record: Record) -> None:
        """Show another record, where it was left."""
        if record is not self._record:
            if self.is_at_end:
                self._places.pop(id(self._record), None)
            else:
                self._places[id(self._record)] = self.scroll_offset.y
            self._record = record
        self._lay_out()
        place = self._places.get(id(record))
        self._go_to(self._total if place is None else place)
        self.refresh()

    def update(self) -> None:
        """The record has changed."""
        follows, before = self.is_at_end, self._window()
        self._lay_out()
        if follows:
            self._go_to(self._total)
        after = self._window()
        if before[0] != after[0] or len(before[1]) != len(after[1]):
            self.refresh()
            return
        # Only the lines that have changed are sent: a line over SSH may be slow.
        changed = [y for y, (old, new) in enumerate(zip(before[1], after[1], strict=True)) if old != new]
        if changed:
            left = self.gutter.left
            self.refresh(*(Region(left, y + self.gutter.top, self.size.width, 1) for y in changed))

    def grew_before(self, blocks: int) -> None:
        """So many blocks were put in at the beginning: what is visible stays where it is."""
        y = self.scroll_offset.y
        self._lay_out()
        self._go_to(y + (self._starts[blocks] if blocks < len(self._starts) else 0))
        self.refresh()

    def to_end(self) -> None:
        """Go to the end and follow it."""
        self._go_to(self._total)

    def page(self, direction: int) -> None:
        """Go a page up (-1) or down (1)."""
        self._go_to(self.scroll_offset.y + direction * max(1, self.size.height - 2))

    def render_line(self, y: int) -> Strip:
        """Return one visible line."""
        width = self.size.width
        line = self._line(self.scroll_offset.y + y)
        if line is None:
            return Strip.blank(width, self.rich_style)
        return line.crop_extend(0, width, None).apply_style(self.rich_style)

    def on_resize(self) -> None:
        """Lines break elsewhere now."""
        self.update()
        self.refresh()
        if self._total <= self.size.height:
            self._go_to(0)

    def repaint(self) -> None:
        """Colours have changed."""
        self._painters.clear()
        self.update()
        self.refresh()

    def _line(self, at: int) -> Strip | None:
        index = bisect_right(self._starts, at) - 1
        return None if at >= self._total or index < 0 else self._chunks[index][at - self._starts[index]]

    def _window(self) -> tuple[int, list[Strip | None]]:
        """Return where the visible lines begin, and them."""
        y = self.scroll_offset.y
        return y, [self._line(y + i) for i in range(self.size.height)]

    def _lay_out(self) -> None:
        width = self.size.width
        if width <= 0:
            return
        key = id(self._record)
        painter = self._painters.pop(key, None)
        if painter is None or painter.width != width:
            painter = Painter(width, is_dark=self.app.current_theme.dark)
        self._painters[key] = painter
        while len(self._painters) > KEPT_RECORDS:
            self._painters.pop(next(iter(self._painters)))
        self._record.settle()
        self._chunks = [painter.lines(block) for block in self._record.blocks]
        self._starts, self._total = [], 0
        for chunk in self._chunks:
            self._starts.append(self._total)
            self._total += len(chunk)
        self.virtual_size = Size(width, self._total)

    def _go_to(self, y: int) -> None:
        self.scroll_to(y=max(0, min(y, self._total - self.size.height)), animate=False, immediate=True, force=True)
