"""A table of text, and how it is drawn: on a terminal (rich), as plain text, as Markdown."""

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

_WIDEST = 10_000  # columns of a table that is not to be cut
_PLAIN_WIDTH = 200  # columns, where the output is not a terminal: lines are not wrapped for a reader that has none


@attrs.frozen(kw_only=True)
class Table:
    """A titled table; the first `text_columns` columns are words, the others numbers. `rules` end a group of rows.

    A column's name may have two lines; a hyphen at the end of the first is no part of it. `marked` rows catch the eye
    on a terminal.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int = 1
    rules: frozenset[int] = frozenset()
    marked: frozenset[int] = frozenset()


def console_for(console: "Console | None" = None) -> "Console":
    """The console given or that of standard output; plain text without colour where it is not a terminal."""
    from rich.console import Console

    console = console or Console()
    return console if console.is_terminal else Console(file=console.file, width=_PLAIN_WIDTH, color_system=None)


def print_line(console: "Console", text: str, style: str | None = None) -> None:
    """A line as it is: nothing in it is markup, and only a terminal wraps it."""
    console.print(text, style=style, highlight=False, markup=False, soft_wrap=not console.is_terminal)


def print_table(console: "Console", table: Table) -> None:
    """An empty line, then the table. A narrower terminal wraps lines, which is better than numbers cut off."""
    grid = _grid(table, plain=not console.is_terminal or not console.encoding.lower().startswith("utf"))
    console.print()
    width = console.width
    least = console.measure(grid, options=console.options.update(max_width=_WIDEST)).minimum
    try:
        console.width = max(width, least)  # print() would cut what is wider than the console
        console.print(grid)
    finally:
        console.width = width


def markdown_table(table: Table) -> list[str]:
    """The lines of the table, without its title."""
    marks = [":---" if i < table.text_columns else "---:" for i in range(len(table.columns))]
    columns = tuple(column.replace("-\n", "").replace("\n", " ") for column in table.columns)
    rows = [columns, tuple(marks), *[tuple(escape(cell) for cell in row) for row in table.rows]]
    return ["| " + " | ".join(row) + " |" for row in rows]


def escape(text: str) -> str:
    """Text that Markdown leaves as it is."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _grid(table: Table, *, plain: bool) -> "RichTable":
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = RichTable(
        title=Text(table.title),
        title_justify="left",
        title_style="bold",
        box=box.ASCII2 if plain else box.SIMPLE_HEAD,
        pad_edge=plain,
        padding=(0, 1) if plain else (0, 1, 0, 0),
    )
    for i, column in enumerate(table.columns):
        is_text = i < table.text_columns
        texts = (column, *[row[i] for row in table.rows])
        whole = None if is_text else max(len(line) for text in texts for line in text.split("\n"))  # "12.3 ms" is one
        grid.add_column(
            column, justify="left" if is_text else "right", overflow="fold", no_wrap=not is_text, min_width=whole
        )
    for i, row in enumerate(table.rows):
        style = "bold red" if i in table.marked else None
        grid.add_row(*[Text(cell) for cell in row], end_section=i in table.rules, style=style)
    return grid
