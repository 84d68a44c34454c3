"""The composition root: settings become the parts of a running process, and the edge opens its transactions here."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlmodel import Session

# Every table of the ground is known in every process, so that the foreign keys of any room find theirs.
from fleet import accounts, events, organisations, requests, robots, states  # noqa: F401  see above
from fleet.clock import CLOCK, SERVER_CLOCK, Clock, ServerClock, SystemClock
from fleet.database import READING, open_engine
from fleet.doorbell import Doorbell, open_doorbell
from fleet.errors import Invalid, Unavailable
from fleet.logs import configure_logs
from fleet.objectstore import ObjectStore
from fleet.right_of_way import WAY, RightOfWay
from fleet.settings import Settings, make_folder, read_settings
from fleet.settings import set_environment as set_environment  # given on: rooms above may not import fleet.settings
from fleet.turnstile import Turnstile

log = structlog.get_logger(__name__)

AWAY = (OperationalError, InterfaceError, NoConnectionFree)

# MLflow reads these when it is imported, which is after the runtime was opened.
NO_TELEMETRY = {"DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}


@dataclass(frozen=True)
class Runtime:
    """The parts of one process. Rooms are handed the part they need, never the runtime."""

    settings: Settings
    engine: Engine
    clock: Clock
    doorbell: Doorbell

    @cached_property
    def objects(self) -> ObjectStore:
        """The object store (its libraries are imported when first needed)."""
        settings = self.settings
        url = settings.objects_url or f"file://{settings.var_dir.resolve()}/objects"
        return ObjectStore(url, signing_key=_signing_key(settings), options=_objects_options(settings, url))

    @cached_property
    def _turnstile(self) -> Turnstile | None:
        """On SQLite one writes at a time: the threads of a process queue here, where the next is woken at once."""
        return Turnstile() if self.engine.dialect.name == "sqlite" else None

    @cached_property
    def _way(self) -> RightOfWay | None:
        """On a server; on SQLite whoever stops within a transaction would keep the one writer that the urgent wait for."""
        return None if self.engine.dialect.name == "sqlite" else RightOfWay()

    @contextmanager
    def going_first(self) -> Iterator[None]:
        """Let the other threads of this process stop before their next statement, where that keeps nobody waiting."""
        with self._way.taken() if self._way else nullcontext():
            yield

    @cached_property
    def _reading_engine(self) -> Engine:
        # PostgreSQL shows each statement what is committed by then, in a transaction or not, which is cheaper.
        options = {"isolation_level": "AUTOCOMMIT"} if self.engine.dialect.name == "postgresql" else {READING: True}
        return self.engine.execution_options(**options)

    @cached_property
    def _server_clock(self) -> ServerClock:
        return ServerClock()

    @contextmanager
    def transaction(self, *, urgent: bool = False, rings: bool = True) -> Iterator[Session]:
        """A write transaction: committed when the block ends well, rolled back when it raises; then the bell is rung.

        The bell rings when the block set `session.info["ring"]` (`fleet.changes.record` does); without `rings` it is the
        caller who rings, soon. An `urgent` one goes before the others of this process that wait for SQLite's one writer.
        """
        turn = self._turnstile.passing(urgent=urgent) if self._turnstile else nullcontext()
        with turn, _session(self.engine, self.clock, self._server_clock) as session:
            if self._way and not urgent:
                session.info[WAY] = self._way
            try:
                yield session
                session.commit()
            except (*AWAY, InternalError) as error:
                if isinstance(error, InternalError) and not error.connection_invalidated:
                    raise
                raise Unavailable(f"The database did not take the change: {_cause(error)}. Try again.") from error
            rung = rings and session.info.get("ring", False)
        if rung:
            self.doorbell.ring()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that only reads; on SQLite it waits for no writer.

        Raises:
            Unavailable: the database does not answer, also in `transaction`.
        """
        try:
            with _session(self._reading_engine, self.clock, self._server_clock) as session:
                yield session
        except AWAY as error:
            raise Unavailable(f"The database did not answer: {_cause(error)}. Try again.") from error


def _cause(error: SQLAlchemyError) -> object:
    return getattr(error, "orig", None) or error


@contextmanager
def _session(engine: Engine, clock: Clock, server_clock: ServerClock) -> Iterator[Session]:
    with Session(engine, expire_on_commit=False) as session:
        session.info.update({CLOCK: clock, SERVER_CLOCK: server_clock})
        yield session


def open_runtime(settings: Settings | None = None, *, clock: Clock | None = None) -> Runtime:
    """The parts for these settings (default: read from the environment); nothing is connected yet."""
    settings = settings or read_settings()
    configure_logs(level=settings.log_level, form=settings.log_format)
    set_environment(NO_TELEMETRY)
    make_folder(settings.var_dir)
    engine = open_engine(database_url(settings))
    return Runtime(settings, engine, clock or SystemClock(), open_doorbell(engine))


def database_url(settings: Settings) -> str:
    """The address of our own database."""
    return settings.database_url or f"sqlite:///{settings.var_dir.resolve()}/yardmaster.db"


def tracking_uri(settings: Settings) -> str:
    """MLflow's store of runs and models."""
    return settings.mlflow_tracking_uri or f"sqlite:///{settings.var_dir.resolve()}/mlflow.db"


def artifacts_dir(settings: Settings) -> Path:
    """The folder where MLflow keeps the files of a newly made experiment."""
    return settings.var_dir.resolve() / "mlflow"


def working_folder(settings: Settings) -> Path:
    """The folder for what is fetched to be worked on, and kept where that work is killed."""
    return settings.var_dir.resolve() / "working"


def dagster_home(settings: Settings) -> Path:
    """Dagster's folder: its catalogue of what lies in the lake."""
    return Path(settings.dagster_home or settings.var_dir / "dagster").resolve()


def _objects_options(settings: Settings, url: str) -> dict[str, object]:
    if not url.startswith("s3://"):
        return {}
    # Addresses that are handed out would be signed in the old way else, which most regions and stores refuse.
    options: dict[str, object] = {"config_kwargs": {"signature_version": "s3v4"}}
    if settings.objects_access_key:
        options |= {"key": settings.objects_access_key, "secret": settings.objects_secret_key.get_secret_value()}
    if settings.objects_endpoint_url:
        options["client_kwargs"] = {"endpoint_url": settings.objects_endpoint_url}
    return options


def _signing_key(settings: Settings) -> bytes:
    given = settings.signing_key.get_secret_value()
    if given:
        return given.encode()
    if settings.environment == "production":
        raise Invalid("YARDMASTER_SIGNING_KEY is not set; set it to at least 32 random characters.")
    return _development_key(settings.var_dir / "signing.key")


def _development_key(path: Path) -> bytes:
    if not path.exists():
        mine = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        mine.touch(mode=0o600)
        mine.write_text(secrets.token_hex(32))
        try:
            os.link(mine, path)  # the first of several processes wins, and nobody reads half a key
        except FileExistsError:
            log.debug("signing key made by another process", path=str(path))
        finally:
            mine.unlink()
    return path.read_bytes()
