"""What may keep a one-machine platform from working, looked at without changing anything."""

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, select

from deployments.links import broker_command
from deployments.local import SPACE_MIN_BYTES
from deployments.ports import Ports, is_free
from deployments.schema import check, damage
from fleet.clock import database_now
from fleet.database import open_engine
from fleet.errors import YardmasterError
from fleet.gateways import out_of_reach
from fleet.organisations import Organisation
from fleet.robots import Robot
from fleet.runtime import database_url
from fleet.settings import Settings
from fleet.transport import probe

TOLD_MAX = 3


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; empty `advice`: it is fine."""

    what: str
    found: str
    advice: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Everything that is looked at, in order of how much depends on it."""
    looks: tuple[Callable[[Settings], Finding], ...] = (
        _python,
        _disk,
        _folder,
        _database,
        _ports,
        _broker,
        _prefect,
        _api,
        _robots,
    )
    return [look(settings) for look in looks]


def _python(settings: Settings) -> Finding:
    advice = "" if sys.version_info[:2] == (3, 11) else "Use Python 3.11; the locked packages were tried on it."
    return Finding("Python", f"{platform.python_version()} at {sys.executable}", advice)


def _disk(settings: Settings) -> Finding:
    nearest = next(path for path in (settings.var_dir.resolve(), *settings.var_dir.resolve().parents) if path.exists())
    free = shutil.disk_usage(nearest).free
    advice = "" if free >= SPACE_MIN_BYTES else f"Free some space: {SPACE_MIN_BYTES / 1e9:.0f} GB are needed to start."
    return Finding("Disk", f"{free / 1e9:.1f} GB free at {nearest}", advice)


def _folder(settings: Settings) -> Finding:
    var = settings.var_dir.resolve()
    if not var.exists():
        return Finding("Folder", f"{var} is not there yet; the first start makes it")
    if not (var.is_dir() and os.access(var, os.W_OK | os.X_OK)):
        return Finding("Folder", f"{var} cannot be written to", "Choose another folder with --var.")
    size = sum(path.lstat().st_size for path in var.rglob("*") if path.is_file())
    return Finding("Folder", f"{var} holds {size / 1e6:.0f} MB")


def _database(settings: Settings) -> Finding:
    url = database_url(settings)
    if url.startswith("sqlite") and not (settings.var_dir / "yardmaster.db").exists() and not settings.database_url:
        return Finding("Database", "not made yet; the first start makes it")
    engine = open_engine(url)
    try:
        check(engine)
        found = damage(engine)
    except YardmasterError as error:
        return Finding("Database", "not usable", error.message)
    finally:
        engine.dispose()
    return Finding("Database", "up to date", "; ".join(found))


def _ports(settings: Settings) -> Finding:
    taken = [str(port) for port in vars(Ports()).values() if not is_free(port)]
    found = f"in use: {', '.join(taken)} (others are picked then)" if taken else "4200, 8000, 8100 and 1883 are free"
    return Finding("Ports", found)


def _broker(settings: Settings) -> Finding:
    found = broker_command()
    return Finding("MQTT broker", found or "mosquitto is not installed: no simulated robot speaks VDA 5050 then")


def _prefect(settings: Settings) -> Finding:
    status = probe(f"{settings.prefect_api_url}/health")
    return Finding("Prefect server", _answers(settings.prefect_api_url, status), _unwell(status))


def _api(settings: Settings) -> Finding:
    status = probe(f"{settings.api_url}/readyz")
    return Finding("API", _answers(settings.api_url, status), _unwell(status))


def _robots(settings: Settings) -> Finding:
    """Whether the robots are reached; asked only while the API runs, for without it no gateway could have told."""
    if probe(f"{settings.api_url}/readyz") != 200:
        return Finding("Robots", "not looked at, for no API answers")
    engine = open_engine(database_url(settings))
    try:
        with Session(engine) as session:
            known = session.exec(select(Robot.id, Robot.name)).all()
            owners = session.exec(select(Organisation.id)).all()
            unreached = out_of_reach(session, owners, database_now(session))
    except (YardmasterError, DBAPIError):
        return Finding("Robots", "not looked at, for the database is not usable")
    finally:
        engine.dispose()
    words = [f"{name} is {unreached[robot_id]}" for robot_id, name in known if robot_id in unreached]
    more = f" (and {len(words) - TOLD_MAX} more)" if len(words) > TOLD_MAX else ""
    told = f"{len(known) - len(words)} of {len(known)} are reached"
    return Finding("Robots", told, "; ".join(words[:TOLD_MAX]) + more)


def _answers(url: str, status: int | None) -> str:
    return f"nothing answers at {url} (not started)" if status is None else f"{url} answers {status}"


def _unwell(status: int | None) -> str:
    return "" if status in {None, 200} else "Something answers there that is not well, or not ours; look at its log."
