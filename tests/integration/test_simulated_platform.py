"""The simulated site and our own API, intake and polling, joined as on a real night; time is stepped."""

import asyncio
import socket
from dataclasses import dataclass

import pytest
import uvicorn
from sqlmodel import select

from api.app import create_app
from deployments.access import Access
from deployments.seed import seed
from fleet.accounts import ManufacturerAccount
from fleet.adapter import AdapterAccount, Order, OrderTask, TaskKind
from fleet.adapters.simulated.adapter import open_adapter
from fleet.adapters.simulated.site import SiteOptions, running
from fleet.adapters.simulated.site_map import robots
from fleet.events import Alert, Event
from fleet.organisations import Site
from fleet.robots import Robot
from fleet.runtime import Runtime
from fleet.states import RobotState
from ingestion.models import Bag, Delivery, DeliveryStatus
from ingestion.polling import poll
from missions.create import create
from missions.models import MissionCreate, TaskCreate
from orchestration.intake import drain

PATIENCE_S = 60.0
DRIVE = OrderTask(position=1, kind=TaskKind.go_to, station="dock-4")
RECORD = OrderTask(position=0, kind=TaskKind.record_bag)
ORDER = Order(key="m/1", fence=1, serial_number="SIM-0001", mission_id="m", tasks=(RECORD, DRIVE))


@dataclass
class Night:
    """Our side, and what the site needs to reach it."""

    runtime: Runtime
    access: Access
    api_url: str

    def options(self, folder, **news):
        given = {
            "credential": self.access.credential,
            "webhook_url": f"{self.api_url}/v1/webhooks/{self.access.account_id}",
            "webhook_secret": self.access.webhook_secret,
            "api_url": self.api_url,
            "device_token": self.access.device_token,
            "robots": 2,
            "bags_dir": folder,
        }
        return SiteOptions(**given | news)

    def rows(self, table):
        with self.runtime.reading() as session:
            return list(session.exec(select(table)).all())

    async def until(self, holds):
        """Let time go on until it holds."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if holds():
                    return
                self.runtime.clock.step(0.1)
                await asyncio.sleep(0.01)


@pytest.fixture
async def night(runtime):
    """A seeded database behind a real API on a free port."""
    with runtime.transaction() as session:
        access = seed(session, now=runtime.clock.now(), site_url="http://127.0.0.1:9", robots=robots(2), known=None)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_app(runtime), log_config=None))
        serving = asyncio.create_task(server._serve([listener]))
        yield Night(runtime, access, f"http://127.0.0.1:{listener.getsockname()[1]}")
        server.should_exit = True
        await serving


async def test_webhooks_are_stored_once_and_understood(night, tmp_path):
    options = night.options(tmp_path / "site", api_url="", history_lives=0, duplicate_rate=1.0)
    async with running(options, clock=night.runtime.clock) as site:
        account = AdapterAccount(name="a", base_url=site.url, credential=options.credential)
        async with open_adapter(account) as adapter:
            await adapter.submit(ORDER)
            await night.until(lambda: any(b'"DONE"' in delivery.body for delivery in night.rows(Delivery)))
    await asyncio.to_thread(drain, night.runtime)
    deliveries = night.rows(Delivery)
    assert {delivery.status for delivery in deliveries} == {DeliveryStatus.applied}
    assert len({delivery.key for delivery in deliveries}) == len(deliveries)
    assert len(night.rows(RobotState)) == 2


async def test_the_past_failures_come_in_by_polling_once_however_often_it_is_polled(night, tmp_path):
    options = night.options(tmp_path / "site", api_url="", webhook_url="", history_lives=2)
    async with running(options, clock=night.runtime.clock) as site:
        account = AdapterAccount(name="a", base_url=site.url, credential=options.credential)
        async with open_adapter(account) as adapter:
            for _ in range(2):
                (row,) = night.rows(ManufacturerAccount)
                await poll(row, adapter, transaction=night.runtime.transaction, clock=night.runtime.clock)
    await asyncio.to_thread(drain, night.runtime)
    events = night.rows(Event)
    by_id = {robot.id: robot.name for robot in night.rows(Robot)}
    failed = [(by_id[event.robot_id], event.fields["life"]) for event in events if event.kind == "component_failed"]
    assert sorted(failed) == [("amr-01", 1), ("amr-01", 2), ("amr-02", 1), ("amr-02", 2)]
    assert all(alert.closed_at for alert in night.rows(Alert) if "component" in alert.rule)


async def _recorded(night, folder, mission_id: str) -> dict[str, Bag]:
    """The bags that arrive from a new site when one robot is sent to record for this mission."""
    options = night.options(folder, webhook_url="", history_lives=0)
    async with running(options, clock=night.runtime.clock) as site:
        account = AdapterAccount(name="a", base_url=site.url, credential=options.credential)
        async with open_adapter(account) as adapter:
            await adapter.submit(ORDER.model_copy(update={"mission_id": mission_id}))
            await night.until(lambda: len(night.rows(Bag)) == 3)
    return {bag.filename: bag for bag in night.rows(Bag)}


async def test_bags_of_the_past_and_of_the_night_arrive_as_stored_bags(night, tmp_path):
    with night.runtime.transaction() as session:
        site = session.exec(select(Site)).first()
        wanted = MissionCreate(name="Look", key="look", tasks=[TaskCreate(station="dock-4")])
        mission = create(session, site=site, wanted=wanted, who="test")
    bags = await _recorded(night, tmp_path / "site", str(mission.id))
    assert set(bags) == {"amr-01-life-1.mcap", "amr-02-life-1.mcap", "amr-01-night-1.mcap"}
    assert bags["amr-01-night-1.mcap"].mission_id == mission.id
    assert {bag.robot_name for bag in bags.values()} == {"amr-01", "amr-02"}


async def test_a_recording_of_a_mission_that_nobody_knows_arrives_without_it(night, tmp_path):
    bags = await _recorded(night, tmp_path / "site", "0190b2c4-0000-7000-8000-000000000001")
    assert bags["amr-01-night-1.mcap"].mission_id is None


async def test_a_site_with_a_wrong_secret_leaves_nothing(night, tmp_path):
    forged = night.options(
        tmp_path / "site", api_url="", history_lives=0, webhook_secret="whsec_MTIzNDU2Nzg5MDEyMzQ1Ng=="
    )
    async with running(forged, clock=night.runtime.clock) as site:
        account = AdapterAccount(name="a", base_url=site.url, credential=forged.credential)
        async with open_adapter(account) as adapter:
            await adapter.submit(ORDER)
            await night.until(lambda: site.world.query("SIM-0001", "m/1").status == "succeeded")
    assert night.rows(Delivery) == []
