"""Rows and texts of others as Markdown; without Prefect, so that heavy children can write pages, too."""

from collections.abc import Mapping, Sequence

Row = Mapping[str, object]


def table_text(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table; text of others cannot break out of its cell."""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([cell(row[name]) for name in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(value: object) -> str:
    """A value as Markdown on one line that says nothing but the value."""
    text = " ".join(str(value).split()).replace("\\", "\\\\")
    for mark in "|<>[]`*_":
        text = text.replace(mark, f"\\{mark}")
    return text
