"""Any plug of the whole platform is pulled, Prefect's too, while missions run: each ends, and none is done twice."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from sqlmodel import col, select

from deployments.local import Wanted, launched
from deployments.supervise import Supervisor
from fleet.adapter import OrderStatus
from fleet.adapters.ros2.runs import goal_id
from fleet.adapters.simulated.local_orders import VDA5050
from fleet.adapters.simulated.record import read_record
from fleet.adapters.vda5050.runs import order_id
from fleet.organisations import Site
from fleet.robots import RobotLease
from fleet.runtime import open_runtime
from fleet.settings import Settings
from missions.create import create_round
from missions.models import MISSION_TERMINAL, Attempt, Mission, MissionCreate, TaskCreate

pytestmark = [pytest.mark.proof, pytest.mark.serial, pytest.mark.timeout(1500)]

MISSIONS = 12
PULLED = ["worker", "gateway", "prefect-server", "dispatcher", "gateway", "api", "site", "worker"]
PATIENCE_S = 600.0


@pytest.fixture
def until() -> Callable[[Supervisor, Callable[[], bool]], None]:
    """Waits for something while the supervisor looks after its children, and fails when it does not come about."""

    def wait(supervisor: Supervisor, holds: Callable[[], bool]) -> None:
        ends = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < ends
            supervisor.check()
            time.sleep(0.2)

    return wait


def test_whatever_process_is_killed_every_mission_ends_once(tmp_path, until):
    chance, said = Random(5), list[str]()
    wanted = Wanted(tmp_path / "var", site={"remembers_orders": True})  # else what a killed robot did is done again
    with launched(wanted, say=said.append) as platform:
        runtime = open_runtime(Settings(var_dir=tmp_path / "var"))

        def is_over() -> bool:
            with runtime.reading() as session:
                found = session.exec(select(Mission).where(col(Mission.key).startswith("plug"))).all()
            return all(mission.status in MISSION_TERMINAL for mission in found)

        with runtime.transaction() as session:
            site = session.exec(select(Site)).first()
            asked = [
                MissionCreate(name=f"plug{number}", key=f"plug{number}", tasks=[TaskCreate(station="press-1")])
                for number in range(MISSIONS)
            ]
            create_round(session, site=site, name="plug", key="plug", missions=asked, who="user:ops")
        for name in PULLED:
            time.sleep(chance.uniform(0.2, 3.0))  # any moment will do: that is the point
            gone = platform.supervisor.process_ids[name]
            os.kill(gone, signal.SIGKILL)
            until(
                platform.supervisor,
                lambda name=name, gone=gone: platform.supervisor.process_ids.get(name, gone) != gone,
            )
        until(platform.supervisor, is_over)
        with runtime.reading() as session:
            statuses = Counter(mission.status.value for mission in session.exec(select(Mission)).all())
            attempts = {attempt.key for attempt in session.exec(select(Attempt)).all()}
            live = session.exec(select(Attempt).where(col(Attempt.finished_at).is_(None))).all()
            leases = session.exec(select(RobotLease)).all()
        runtime.engine.dispose()
    assert statuses == {"SUCCEEDED": MISSIONS}
    assert (live, leases) == ([], [])
    record = read_record(tmp_path / "var" / "site" / "journal.db")
    words = _words_of(attempts)
    assert set(record.reports) <= set(words)
    done = Counter(words[word] for word in record.with_status(OrderStatus.succeeded))
    assert set(done.values()) == {1}
    assert len(done) == MISSIONS
    assert record.again == {}


def _words_of(attempts: set[str]) -> dict[str, str]:
    """The mission behind each word under which a robot may have been told to do its only task."""
    goals = {str(goal_id(key, 0, 0)): key.partition("/")[0] for key in attempts}
    return goals | {f"{VDA5050}{order_id(key)}": key.partition("/")[0] for key in attempts}
