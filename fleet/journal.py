"""What a gateway must not forget when it is killed: orders it took, fences it has seen, what it could not yet tell.

One SQLite file beside the gateway. Every write is on disk (synchronous FULL) when the call returns, so that a goal is
known here before it is sent. Calls block for a disk write: from an event loop they go through a thread.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from fleet.adapter import Order
from fleet.errors import Conflict, Unavailable

TABLES = """
CREATE TABLE IF NOT EXISTS orders (
  account TEXT NOT NULL, key TEXT NOT NULL, robot TEXT NOT NULL, sent TEXT, state TEXT NOT NULL, is_over INTEGER NOT NULL,
  number INTEGER NOT NULL, PRIMARY KEY (account, key));
CREATE INDEX IF NOT EXISTS live_orders ON orders (account, number) WHERE is_over = 0;
CREATE TABLE IF NOT EXISTS fences (account TEXT NOT NULL, robot TEXT NOT NULL, fence INTEGER NOT NULL, PRIMARY KEY (account, robot));
CREATE TABLE IF NOT EXISTS leases (account TEXT NOT NULL, robot TEXT NOT NULL, epoch INTEGER NOT NULL, PRIMARY KEY (account, robot));
CREATE TABLE IF NOT EXISTS spool (number INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
ORDERS_KEPT = 10_000  # ended orders of an account that are remembered; the platform asks again within minutes


@dataclass(frozen=True)
class Entry:
    """An order as the journal has it; `order` is None for a key that was cancelled before it came."""

    key: str
    robot: str
    order: Order | None
    state: Mapping[str, object]
    is_over: bool


@dataclass(frozen=True)
class Spooled:
    """Something to tell the platform; numbers rise and never come again."""

    number: int
    account: str
    body: bytes


class JournalFile:
    """The file; may be used from several threads, by one process."""

    def __init__(self, path: Path) -> None:
        """Open or make it.

        Raises:
            Unavailable: it cannot be read or written, or is no journal. So does everything below.
        """
        self.on_spooled: Callable[[], None] = lambda: None  # called, from any thread, when there is more to tell
        self._path, self._lock = path, Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)  # the accounts that it remembers have credentials
        except OSError as error:
            raise _trouble(path, error) from None
        with self._sorted():
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10.0)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.executescript(TABLES)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def of(self, account: str) -> "Journal":
        """The part of it that belongs to one account."""
        return Journal(self, account)

    def fact(self, name: str) -> str | None:
        """A small text kept under this name."""
        found = self.rows("SELECT value FROM facts WHERE name = ?", (name,))
        return str(found[0][0]) if found else None

    def keep_fact(self, name: str, value: str) -> None:
        """Keep a small text."""
        with self.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def spool(self, account: str, bodies: Sequence[bytes]) -> None:
        """Keep what is to be told until `told` takes it away."""
        with self.writing() as connection:
            connection.executemany(
                "INSERT INTO spool (account, body) VALUES (?, ?)", [(account, body) for body in bodies]
            )
        self.on_spooled()

    def waiting(self, *, after: int = 0, limit: int = 100) -> list[Spooled]:
        """What still has to be told, oldest first."""
        query = "SELECT number, account, body FROM spool WHERE number > ? ORDER BY number LIMIT ?"
        return [Spooled(*row) for row in self.rows(query, (after, limit))]  # type: ignore[arg-type]

    def told(self, number: int) -> None:
        """The platform has everything up to this number."""
        with self.writing() as connection:
            connection.execute("DELETE FROM spool WHERE number <= ?", (number,))

    def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """The rows of one query."""
        with self._lock, self._sorted():
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, on disk when the block ends."""
        with self._lock, self._sorted():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:  # a full disk may have ended it already
                    self._connection.execute("ROLLBACK")

    @contextmanager
    def _sorted(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _trouble(self._path, error) from error


class Journal:
    """The orders and fences of one account's robots."""

    def __init__(self, file: JournalFile, account: str) -> None:
        """See `JournalFile.of`."""
        self._file, self._account = file, account

    def hold(self, epochs: Mapping[str, int]) -> list[str]:
        """These robots are held under leases of these epochs; gives the keys of the orders that are forgotten for it.

        Those are of robots that somebody else has held since: how they stand by now is not known here any more, nor are
        those that were refused or ended here, for another may have begun them after all.
        """
        known = self._file.rows("SELECT robot, epoch FROM leases WHERE account = ?", (self._account,))
        was = {str(robot): epoch for robot, epoch in known}
        news = {robot: epoch for robot, epoch in epochs.items() if was.get(robot) != epoch}
        if not news:
            return []
        forgotten: list[str] = []
        with self._file.writing() as connection:
            for robot, epoch in news.items():
                connection.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", (self._account, robot, epoch))
                if robot in was:
                    gone = connection.execute(FORGET, (self._account, robot)).fetchall()
                    forgotten += [str(key) for (key,) in gone]
        return forgotten

    def admit(self, order: Order, state: Mapping[str, object] | None = None) -> Entry | None:
        """Keep a new order; None when it is new and kept now, else what is known of its key. Idempotent by the key.

        Raises:
            Conflict: its fence is below one that this robot was held under later: an older holder speaks.
        """
        with self._file.writing() as connection:
            known = _entries(connection, "account = ? AND key = ?", (self._account, order.key))
            if known:
                return known[0]
            _raise_fence(connection, self._account, order.serial_number, order.fence)
            self._insert(
                connection, order.key, order.serial_number, order.model_dump_json(), state or {}, is_over=False
            )
        return None

    def decline(self, key: str, robot: str, fence: int, state: Mapping[str, object]) -> Entry | None:
        """A cancel came for a key that is not known: it is over before it comes. None when that is kept now, else what is known.

        Raises:
            Conflict: the fence is too old.
        """
        with self._file.writing() as connection:
            known = _entries(connection, "account = ? AND key = ?", (self._account, key))
            if known:
                return known[0]
            _raise_fence(connection, self._account, robot, fence)
            self._insert(connection, key, robot, None, state, is_over=True)
        return None

    def check_fence(self, robot: str, fence: int) -> None:
        """A command under this fence may pass; later ones must not be older.

        Raises:
            Conflict: an older holder speaks.
        """
        with self._file.writing() as connection:
            _raise_fence(connection, self._account, robot, fence)

    def entry(self, key: str) -> Entry | None:
        """What is known of this key."""
        found = self._file.rows(f"{SELECT} WHERE account = ? AND key = ?", (self._account, key))
        return _entry(found[0]) if found else None

    def live(self) -> list[Entry]:
        """The orders that are not over, oldest first."""
        found = self._file.rows(f"{SELECT} WHERE account = ? AND is_over = 0 ORDER BY number", (self._account,))
        return [_entry(row) for row in found]

    def save(self, key: str, state: Mapping[str, object], *, is_over: bool = False, tell: Sequence[bytes] = ()) -> None:
        """Keep how far an order is, and what is to be told of it, in one transaction; over is over."""
        with self._file.writing() as connection:
            connection.execute(
                "UPDATE orders SET state = ?, is_over = max(is_over, ?) WHERE account = ? AND key = ?",
                (json.dumps(state), is_over, self._account, key),
            )
            connection.executemany(
                "INSERT INTO spool (account, body) VALUES (?, ?)", [(self._account, body) for body in tell]
            )
        if tell:
            self._file.on_spooled()

    def _insert(
        self,
        connection: sqlite3.Connection,
        key: str,
        robot: str,
        sent: str | None,
        state: Mapping[str, object],
        *,
        is_over: bool,
    ) -> None:
        number = connection.execute("SELECT coalesce(max(number), 0) + 1 FROM orders").fetchone()[0]
        values = (self._account, key, robot, sent, json.dumps(state), is_over, number)
        connection.execute("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        connection.execute(
            "DELETE FROM orders WHERE account = ? AND is_over = 1 AND number < ?", (self._account, number - ORDERS_KEPT)
        )


