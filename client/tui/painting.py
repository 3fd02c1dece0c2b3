"""From a block of a conversation to lines on the screen. Everything is cleaned here: neither Rich nor Textual does it.

Links are written out instead of being made active: a model must not choose where a click leads.
"""

import io

from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown
from rich.padding import Padding
from rich.segment import Segment
from rich.style import Style
from rich.syntax import Syntax
from rich.text import Text
from rich.theme import Theme
from textual.strip import Strip

from client.core.record import Block
from protocol.terminal_safe import clean

# Below this the screen is too narrow for anything, and lines are cut.
NARROWEST = 4
MARGIN = 2
CODE_THEMES = {True: "ansi_dark", False: "ansi_light"}
_PARSER = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
_THEME = Theme(
    {
        "markdown.code": Style(bold=True),
        "markdown.code_block": Style(),
        "markdown.item.bullet": Style(bold=True),
        "markdown.item.number": Style(bold=True),
        "markdown.h1": Style(bold=True, underline=True),
        "markdown.h2": Style(bold=True, underline=True),
        "markdown.h3": Style(bold=True),
        "markdown.link": Style(underline=True),
        "markdown.link_url": Style(underline=True),
        "markdown.block_quote": Style(italic=True),
        "markdown.table.header": Style(bold=True),
        "markdown.table.border": Style(dim=True),
        "markdown.hr": Style(dim=True),
    },
    inherit=True,
)


class _PlainHeading(Heading):
    """A heading at the left, without a box around it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console, options
        self.text.justify = "left"
        yield self.text


class _PlainCode(CodeBlock):
    """Code with a margin, on the background of the conversation."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console, options
        code = str(self.text).rstrip()
        yield Padding(
            Syntax(code, self.lexer_name, theme=self.theme, word_wrap=True, background_color="default"), (0, 2)
        )


class _SafeMarkdown(Markdown):
    """Markdown in which HTML is text like any other: what a reply says is shown, all of it."""

    elements = {  # noqa: RUF012 - so Rich has it
        **Markdown.elements,
        "heading_open": _PlainHeading,
        "fence": _PlainCode,
        "code_block": _PlainCode,
    }

    def __init__(self, text: str, code_theme: str) -> None:
        super().__init__("", hyperlinks=False, code_theme=code_theme)
        self.markup = text
        self.parsed = _PARSER.parse(text)


class Painter:
    """Paints blocks at one width and remembers what it painted.

    Args:
        width: cells of a line.
        is_dark: which colours code has.
    """

    def __init__(self, width: int, *, is_dark: bool = True) -> None:
        self.width = width
        self._code_theme = CODE_THEMES[is_dark]
        self._console = Console(
            file=io.StringIO(),
            force_terminal=True,
            color_system="truecolor",
            legacy_windows=False,
            width=max(NARROWEST, width),
            theme=_THEME,
            highlight=False,
            markup=False,
            emoji=False,
            _environ={},
        )
        self._painted: dict[Block, tuple[int, str, list[Strip]]] = {}
        # Of a reply that grows, up to where it is painted for ever, and how.
        self._heads: dict[Block, tuple[int, list[Strip]]] = {}

    def lines(self, block: Block) -> list[Strip]:
        """Return a block as lines, with an empty one behind it."""
        known = self._painted.get(block)
        if known is not None and known[:2] == (block.version, block.mark):
            return known[2]
        lines = [*self._body(block), *self._mark(block), Strip.blank(0)]
        self._painted[block] = (block.version, block.mark, lines)
        return lines

    def _body(self, block: Block) -> list[Strip]:
        match block.kind:
            case "you":
                return self._marked(block.text, "> ", Style(bold=True))
            case "note":
                return self._marked(block.text, "· ", Style(dim=True))
            case "problem":
                return self._marked(block.text, "x ", Style(bold=True, color="red"))
            case "ask":
                return self._marked(block.text, "! ", Style(bold=True, color="yellow"))
            case "model":
                return self._reply(block)

    def _mark(self, block: Block) -> list[Strip]:
        return self._marked(block.mark, "  ", Style(dim=True, italic=True)) if block.mark else []

    def _marked(self, text: str, mark: str, style: Style) -> list[Strip]:
        lines = self._strips(Text(clean(text).expandtabs(4), style=style), len(mark))
        if not lines:
            lines = [Strip.blank(0)]
        first, rest = Text(mark, style=style), Text(" " * len(mark))
        return [
            Strip.join([Strip(list((first if i == 0 else rest).render(self._console))), line])
            for i, line in enumerate(lines)
        ]

    def _reply(self, block: Block) -> list[Strip]:
        if not block.is_growing:
            self._heads.pop(block, None)
            return self._markdown(block.text)
        done, head = self._heads.get(block, (0, []))
        if done > block.done:
            done, head = 0, []
        if done < block.done:
            more = self._markdown(block.text[done : block.done])
            head = [*head, *([Strip.blank(0)] if head and more else []), *more]
            self._heads[block] = (block.done, head)
        tail = self._markdown(block.text[block.done :])
        return [*head, *([Strip.blank(0)] if head and tail else []), *tail]

    def _markdown(self, text: str) -> list[Strip]:
        if not text.strip():
            return []
        found = _SafeMarkdown(clean(text), self._code_theme)
        lines = self._strips(found, MARGIN)
        while lines and not lines[-1].text.strip():
            lines.pop()
        return [Strip.join([Strip.blank(MARGIN), line]) for line in lines]

    def _strips(self, renderable: RenderableType, margin: int) -> list[Strip]:
        options = self._console.options.update(width=max(NARROWEST, self.width - margin), highlight=False)
        lines = self._console.render_lines(renderable, options, pad=False)
        return [Strip([_on_any_ground(segment) for segment in line]) for line in lines]


def _on_any_ground(segment: Segment) -> Segment:
    """Return a part of a line without a background of its own, which would be black on everything else."""
    style = segment.style
    if style is None or style.bgcolor is None or not style.bgcolor.is_default:
        return segment
    bare = Style(color=style.color, bold=style.bold, dim=style.dim, italic=style.italic, underline=style.underline)
    return Segment(segment.text, bare)
