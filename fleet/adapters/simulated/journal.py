"""What the cloud must not forget when it is closed and opened again: orders, robots, its history, bags still to send.

One SQLite file. Every write is one transaction, and is on disk before anyone is told of it, so that a power cut takes
back nothing that was said. Four robots that are always busy write about 15 times a second at speed 20.
"""

import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from fleet.adapter import Order, OrderReport, Reported
from fleet.adapters.simulated.local_orders import PREFIX
from fleet.adapters.simulated.translate import entry_from

TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS robots (serial_number TEXT PRIMARY KEY, memory TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS orders (key TEXT PRIMARY KEY, sent TEXT NOT NULL, report TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS feed (number INTEGER PRIMARY KEY AUTOINCREMENT, entry TEXT NOT NULL, past INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS given_again (key TEXT PRIMARY KEY, times INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS bags (name TEXT PRIMARY KEY, robot TEXT NOT NULL, mission_id TEXT, state TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS bag_triggers (name TEXT PRIMARY KEY, trigger TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS captures (
    serial_number TEXT NOT NULL, id TEXT NOT NULL, capture TEXT NOT NULL, state TEXT NOT NULL,
    PRIMARY KEY (serial_number, id)
);
CREATE TABLE IF NOT EXISTS captured (
    number INTEGER PRIMARY KEY AUTOINCREMENT, serial_number TEXT NOT NULL, id TEXT NOT NULL, samples TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS ix_captured ON captured (serial_number, id);
"""


@dataclass(frozen=True)
class Keep:
    """What changed together: orders with their newest report, robots' memories, and what is told of it."""

    orders: Sequence[tuple[Order, OrderReport]] = ()
    memories: Sequence[tuple[str, str]] = ()
    told: Sequence[Reported] = ()
    facts: Sequence[tuple[str, str]] = ()
    is_past: bool = False
    captured: Sequence["Captured"] = ()


@dataclass(frozen=True)
class Captured:
    """How a recording by policy stands, in JSON, and what was sampled since; `is_over`: it is to be written as a bag."""

    serial_number: str
    id: str
    capture: str
    samples: str
    is_over: bool


@dataclass(frozen=True)
class FeedEntry:
    """One entry of the history, in the cloud's words; one of the `past` was told before anyone listened."""

    number: int
    entry: str
    is_past: bool


@dataclass(frozen=True)
class OutgoingBag:
    """A bag that still has to be uploaded."""

    name: str
    robot: str
    mission_id: str | None
    trigger: str | None = None  # in JSON, as the platform wants it


class Journal:
    """The file; may be used from several threads."""

    def __init__(self, path: Path) -> None:
        """Open or make it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = Lock()
        self._database = sqlite3.connect(path, check_same_thread=False)
        self._database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;" + TABLES)
        with self._writing():
            self._database.execute("INSERT OR IGNORE INTO facts VALUES ('identity', ?)", [secrets.token_hex(6)])
        self.identity = self.fact("identity") or ""

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock, self._database:
            yield

    def _rows(self, query: str, *values: object) -> list[tuple[str, ...]]:
        with self._lock:
            return self._database.execute(query, values).fetchall()

    def fact(self, name: str) -> str | None:
        """A single remembered value."""
        rows = self._rows("SELECT value FROM facts WHERE name = ?", name)
        return rows[0][0] if rows else None

    def remember(self, name: str, value: str) -> None:
        """Remember a single value."""
        self.keep(Keep(facts=[(name, value)]))

    def keep(self, news: Keep) -> None:
        """Write what changed, all of it or nothing."""
        orders = [(order.key, order.model_dump_json(), report.model_dump_json()) for order, report in news.orders]
        told = [(entry_from(said).model_dump_json(by_alias=True), int(news.is_past)) for said in news.told]
        with self._writing():
            self._replace("INSERT OR REPLACE INTO orders VALUES (?, ?, ?)", orders)
            self._replace("INSERT OR REPLACE INTO robots VALUES (?, ?)", news.memories)
            self._replace("INSERT OR REPLACE INTO facts VALUES (?, ?)", news.facts)
            self._replace("INSERT INTO feed (entry, past) VALUES (?, ?)", told)
            self._add_captured(news.captured)

    def _add_captured(self, captured: Sequence[Captured]) -> None:
        rows = [(one.serial_number, one.id, one.capture, "due" if one.is_over else "open") for one in captured]
        samples = [(one.serial_number, one.id, one.samples) for one in captured]
        self._replace("INSERT OR REPLACE INTO captures VALUES (?, ?, ?, ?)", rows)
        self._replace("INSERT INTO captured (serial_number, id, samples) VALUES (?, ?, ?)", samples)

    def knows_capture(self, serial_number: str, key: str) -> bool:
        """Whether a recording of this trigger of the robot was ever begun."""
        return bool(self._rows("SELECT 1 FROM captures WHERE serial_number = ? AND id = ?", serial_number, key))

    def captures(self, state: str) -> list[str]:
        """The recordings that are `open` or `due`, in JSON, oldest first."""
        return [text for (text,) in self._rows("SELECT capture FROM captures WHERE state = ? ORDER BY rowid", state)]

    def captured_samples(self, serial_number: str, key: str) -> list[str]:
        """What was sampled for a recording, in JSON, in the order of time."""
        query = "SELECT samples FROM captured WHERE serial_number = ? AND id = ? ORDER BY number"
        return [text for (text,) in self._rows(query, serial_number, key)]

    def _replace(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        self._database.executemany(statement, rows)

    def memories(self) -> dict[str, str]:
        """The robots' memories by serial number."""
        rows = self._rows("SELECT serial_number, memory FROM robots")
        return {serial_number: memory for serial_number, memory in rows}  # noqa: C416  mypy sees no pairs in dict(rows)

    def order(self, key: str) -> tuple[Order, OrderReport] | None:
        """The order of this key and its newest report."""
        rows = self._rows("SELECT sent, report FROM orders WHERE key = ?", key)
        return _order(*rows[0]) if rows else None

    def live_orders(self) -> list[tuple[Order, OrderReport]]:
        """The orders that were not over when the site was closed."""
        live = "json_extract(report, '$.status') IN ('accepted', 'running', 'paused')"
        return [_order(*row) for row in self._rows(f"SELECT sent, report FROM orders WHERE {live}")]  # noqa: S608  no value from outside

    def local_orders(self, serial_number: str, *, limit: int) -> list[tuple[Order, OrderReport]]:
        """The newest orders that were given at this robot itself, oldest first."""
        rows = self._rows(
            "SELECT sent, report FROM orders WHERE key LIKE ? || '%' AND json_extract(sent, '$.serial_number') = ? "
            "ORDER BY json_extract(report, '$.observed_at') DESC LIMIT ?",
            PREFIX,
            serial_number,
            limit,
        )
        return [_order(*row) for row in reversed(rows)]

    def count_again(self, key: str) -> None:
        """An order that was given at the robot itself came once more after the robot had forgotten it.

        A real robot, which keeps no journal, would have carried it out twice: proofs count these.
        """
        with self._writing():
            self._database.execute(
                "INSERT INTO given_again VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET times = times + 1", [key]
            )

    def given_again(self) -> dict[str, int]:
        """How often each of those came again."""
        return {key: int(times) for key, times in self._rows("SELECT key, times FROM given_again")}

    def feed_after(self, number: int, *, limit: int) -> list[FeedEntry]:
        """The history after `number`, oldest first."""
        rows = self._rows(
            "SELECT number, entry, past FROM feed WHERE number > ? ORDER BY number LIMIT ?", number, limit
        )
        return [FeedEntry(int(number), entry, bool(past)) for number, entry, past in rows]

    def add_bag(self, bag: OutgoingBag, *, capture: tuple[str, str] | None = None) -> None:
        """A written bag is to be uploaded; the same name again changes nothing. Its `capture` is over with that."""
        with self._writing():
            if bag.trigger is not None:
                self._replace("INSERT OR IGNORE INTO bag_triggers VALUES (?, ?)", [(bag.name, bag.trigger)])
            if capture is not None:
                self._replace("UPDATE captures SET state = 'written' WHERE serial_number = ? AND id = ?", [capture])
                self._replace("DELETE FROM captured WHERE serial_number = ? AND id = ?", [capture])
            self._database.execute(
                "INSERT OR IGNORE INTO bags VALUES (?, ?, ?, 'waiting')", [bag.name, bag.robot, bag.mission_id]
            )

    def knows_bag(self, name: str) -> bool:
        """Whether a bag of this name was written, also when it is already gone."""
        return bool(self._rows("SELECT 1 FROM bags WHERE name = ?", name))

    def waiting_bag(self) -> OutgoingBag | None:
        """The bag that waits longest."""
        rows = self._rows(
            "SELECT name, robot, mission_id, trigger FROM bags LEFT JOIN bag_triggers USING (name) "
            "WHERE state = 'waiting' ORDER BY bags.rowid LIMIT 1"
        )
        return OutgoingBag(*rows[0]) if rows else None

    def end_bag(self, name: str, state: str) -> None:
        """The bag was `uploaded`, or `refused` for good."""
        with self._writing():
            self._database.execute("UPDATE bags SET state = ? WHERE name = ?", [state, name])


def _order(sent: str, report: str) -> tuple[Order, OrderReport]:
    return Order.model_validate_json(sent), OrderReport.model_validate_json(report)
