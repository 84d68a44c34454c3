"""How far a conversion is, on a terminal's standard error: one line that is written over."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingestion.bags.progress import Listener, Reached

CLEARED = "\r\x1b[K"  # begin of the line, and nothing behind it


@contextmanager
def shown(*, is_wanted: bool) -> Iterator["Listener | None"]:
    """A listener that shows what it is told, while the block lasts; None where nobody looks at standard error."""
    if not (is_wanted and sys.stderr.isatty()):
        yield None
        return
    try:
        yield _show
    finally:
        _say(CLEARED)


def _show(reached: "Reached") -> None:
    line = ""  # what follows the end is short, and may log
    if reached.done < reached.of:
        percent = 100 * reached.done // reached.of
        line = f"{reached.stage} {reached.done / 1e6:.1f} of {reached.of / 1e6:.1f} MB, {percent} %"
    _say(f"{CLEARED}{line}")


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
