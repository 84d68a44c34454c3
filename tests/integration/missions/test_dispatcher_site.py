"""The dispatcher against the open simulated site: missions end without Prefect, webhooks or anyone's help."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from sqlmodel import select

from deployments.schema import migrate
from fleet.accounts import ManufacturerAccount
from fleet.adapters.simulated.site import SiteOptions, running
from fleet.adapters.simulated.site_map import SITE_MAP
from fleet.changes import Change
from fleet.organisations import Organisation, Site, Station
from fleet.robots import Robot
from fleet.runtime import open_runtime
from missions import board, commands
from missions.create import create_round
from missions.models import MISSION_TERMINAL, MissionCreate, MissionStatus, TaskCreate
from orchestration import intake
from orchestration.dispatcher import Dispatcher, run
from orchestration.timers import ticking

PATIENCE_S = 60.0
POINT = next(place.name for place in SITE_MAP if place.kind == "inspection_point")


class Platform:
    """A runtime on the system's clock with the site's robots and stations in its database."""

    def __init__(self, runtime, url: str) -> None:
        self.runtime = runtime
        now = runtime.clock.now()
        with runtime.transaction() as session:
            organisation = Organisation(name="acme", created_at=now)
            session.add(organisation)
            session.flush()
            self.site = Site(organisation_id=organisation.id, name="north-plant")
            account = ManufacturerAccount(
                organisation_id=organisation.id,
                name="cloud",
                manufacturer="simulated",
                base_url=url,
                credential="c",
                webhook_secret="",
                created_at=now,
            )
            session.add_all([self.site, account])
            session.flush()
            owned = {"organisation_id": organisation.id, "site_id": self.site.id}
            for place in SITE_MAP:
                session.add(Station(**owned, name=place.name, kind=place.kind, x_m=place.x_m, y_m=place.y_m))
            for number in (1, 2):
                session.add(
                    Robot(
                        **owned,
                        account_id=account.id,
                        name=f"amr-{number:02}",
                        serial_number=f"SIM-{number:04}",
                        capabilities=["drive"],
                        created_at=now,
                    )
                )
        self.round_id = None

    def request(self, **missions: dict[str, object]) -> None:
        wanted = [
            MissionCreate.model_validate({"name": name, "key": name, "tasks": [TaskCreate(station=POINT)]} | news)
            for name, news in missions.items()
        ]
        with self.runtime.transaction() as session:
            self.round_id = create_round(session, site=self.site, name="r", key="r", missions=wanted, who="user:ops").id

    def teach(self, *capabilities: str) -> None:
        with self.runtime.transaction() as session:
            for robot in session.exec(select(Robot)).all():
                robot.capabilities = ["drive", *capabilities]
                session.add(robot)

    def missions(self) -> dict[str, board.MissionView]:
        with self.runtime.reading() as session:
            view = board.round_view(session, self.site.organisation_id, self.round_id)
        return {mission.name: mission for mission in view.missions}

    def cancel(self, name: str) -> None:
        with self.runtime.transaction() as session:
            commands.command(
                session,
                organisation_id=self.site.organisation_id,
                mission_id=self.missions()[name].id,
                command="cancel",
                who="user:ops",
                why="",
            )

    async def until(self, holds) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if holds(self.missions()):
                    return
                await asyncio.sleep(0.05)


@pytest.fixture
async def platform(settings, tmp_path):
    runtime = open_runtime(settings)
    migrate(runtime.engine)
    options = SiteOptions(
        robots=2, speed=100, credential="c", history_lives=0, blocked_once=[POINT], bags_dir=tmp_path / "site"
    )
    async with running(options) as site:
        yield Platform(runtime, site.url)
    runtime.engine.dispose()


@asynccontextmanager
async def _dispatching(*dispatchers: Dispatcher):
    tasks = [asyncio.create_task(_turning(dispatcher)) for dispatcher in dispatchers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for dispatcher in dispatchers:
            await dispatcher.close()


async def _turning(dispatcher: Dispatcher) -> None:
    with ticking(dispatcher.wake.set, every_s=0.1):
        while True:
            dispatcher.wake.clear()
            await dispatcher.turn()
            await dispatcher.wake.wait()


def _all_over(missions) -> bool:
    return all(mission.status in MISSION_TERMINAL for mission in missions.values())


async def test_missions_fail_once_retry_succeed_and_are_refused_with_nobody_else_running(platform):
    platform.teach("inspect_gas")
    platform.request(first={}, second={"priority": 5}, gas={"required_capabilities": ["inspect_gas"]})
    platform.teach()
    async with _dispatching(Dispatcher(platform.runtime)):
        await platform.until(_all_over)
    missions = platform.missions()
    assert {name: mission.status.value for name, mission in missions.items()} == {
        "first": "SUCCEEDED",
        "second": "SUCCEEDED",
        "gas": "REFUSED",
    }
    attempts = [attempt for mission in missions.values() for attempt in mission.attempts]
    assert sorted(attempt.status.value for attempt in attempts) == ["FAILED", "SUCCEEDED", "SUCCEEDED"]
    (failed,) = (attempt for attempt in attempts if attempt.status == "FAILED")
    assert failed.reason == f"path blocked at {POINT}"


async def test_a_mission_cancelled_under_way_stops_its_robot(platform):
    platform.request(long={"tasks": [TaskCreate(kind="wait", parameters={"duration_s": 80_000})]})
    async with _dispatching(Dispatcher(platform.runtime)):
        await platform.until(lambda missions: missions["long"].status is MissionStatus.running)
        platform.cancel("long")
        await platform.until(_all_over)
    (attempt,) = platform.missions()["long"].attempts
    assert (platform.missions()["long"].status, attempt.status) == (MissionStatus.canceled, "CANCELED")


async def test_two_dispatchers_at_once_do_every_mission_once(platform):
    platform.request(**{f"m{number}": {} for number in range(6)})
    async with _dispatching(Dispatcher(platform.runtime), Dispatcher(platform.runtime)):
        await platform.until(_all_over)
    missions = platform.missions()
    assert {mission.status.value for mission in missions.values()} == {"SUCCEEDED"}
    assert sum(attempt.status == "SUCCEEDED" for mission in missions.values() for attempt in mission.attempts) == 6


async def test_a_mission_under_way_ends_although_the_intake_is_broken(platform, monkeypatch):
    def broken(runtime, *, limit: int) -> int:
        raise LookupError("planted")

    platform.request(m={"tasks": [TaskCreate(kind="wait", parameters={"duration_s": 100})]})
    async with _dispatching(Dispatcher(platform.runtime)):
        await platform.until(lambda missions: missions["m"].attempts != [])
        monkeypatch.setattr(intake, "drain", broken)
        await platform.until(_all_over)
    assert platform.missions()["m"].status is MissionStatus.succeeded


async def test_the_feed_is_published_by_the_dispatcher(platform):
    platform.request(m={})
    async with _dispatching(Dispatcher(platform.runtime)):
        await platform.until(_all_over)
    with platform.runtime.reading() as session:
        positions = [row.position for row in session.exec(select(Change).order_by(Change.id)).all()]
    assert positions[:3] == [1, 2, 3]


async def test_the_running_dispatcher_goes_on_after_a_turn_that_failed(platform, monkeypatch):
    failures = iter([LookupError("planted")])
    deal = Dispatcher.deal

    async def sometimes(self) -> None:
        for failure in failures:
            raise failure
        await deal(self)

    monkeypatch.setattr(Dispatcher, "deal", sometimes)
    platform.request(m={})
    task = asyncio.create_task(run(platform.runtime))
    await platform.until(_all_over)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert platform.missions()["m"].status is MissionStatus.succeeded
