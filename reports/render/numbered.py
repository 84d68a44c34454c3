"""A PDF canvas that writes "page n of m", which is known only at the end."""

from typing import Any

from reportlab.lib.colors import HexColor
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas


class NumberedCanvas(Canvas):  # type: ignore[misc]  # reportlab has no types
    """Keeps its pages back until their number is known, then adds the footer to each."""

    def __init__(self, footer: str, *args: Any, **options: Any) -> None:
        """`footer` stands on the left of every page; the rest is reportlab's."""
        super().__init__(*args, **options)
        self._footer = footer
        self._kept: list[dict[str, Any]] = []

    def showPage(self) -> None:  # noqa: N802  reportlab's name
        """Keep the page back."""
        self._kept.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        """Write all pages with their footers."""
        for number, page in enumerate(self._kept, start=1):
            self.__dict__.update(page)
            self._foot(number, len(self._kept))
            super().showPage()
        super().save()

    def _foot(self, number: int, count: int) -> None:
        width = self._pagesize[0]
        self.setStrokeColor(HexColor("#dfe5ea"))
        self.line(16 * mm, 13 * mm, width - 16 * mm, 13 * mm)
        self.setFillColor(HexColor("#5b6b7a"))
        self.setFont("Yard", 7.2)
        self.drawString(16 * mm, 9 * mm, self._footer[:120])
        self.drawRightString(width - 16 * mm, 9 * mm, f"Page {number} of {count}")