FORGET = "DELETE FROM orders WHERE account = ? AND robot = ? RETURNING key"
SELECT = "SELECT key, robot, sent, state, is_over FROM orders"


def _trouble(path: Path, error: Exception) -> Unavailable:
    return Unavailable(
        f"The journal {path} cannot be used ({error}); free its disk, or mend its rights. Where it is damaged, move it "
        "away: the gateway then begins a new one and asks its robots what they do.",
        journal=str(path),
    )


def _entries(connection: sqlite3.Connection, where: str, values: Sequence[object]) -> list[Entry]:
    return [_entry(row) for row in connection.execute(f"{SELECT} WHERE {where}", values).fetchall()]


def _entry(row: Sequence[object]) -> Entry:
    key, robot, sent, state, is_over = row
    order = None if sent is None else Order.model_validate_json(str(sent))
    return Entry(str(key), str(robot), order, json.loads(str(state)), bool(is_over))


def _raise_fence(connection: sqlite3.Connection, account: str, robot: str, fence: int) -> None:
    found = connection.execute("SELECT fence FROM fences WHERE account = ? AND robot = ?", (account, robot)).fetchone()
    if found is not None and found[0] > fence:
        raise Conflict(
            f"{robot} was held under fence {found[0]} since; {fence} is of an older hold.", robot=robot, fence=fence
        )
    if found is None or found[0] < fence:
        connection.execute("INSERT OR REPLACE INTO fences VALUES (?, ?, ?)", (account, robot, fence))
