"""The doorbell: a writer wakes the processes that wait for work, right after its commit.

LISTEN/NOTIFY on PostgreSQL; on SQLite a loopback datagram to every listener that left its port beside the database.
A ring may be lost (a crash between commit and ring), so every listener also looks by itself from time to time.
"""

import secrets
import socket
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Protocol, Self

import structlog
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import SQLAlchemyError

log = structlog.get_logger(__name__)

CHANNEL = "yardmaster"
PORTS = range(1, 65_536)
NAME_BYTES = 8


class Listener(Protocol):
    """One process's ear; a context manager."""

    def wait(self, timeout_s: float) -> bool:
        """Block until somebody rings or the time is over; True when rung. Several rings may be told as one."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Doorbell(Protocol):
    """Rings for everyone who listens on the same database."""

    def ring(self) -> None:
        """Wake every listener; never raises: what is told of is committed, and those who wait also look by themselves."""
        ...

    def listen(self, *, own: bool = True) -> Listener:
        """A new listener; rings from its opening on are heard, those of this very doorbell only with `own`."""
        ...


def open_doorbell(engine: Engine) -> Doorbell:
    """The doorbell that fits the database."""
    if engine.dialect.name == "postgresql":
        return PostgresDoorbell(engine)
    return DatagramDoorbell(Path(f"{engine.url.database}.bells"))


class PostgresDoorbell:
    """NOTIFY on one channel, over a connection of its own that is kept."""

    def __init__(self, engine: Engine) -> None:
        """`engine` is the database whose listeners are woken; the connection ends when it is disposed of."""
        self._engine = engine
        self._name = secrets.token_hex(8)
        self._line: Connection | None = None
        self._lock = RLock()
        event.listen(engine, "engine_disposed", lambda _: self._hang_up())

    def ring(self) -> None:
        """Wake every listener; a ring that does not get through, on a new connection either, is lost."""
        with self._lock:
            is_kept = self._line is not None
            try:
                self._notify()
            except SQLAlchemyError as error:
                self._hang_up()
                if is_kept:
                    self.ring()
                else:
                    log.warning("a ring was lost", error=str(error))

    def _notify(self) -> None:
        if self._line is None:
            self._line = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._line.detach()
        self._line.exec_driver_sql(f"NOTIFY {CHANNEL}, '{self._name}'")

    def _hang_up(self) -> None:
        with self._lock:
            if self._line is not None:
                self._line.close()
            self._line = None

    def listen(self, *, own: bool = True) -> Listener:
        """A connection of its own that listens."""
        return _PostgresListener(self._engine, deaf_to=None if own else self._name)


class _PostgresListener:
    def __init__(self, engine: Engine, deaf_to: str | None) -> None:
        self._deaf_to = deaf_to
        self._connection = engine.raw_connection()
        self._connection.detach()
        driver = self._connection.dbapi_connection
        assert driver is not None
        self._driver = driver
        self._driver.autocommit = True
        self._driver.execute(f"LISTEN {CHANNEL}")

    def wait(self, timeout_s: float) -> bool:
        rings = self._driver.notifies(timeout=timeout_s, stop_after=1)
        return any(ring.payload != self._deaf_to for ring in rings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._driver.close()


class DatagramDoorbell:
    """One file per listener, named by its port, in a folder beside the SQLite file."""

    def __init__(self, folder: Path) -> None:
        """`folder` is made when somebody listens."""
        self._folder = folder
        self._name = secrets.token_bytes(8)

    def ring(self) -> None:
        """One small datagram to each listener; one that is gone hears nothing and hurts nobody."""
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                for port in _ports(self._folder):
                    _send(sender, port, self._name)
        except OSError as error:
            log.warning("a ring was lost", error=str(error))

    def listen(self, *, own: bool = True) -> Listener:
        """A bound socket, known to every ringer from now on; what listeners that were killed left is swept away."""
        _sweep(self._folder)
        return _DatagramListener(self._folder, deaf_to=None if own else self._name)


def _ports(folder: Path) -> list[int]:
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return [int(name) for name in names if name.isdecimal() and int(name) in PORTS]


def _send(sender: socket.socket, port: int, name: bytes) -> None:
    try:
        sender.sendto(name, ("127.0.0.1", port))
    except OSError:
        return  # its buffer is full or it is gone: it will look by itself


def _sweep(folder: Path) -> None:
    for port in _ports(folder):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine:
            try:
                mine.bind(("127.0.0.1", port))
            except OSError:
                continue  # somebody listens there
            (folder / str(port)).unlink(missing_ok=True)  # while the port is ours, so that no new listener can have it


class _DatagramListener:
    def __init__(self, folder: Path, deaf_to: bytes | None) -> None:
        self._deaf_to = deaf_to
        folder.mkdir(parents=True, exist_ok=True)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._file = folder / str(self._socket.getsockname()[1])
        self._file.touch()

    def wait(self, timeout_s: float) -> bool:
        self._socket.settimeout(max(timeout_s, 0.001))
        try:
            first = self._socket.recv(NAME_BYTES)
        except TimeoutError:
            return False
        return any(name != self._deaf_to for name in [first, *self._others()])

    def _others(self) -> list[bytes]:
        self._socket.setblocking(False)
        names = []
        try:
            while True:
                names.append(self._socket.recv(NAME_BYTES))
        except BlockingIOError:
            return names

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.unlink(missing_ok=True)
        self._socket.close()
