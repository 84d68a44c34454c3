"""Logs are events with fields, one line each, on standard error."""

import logging
import sys
from threading import Lock
from typing import Literal, TextIO

import structlog

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class Lines:
    """Writes one line for each event. A line that cannot be written stops nobody's work; the next one says how many are lost."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lost = 0
        self._lock = Lock()

    def msg(self, line: str) -> None:
        """Write the line if its file takes it: a full disk, a pipe that nobody reads and a closed file do not."""
        with self._lock:
            told = f"({self._lost} lines before this one could not be written)\n" if self._lost else ""
            try:
                self._out.write(f"{told}{line}\n")
                self._out.flush()
            except (OSError, ValueError):
                self._lost += 1
            else:
                self._lost = 0

    log = debug = info = warn = warning = error = err = critical = fatal = failure = exception = msg


def configure_logs(*, level: Literal["debug", "info", "warning", "error"], form: Literal["text", "json"]) -> None:
    """Every event of this process from `level` upwards, for people (`text`) or for machines (`json`)."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer(colors=False)
    )
    lines = Lines(sys.stderr)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )
