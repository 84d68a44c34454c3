"""Dispatchers that are killed with kill -9 again and again: every mission is done once, and none is left."""

import asyncio
import subprocess
import sys
from collections import Counter
from random import Random

import pytest
from sqlmodel import select

from deployments.schema import migrate
from fleet.accounts import ManufacturerAccount
from fleet.adapters.simulated.site import SiteOptions, running
from fleet.adapters.simulated.site_map import SITE_MAP
from fleet.organisations import Organisation, Site, Station
from fleet.robots import Robot, RobotLease
from fleet.runtime import open_runtime
from fleet.settings import child_environment
from missions.create import create_round
from missions.models import MISSION_TERMINAL, Attempt, Mission, MissionCreate, MissionStatus, TaskCreate

pytestmark = [pytest.mark.proof, pytest.mark.serial]

ROBOTS, MISSIONS, KILLS = 4, 24, 12
PATIENCE_S = 240.0
POINTS = [place.name for place in SITE_MAP if place.kind == "inspection_point"]


@pytest.fixture
def platform(settings):
    runtime = open_runtime(settings)
    migrate(runtime.engine)
    yield runtime
    runtime.engine.dispose()


@pytest.fixture
def launch(settings):
    """Starts a dispatcher; those left are killed at the end."""
    environment = child_environment({"YARDMASTER_VAR_DIR": str(settings.var_dir), "YARDMASTER_LOG_LEVEL": "error"})
    processes = []

    def start() -> subprocess.Popen:
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "orchestration.dispatcher"], env=environment, stderr=subprocess.DEVNULL
            )
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def _request(runtime, url: str) -> None:
    now = runtime.clock.now()
    with runtime.transaction() as session:
        organisation = Organisation(name="acme", created_at=now)
        session.add(organisation)
        session.flush()
        site = Site(organisation_id=organisation.id, name="north-plant")
        account = ManufacturerAccount(
            organisation_id=organisation.id,
            name="cloud",
            manufacturer="simulated",
            base_url=url,
            credential="c",
            webhook_secret="",
            created_at=now,
        )
        session.add_all([site, account])
        session.flush()
        owned = {"organisation_id": organisation.id, "site_id": site.id}
        for place in SITE_MAP:
            session.add(Station(**owned, name=place.name, kind=place.kind, x_m=place.x_m, y_m=place.y_m))
        for number in range(1, ROBOTS + 1):
            names = {"name": f"amr-{number:02}", "serial_number": f"SIM-{number:04}"}
            session.add(Robot(**owned, **names, account_id=account.id, capabilities=["drive"], created_at=now))
        session.flush()
        wanted = [
            MissionCreate(name=f"m{number}", key=f"m{number}", tasks=[TaskCreate(station=POINTS[number % len(POINTS)])])
            for number in range(MISSIONS)
        ]
        create_round(session, site=site, name="night", key="night", missions=wanted, who="user:ops")


def _is_over(runtime) -> bool:
    with runtime.reading() as session:
        return all(mission.status in MISSION_TERMINAL for mission in session.exec(select(Mission)).all())


async def test_dispatchers_killed_at_any_moment_double_lose_and_strand_nothing(platform, launch, tmp_path):
    chance = Random(11)
    options = SiteOptions(robots=ROBOTS, speed=100, credential="c", history_lives=0, bags_dir=tmp_path / "site")
    async with running(options) as site:
        _request(platform, site.url)
        living = [launch(), launch()]
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.5, 3.0))  # any moment will do: that is the point
            victim = chance.randrange(2)
            living[victim].kill()
            living[victim] = launch()
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if _is_over(platform):
                    break
                await asyncio.sleep(0.2)
    with platform.reading() as session:
        missions = session.exec(select(Mission)).all()
        attempts = session.exec(select(Attempt)).all()
        leases = session.exec(select(RobotLease)).all()
    assert Counter(mission.status for mission in missions) == {MissionStatus.succeeded: MISSIONS}
    assert Counter(attempt.status.value for attempt in attempts) == {"SUCCEEDED": MISSIONS}
    assert leases == []
