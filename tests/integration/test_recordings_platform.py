"""The simulated robots and our own API joined: policies are fetched, recordings come with their trigger and event, once."""

import asyncio
import socket
from dataclasses import dataclass

import pytest
import uvicorn
from sqlmodel import select

from api.app import create_app
from deployments.access import Access
from deployments.seed import seed
from fleet.adapter import AdapterAccount, Order, OrderTask, TaskKind
from fleet.adapters.simulated.adapter import open_adapter
from fleet.adapters.simulated.site import SiteOptions, running
from fleet.adapters.simulated.site_map import robots
from fleet.events import Event
from fleet.organisations import Organisation
from fleet.robots import robot_named
from fleet.runtime import Runtime
from ingestion import recording_policies, recordings
from ingestion.models import Bag
from ingestion.recording_policy import Applies, RecordingPolicy, Trigger
from ingestion.recordings import Recording, RecordingWanted
from ingestion.statuses import TriggerKind
from orchestration.intake import drain

PATIENCE_S = 60.0
DRIVE = OrderTask(position=0, kind=TaskKind.go_to, station="press-1")
ORDER = Order(key="m/1", fence=1, serial_number="SIM-0001", mission_id="", tasks=(DRIVE,))
POLICY = RecordingPolicy(
    applies_to=Applies(everywhere=True), triggers=(Trigger(on=TriggerKind.error, before_s=30, after_s=20),)
)


@dataclass
class Platform:
    """Our side, which may be away for a while, and what the site needs to reach it."""

    runtime: Runtime
    access: Access
    port: int
    server: uvicorn.Server | None = None
    serving: asyncio.Task | None = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def options(self, folder):
        return SiteOptions(
            credential=self.access.credential,
            webhook_url=f"{self.url}/v1/webhooks/{self.access.account_id}",
            webhook_secret=self.access.webhook_secret,
            api_url=self.url,
            device_token=self.access.device_token,
            robots=1,
            history_lives=0,
            blocked_once=["press-1"],
            bags_dir=folder,
        )

    async def come(self):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self.server = uvicorn.Server(
            uvicorn.Config(create_app(self.runtime), log_config=None, timeout_graceful_shutdown=1)
        )
        self.serving = asyncio.create_task(self.server._serve([listener]))

    async def go(self):
        self.server.should_exit = True
        await self.serving

    def rows(self, table):
        with self.runtime.reading() as session:
            return list(session.exec(select(table)).all())

    def tell(self, work):
        """Do this with the session and the seeded organisation's id."""
        with self.runtime.transaction() as session:
            return work(session, session.exec(select(Organisation.id)).first())

    async def until(self, holds):
        """Let time go on until it holds."""
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                self.runtime.clock.step(0.05)
                await asyncio.sleep(0.01)


@pytest.fixture
async def platform(runtime):
    """A seeded database behind a real API on a free port, with a policy for every robot."""
    with runtime.transaction() as session:
        access = seed(session, now=runtime.clock.now(), site_url="http://127.0.0.1:9", robots=robots(1), known=None)
    found = Platform(runtime, access, 0)
    found.tell(
        lambda session, owner: recording_policies.put(
            session, organisation_id=owner, name="night", policy=POLICY, why="test", who="user:ops"
        )
    )
    await found.come()
    yield found
    await found.go()


async def _send(site, options):
    account = AdapterAccount(name="a", base_url=site.url, credential=options.credential)
    async with open_adapter(account) as adapter:
        await adapter.submit(ORDER)


def _follows(site):
    return site.world.journal.fact("recording_policy/SIM-0001") is not None


async def test_a_failure_becomes_one_recording_with_its_event_and_bag(platform, tmp_path):
    options = platform.options(tmp_path / "site")
    async with running(options, clock=platform.runtime.clock) as site:
        await platform.until(lambda: _follows(site))
        await _send(site, options)
        await platform.until(lambda: any(row.bag_id for row in platform.rows(Recording)))
    await asyncio.to_thread(drain, platform.runtime)
    (row,) = platform.rows(Recording)
    bags = {bag.id: bag for bag in platform.rows(Bag)}
    assert (row.kind, row.event_key, row.policy) == (TriggerKind.error, "m/1/failed", "night@1")
    assert bags[row.bag_id].robot_name == "amr-01"
    view = platform.tell(lambda session, _: recordings.views(session, [row])[0])
    assert [event.kind for event in platform.rows(Event) if event.id == view.event_id] == ["mission_failed"]


async def test_a_request_becomes_one_recording(platform, tmp_path):
    def ask(session, owner):
        wanted = RecordingWanted(key="k", why="it squeaks", after_s=10.0)
        recordings.ask(session, robot_named(session, owner, "amr-01"), wanted, who="user:ops")

    platform.tell(ask)
    async with running(platform.options(tmp_path / "site"), clock=platform.runtime.clock):
        await platform.until(lambda: any(row.bag_id for row in platform.rows(Recording)))
    (row,) = platform.rows(Recording)
    assert (row.trigger_id, row.why, row.kind) == ("request/k", "it squeaks", TriggerKind.request)


async def test_while_the_platform_is_away_nothing_is_lost_and_then_nothing_doubled(platform, tmp_path):
    options = platform.options(tmp_path / "site")
    async with running(options, clock=platform.runtime.clock) as site:
        await platform.until(lambda: _follows(site))
        await platform.go()
        await _send(site, options)
        await platform.until(lambda: site.journal.waiting_bag() is not None)
    assert platform.rows(Recording) == []
    await platform.come()
    async with running(options, clock=platform.runtime.clock) as site:
        await platform.until(lambda: any(row.bag_id for row in platform.rows(Recording)))
        await platform.until(lambda: site.journal.waiting_bag() is None)
    assert len(platform.rows(Recording)) == 1
    assert len([bag for bag in platform.rows(Bag) if "error" in bag.filename]) == 1


async def test_a_site_that_forgot_that_it_uploaded_makes_no_second_bag(platform, tmp_path):
    options = platform.options(tmp_path / "site")
    async with running(options, clock=platform.runtime.clock) as site:
        await platform.until(lambda: _follows(site))
        await _send(site, options)
        await platform.until(lambda: site.journal.waiting_bag() is not None)
        name = site.journal.waiting_bag().name
        copied = (tmp_path / "site" / f"{name}.mcap").read_bytes()
        await platform.until(lambda: any(row.bag_id for row in platform.rows(Recording)))
        await platform.until(lambda: site.journal.waiting_bag() is None)
    (tmp_path / "site" / f"{name}.mcap").write_bytes(copied)
    async with running(options, clock=platform.runtime.clock) as site:
        site.journal.end_bag(name, "waiting")  # as it stood when the site was killed before it noted the answer
        await platform.until(lambda: site.journal.waiting_bag() is None)
    assert len(platform.rows(Recording)) == 1
    assert len(platform.rows(Bag)) == len({bag.sha256 for bag in platform.rows(Bag)})
    assert len([bag for bag in platform.rows(Bag) if "error" in bag.filename]) == 1
