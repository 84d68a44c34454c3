"""What the site itself has written down of what its robots were told directly; read by whoever proves something."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from fleet.adapter import OrderReport, OrderStatus
from fleet.adapters.simulated.local_orders import PREFIX, word_of


@dataclass(frozen=True)
class SiteRecord:
    """By the word under which an order was given (a goal's UUID, an orderId): how it stands, and how often it came again."""

    reports: Mapping[str, OrderReport]
    again: Mapping[str, int]

    def with_status(self, status: OrderStatus) -> set[str]:
        """The words of the orders that stand so."""
        return {word for word, report in self.reports.items() if report.status is status}


def read_record(journal: Path) -> SiteRecord:
    """The record as it is on disk now; the site may be running.

    Raises:
        sqlite3.OperationalError: there is no such journal.
    """
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=10.0)) as database:
        given = database.execute("SELECT report FROM orders WHERE key LIKE ? || '%'", [PREFIX]).fetchall()
        again = database.execute("SELECT key, times FROM given_again").fetchall()
    reports = [OrderReport.model_validate_json(text) for (text,) in given]
    return SiteRecord(
        {word_of(report.key): report for report in reports}, {word_of(key): int(times) for key, times in again}
    )
