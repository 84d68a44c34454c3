"""What commands answer: tables and JSON documents on standard output."""

import json
import sys
from collections.abc import Iterable, Sequence

UNICODE = {"utf-8", "utf8"}
ROUND, HEAVY, LIGHT = ("┏", "━", "┳", "┓"), ("┡", "━", "╇", "┩"), ("└", "─", "┴", "┘")
UNSEEN = dict.fromkeys((7, 8, 11, 12, 13))  # bell, backspace, and what moves the paper


def show(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table for a person; texts are shown as they are, never read as markup."""
    if not sys.stdout.isatty() and (sys.stdout.encoding or "").lower() in UNICODE:
        # What folds and colours for terminals takes longer to import than many commands need for all they do.
        sys.stdout.write(drawn(title, heads, rows) + "\n")
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", header_style="bold")
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*(escape("" if cell is None else str(cell)) for cell in row))
    Console().print(table)


def show_json(content: object) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(content, indent=1, default=str) + "\n")


def drawn(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """As on a terminal, but folded to no width: the title, a line of heads, and rows as high as their texts."""
    cells = [[_lines(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(len(line) for lines in column for line in lines) for column in zip(*cells, strict=True)]
    head, *body = (_row(row, widths, "│" if number else "┃") for number, row in enumerate(cells))
    return "\n".join(
        [
            title,
            _rule(ROUND, widths),
            *head,
            _rule(HEAVY, widths),
            *(line for row in body for line in row),
            _rule(LIGHT, widths),
        ]
    )


def _lines(cell: object) -> list[str]:
    return ("" if cell is None else str(cell)).translate(UNSEEN).split("\n")


def _row(row: Sequence[Sequence[str]], widths: Sequence[int], edge: str) -> list[str]:
    filled = (
        [line[number] if number < len(line) else "" for line in row] for number in range(max(len(line) for line in row))
    )
    return [
        f"{edge} " + f" {edge} ".join(text.ljust(width) for text, width in zip(texts, widths, strict=True)) + f" {edge}"
        for texts in filled
    ]


def _rule(shape: tuple[str, str, str, str], widths: Sequence[int]) -> str:
    left, line, cross, right = shape
    return left + cross.join(line * (width + 2) for width in widths) + right
