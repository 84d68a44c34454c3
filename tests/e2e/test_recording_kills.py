"""Kill -9 of the robots' site and of the API while recordings are begun, written and uploaded: each comes, once."""

import asyncio
import socket
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
from sqlmodel import select

from deployments.seed import seed
from fleet.adapter import Accepted, AdapterAccount, Order, OrderTask, TaskKind
from fleet.adapters.simulated.adapter import open_adapter
from fleet.adapters.simulated.site import SiteOptions
from fleet.adapters.simulated.site_map import robots
from fleet.organisations import organisation_named
from fleet.robots import Robot
from fleet.runtime import open_runtime
from fleet.settings import Settings, child_environment
from fleet.transport import probe
from ingestion.models import Bag
from ingestion.recording_policies import put
from ingestion.recording_policy import Applies, RecordingPolicy, Trigger
from ingestion.recordings import Recording, RecordingWanted, ask
from ingestion.statuses import TriggerKind

ROOT = Path(__file__).parents[2]
SITE = "import sys; from fleet.adapters.simulated.site import *; serve(SiteOptions.model_validate_json(sys.argv[1]))"
ROBOTS, ROUNDS, PATIENCE_S = 3, 8, 90.0
STAND = OrderTask(position=0, kind=TaskKind.wait, parameters={"duration_s": 5.0})
POLICY = RecordingPolicy(
    applies_to=Applies(everywhere=True), triggers=(Trigger(on=TriggerKind.error, before_s=60, after_s=20),)
)


@pytest.fixture
def ports() -> list[int]:
    """Two free ones."""
    with socket.socket() as one, socket.socket() as two:
        for probing in (one, two):
            probing.bind(("127.0.0.1", 0))
        return [one.getsockname()[1], two.getsockname()[1]]


def until(holds) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


class Programs:
    """The two processes, by name; each can be killed and started again."""

    def __init__(self, commands: dict[str, tuple[list[str], str]], settings: Settings, log: Path) -> None:
        self._commands, self._log = commands, log
        self._environment = child_environment({"YARDMASTER_VAR_DIR": str(settings.var_dir.resolve())})
        self._running: dict[str, subprocess.Popen] = {}

    def start(self, name: str) -> None:
        command, health = self._commands[name]
        with self._log.open("a") as out:
            process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=self._environment, stderr=out)
        self._running[name] = process

        def answers() -> bool:
            assert process.poll() is None, self._log.read_text()
            return probe(health) == 200

        until(answers)

    def kill(self, name: str) -> None:
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def kill_all(self) -> None:
        for name in list(self._running):
            self.kill(name)


@pytest.fixture
def real(runtime, settings):
    """The same database by the system's clock, which the programs go by."""
    opened = open_runtime(settings)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def platform(real, ports, tmp_path):
    """A seeded platform with a policy, its API and the site as programs; what is left of them is killed at the end."""
    with real.transaction() as session:
        access = seed(session, now=real.clock.now(), site_url="http://127.0.0.1:9", robots=robots(ROBOTS), known=None)
        owner = organisation_named(session, "demo").id
        put(session, organisation_id=owner, name="night", policy=POLICY, why="test", who="user:ops")
    api, cloud = (f"http://127.0.0.1:{port}" for port in ports)
    options = SiteOptions(
        port=ports[1],
        credential="c",
        robots=ROBOTS,
        speed=50,
        failure_rate=1.0,
        history_lives=0,
        api_url=api,
        device_token=access.device_token,
        bags_dir=tmp_path / "site",
    )
    commands = {
        "api": (["-m", "api.serve", "--port", str(ports[0])], f"{api}/readyz"),
        "site": (["-c", SITE, options.model_dump_json()], f"{cloud}/healthz"),
    }
    programs = Programs(commands, real.settings, tmp_path / "log.txt")
    yield programs, cloud
    programs.kill_all()


async def _fail(cloud: str, number: int) -> set[str]:
    """One order for each robot that fails at once; gives the keys of the events that tell of it."""
    told = set()
    async with open_adapter(AdapterAccount(name="a", base_url=cloud, credential="c")) as adapter:
        for robot in range(1, ROBOTS + 1):
            key = f"m{number}-{robot}/1"
            order = Order(key=key, fence=1, serial_number=f"SIM-000{robot}", mission_id="", tasks=(STAND,))
            if isinstance(await adapter.submit(order), Accepted):
                told.add(f"{key}/failed")
    return told


def _rows(real, table):
    with real.reading() as session:
        return list(session.exec(select(table)).all())


@pytest.mark.proof
@pytest.mark.serial
def test_each_trigger_becomes_one_bag_whoever_is_killed(real, platform, tmp_path):
    programs, cloud = platform
    chance, wanted = Random(11), set()
    programs.start("api")
    programs.start("site")
    until(lambda: (tmp_path / "log.txt").read_text().count("/recording-policy") >= ROBOTS)
    for number in range(ROUNDS):
        wanted |= asyncio.run(_fail(cloud, number))
        with real.transaction() as session:
            robot = session.exec(select(Robot).where(Robot.name == "amr-01")).one()
            ask(session, robot, RecordingWanted(key=str(number), why="test", after_s=5.0), who="user:ops")
        time.sleep(chance.uniform(0.0, 1.6))  # anywhere between the trigger and the end of its upload
        victim = chance.choice(["api", "site"])
        programs.kill(victim)
        time.sleep(chance.uniform(0.0, 0.3))
        programs.start(victim)
    asked = {f"request/{number}" for number in range(ROUNDS)}
    until(lambda: len([row for row in _rows(real, Recording) if row.bag_id]) >= len(wanted | asked))
    rows = _rows(real, Recording)
    assert len(wanted) > ROUNDS
    assert {row.event_key for row in rows if row.event_key} == wanted
    assert {row.trigger_id for row in rows if row.kind is TriggerKind.request} == asked
    assert len(rows) == len(wanted) + len(asked)
    assert len({row.bag_id for row in rows}) == len(rows)
    bags = [bag for bag in _rows(real, Bag) if "life" not in bag.filename]
    assert {bag.id for bag in bags} == {row.bag_id for row in rows}
