"""Where a night takes place: a database of its own, and a small site with its robots."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlmodel import Session

from fleet import changes, events, organisations, requests, states  # noqa: F401  their tables are made here
from fleet.accounts import ManufacturerAccount
from fleet.clock import SteppableClock
from fleet.database import metadata, open_engine
from fleet.organisations import Organisation, Site, Station, StationKind
from fleet.robots import Robot
from missions import holds  # noqa: F401  its table is made here
from missions.schedules import models  # noqa: F401  its tables are made here
from missions.simulation.processes import Ground

STATIONS = (("dock-1", StationKind.dock), ("gate", StationKind.station), ("press-1", StationKind.inspection_point))


@dataclass(frozen=True)
class Scene:
    """The site of a night and its robots."""

    site: Site
    rows: tuple[Robot, ...]


@contextmanager
def ground(folder: Path, clock: SteppableClock) -> Iterator[Ground]:
    """A new SQLite database in `folder`, gone with the block; not safe against power cuts, which do not happen here.

    The tables are made once in `folder` and copied from then on.
    """
    template, path = folder / "empty.db", folder / "night.db"
    if not template.exists():
        _make(template)
    shutil.copy(template, path)
    engine = open_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", _hurry)
    reading = engine.execution_options(yardmaster_reading=True)

    @contextmanager
    def transaction() -> Iterator[Session]:
        with Session(engine, expire_on_commit=False) as session:
            session.info["clock"] = clock
            yield session
            session.commit()

    @contextmanager
    def read() -> Iterator[Session]:
        with Session(reading, expire_on_commit=False) as session:
            session.info["clock"] = clock
            yield session

    try:
        yield Ground(transaction, read, clock)
    finally:
        engine.dispose()
        for left in folder.glob("night.db*"):
            left.unlink()


def _make(path: Path) -> None:
    engine = open_engine(f"sqlite:///{path}")
    metadata().create_all(engine)
    engine.dispose()  # the last connection writes all of it into the one file


def _hurry(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")


def populate(session: Session, *, robots: int, now: datetime) -> Scene:
    """A small organisation with one site, its stations and robots."""
    organisation = Organisation(name="acme", created_at=now)
    session.add(organisation)
    session.flush()
    site = Site(organisation_id=organisation.id, name="north")
    account = ManufacturerAccount(
        organisation_id=organisation.id,
        name="cloud",
        manufacturer="scripted",
        base_url="http://127.0.0.1:9",
        credential="none",
        webhook_secret="",
        created_at=now,
    )
    session.add_all([site, account])
    session.flush()
    owned = {"organisation_id": organisation.id, "site_id": site.id}
    session.add_all(Station(**owned, name=name, kind=kind, x_m=0.0, y_m=0.0) for name, kind in STATIONS)
    rows = tuple(_robot(site, account, number, now) for number in range(1, robots + 1))
    session.add_all(rows)
    session.flush()
    return Scene(site, rows)


def _robot(site: Site, account: ManufacturerAccount, number: int, now: datetime) -> Robot:
    return Robot(
        organisation_id=site.organisation_id,
        site_id=site.id,
        account_id=account.id,
        name=f"amr-{number:02}",
        serial_number=f"S{number}",
        capabilities=["drive"],
        created_at=now,
    )
