"""Missions reach robots behind a gateway, and what these say comes back, through the real API, dispatcher and gateway."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from sqlmodel import select

from fleet.states import RobotState
from ingestion.models import Delivery
from missions.create import create
from missions.models import Mission, MissionCreate, MissionStatus, TaskCreate
from orchestration.dispatcher import Dispatcher


@pytest.fixture
def ask(platform):
    """Asks for a mission to the gate."""

    def ask(key: str) -> object:
        tasks = [TaskCreate(kind="go_to", station="gate")]
        wanted = MissionCreate(name=key, key=key, tasks=tasks)
        with platform.runtime.transaction() as session:
            return create(session, site=platform.world.site, wanted=wanted, who="user:ops").id

    return ask


@pytest.fixture
def dispatching(platform):
    """A dispatcher that turns again and again within the block."""

    @asynccontextmanager
    async def running():
        dispatcher = Dispatcher(platform.runtime)

        async def turn() -> None:
            while True:
                await dispatcher.turn()
                await asyncio.sleep(0.05)

        task = asyncio.create_task(turn())
        try:
            yield dispatcher
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await dispatcher.close()

    return running


def _status(platform, mission_id) -> MissionStatus:
    with platform.runtime.reading() as session:
        return session.get_one(Mission, mission_id).status


async def test_a_mission_is_done_by_a_robot_behind_a_gateway(platform, yard, ask, dispatching, until):
    async with platform.dialled(), dispatching():
        mission = ask("m1")
        await until(lambda: _status(platform, mission) is MissionStatus.succeeded)
    assert yard.submitted == [f"{mission}/1"]


async def test_what_robots_say_comes_through_the_inbox(platform, until, dispatching):
    async with platform.dialled(), dispatching():
        await until(lambda: len(_states(platform)) == 2)
    with platform.runtime.reading() as session:
        kept = session.exec(select(Delivery)).all()
    assert {one.source for one in kept} == {"link"}
    assert all(one.key.startswith(f"{platform.gateway.id}:journal.db:") for one in kept)


def _states(platform):
    with platform.runtime.reading() as session:
        return session.exec(select(RobotState)).all()
