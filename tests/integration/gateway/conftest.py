"""A platform's API at a socket, gateways that dial in, and robots behind them that do as the test says."""

import asyncio
import sys
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import pytest
from sqlmodel import Session

from api.app import create_app
from api.serve import listen, server
from fleet import adapters, gateways
from fleet.accounts import ManufacturerAccount
from fleet.adapter import (
    Accepted,
    Acknowledged,
    Activity,
    Capabilities,
    DiscoveredRobot,
    Observation,
    OrderReport,
    OrderStatus,
    TaskKind,
    Unknown,
)
from fleet.clock import SystemClock
from fleet.errors import NotFound
from fleet.journal import JournalFile
from fleet.push import Endpoint, Exposure, Heard, Hearing, Inheritance, PushAccount, to_bytes
from fleet.robots import Robot
from fleet.runtime import Runtime, open_runtime
from orchestration.gateway.line import Address
from orchestration.gateway.process import Gateway
from orchestration.gateway_link import GatewayLink, Switchboard


@dataclass
class Yard:
    """Robots behind a gateway, by the account they are on: what reached them, and what they are told to do."""

    submitted: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    inherited: list[tuple[str, Inheritance]] = field(default_factory=list)
    doubt: Unknown | None = None
    held: list[frozenset[str]] = field(default_factory=list)
    opened: int = 0
    fails_to_open: Exception | None = None
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)
    hold: Callable[..., Awaitable[None]] | None = None
    adapters: list["ScriptedPush"] = field(default_factory=list)

    @property
    def adapter(self) -> "ScriptedPush":
        """The one that was opened last."""
        return self.adapters[-1]


class ScriptedPush:
    """A push adapter whose robots finish every order at once, unless they hang."""

    def __init__(self, account: PushAccount, journal, yard: Yard) -> None:
        self.account, self.journal, self.yard = account, journal, yard
        self.said: asyncio.Queue = asyncio.Queue()
        self.reached = asyncio.Event()

    async def hold(self, serial_numbers):
        if self.yard.hold is not None:
            await self.yard.hold(self, serial_numbers)
            return
        self.yard.held.append(serial_numbers)
        now = SystemClock().now()
        for serial in sorted(serial_numbers):
            self.said.put_nowait(Heard(serial_number=serial, hearing=Hearing.well, since=now))
            self.said.put_nowait(await self.exposure(serial))
            self.said.put_nowait(self.observation(serial))

    def observation(self, serial: str, **values) -> Observation:
        given = {"serial_number": serial, "observed_at": SystemClock().now(), "activity": Activity.idle}
        return Observation.model_validate({**given, "battery_fraction": 0.9, "x_m": 0.0, "y_m": 0.0, **values})

    def capabilities(self, serial_number):
        return Capabilities(deduplicates=True, queryable=True, cancellable=True, pausable=True, tasks=set(TaskKind))

    async def submit(self, order):
        self.reached.set()
        await self.yard.goes_on.wait()
        if await asyncio.to_thread(self.journal.admit, order) is None:
            self.yard.submitted.append(order.key)
            await asyncio.to_thread(self.finish, order)
        return Accepted(reference="r")

    def finish(self, order):
        for sequence, status in enumerate((OrderStatus.running, OrderStatus.succeeded)):
            tasks = [{"position": task.position, "status": "succeeded"} for task in order.tasks]
            report = OrderReport.model_validate(
                {
                    "key": order.key,
                    "serial_number": order.serial_number,
                    "status": status,
                    "observed_at": SystemClock().now(),
                    "sequence": sequence,
                    "fence": order.fence,
                    "tasks": tasks if status is OrderStatus.succeeded else [],
                }
            )
            self.journal.save(
                order.key, {"status": status}, is_over=status is OrderStatus.succeeded, tell=[to_bytes([report])]
            )

    async def query(self, serial_number, key):
        entry = self.journal.entry(key)
        status = OrderStatus.not_found if entry is None else OrderStatus(entry.state.get("status", "accepted"))
        return OrderReport(
            key=key, serial_number=serial_number, status=status, observed_at=SystemClock().now(), sequence=1
        )

    async def inherit(self, order, said):
        self.yard.inherited.append((order.key, said))
        return self.yard.doubt

    async def cancel(self, serial_number, key, fence):
        self.yard.cancelled.append(key)
        return Acknowledged()

    async def pause(self, serial_number, key, fence):
        return Acknowledged()

    async def resume(self, serial_number, key, fence):
        return Acknowledged()

    async def discover(self) -> Sequence[DiscoveredRobot]:
        return [DiscoveredRobot(serial_number="stranger", name="stranger", model="x")]

    async def exposure(self, serial_number):
        if serial_number == "nobody":
            raise NotFound("No robot 'nobody' is seen.")
        endpoint = Endpoint(name=f"/{serial_number}/go", kind="action", type="nav2_msgs/action/NavigateToPose")
        return Exposure(serial_number=serial_number, link="dds", endpoints=(endpoint,))

    async def told(self):
        while True:
            yield await self.said.get()


@pytest.fixture
def clock() -> SystemClock:
    """The machine's own: sockets do not wait for a clock that is stepped."""
    return SystemClock()


@pytest.fixture
def yard(monkeypatch: pytest.MonkeyPatch) -> Yard:
    """The robots of every account of the manufacturer `scripted`."""
    yard = Yard()
    yard.goes_on.set()

    @asynccontextmanager
    async def open_push(account, journal) -> AsyncIterator[ScriptedPush]:
        yard.opened += 1
        if yard.fails_to_open is not None:
            raise yard.fails_to_open
        adapter = ScriptedPush(account, journal, yard)
        yard.adapters.append(adapter)
        yield adapter

    module = types.ModuleType("scripted_push")
    module.open_push = open_push
    monkeypatch.setitem(sys.modules, "scripted_push", module)
    monkeypatch.setitem(adapters.PUSH, "scripted", "scripted_push:open_push")
    monkeypatch.setitem(adapters.TRANSLATORS, "scripted", "fleet.push:events_from")
    adapters.push_manufacturers.cache_clear()
    adapters.translator.cache_clear()
    yield yard
    adapters.push_manufacturers.cache_clear()
    adapters.translator.cache_clear()


@dataclass
class Platform:
    """The platform with one gateway of its own, its account, and what is needed to dial in."""

    runtime: Runtime
    world: object
    account: ManufacturerAccount
    gateway: gateways.Gateway
    token: str
    http: str
    folder: Path

    @property
    def url(self) -> str:
        return self.http.replace("http", "ws") + "/v1/link"

    @asynccontextmanager
    async def dialled(self, *, token: str = "", journal: str = "journal.db", url: str = "") -> AsyncIterator[Gateway]:
        """A gateway that runs in this test's loop."""
        file = JournalFile(self.folder / journal)
        name = file.fact("id") or journal
        file.keep_fact("id", name)
        gateway = Gateway(Address(url or self.url, token or self.token, name), file, SystemClock())
        task = asyncio.create_task(gateway.run())
        try:
            yield gateway
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            file.close()

    def add_gateway(self, name: str) -> str:
        """Another gateway for the same account; its token."""
        with self.runtime.transaction() as session:
            now = self.runtime.clock.now()
            _, token = gateways.add_gateway(session, self.world.site, name, [self.account], now=now)
        return token

    def link(self, robot: str = "amr-01") -> gateways.RobotLink | None:
        """How the robot is reached now."""
        with self.runtime.reading() as session:
            return session.get(gateways.RobotLink, self.world.robots[robot].id)


def _link_robots(session: Session, world, account: ManufacturerAccount) -> None:
    for robot in world.robots.values():
        row = session.get_one(Robot, robot.id)
        row.link_account_id, row.link_address = account.id, f"/{robot.name}"
        session.add(row)


@pytest.fixture
def served(runtime: Runtime, world, clock: SystemClock):
    """The API behind a real socket; its url. It hears the dispatcher's bell, as it is another process otherwise."""
    own = open_runtime(runtime.settings, clock=clock)
    listening = listen("127.0.0.1", 0)
    serving = server(create_app(own))
    thread = Thread(target=serving.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    serving.should_exit = True
    thread.join(10)
    listening.close()
    own.engine.dispose()
    assert not thread.is_alive()


@pytest.fixture
def platform(runtime: Runtime, world, yard: Yard, served: str, tmp_path: Path) -> Platform:
    """The world's robots are commanded over a push account that one gateway serves."""
    now = runtime.clock.now()
    with runtime.transaction() as session:
        account = ManufacturerAccount(
            organisation_id=world.organisation.id,
            name="robots",
            manufacturer="scripted",
            base_url="scripted://",
            webhook_secret="",
            options={"speed": 1},
            created_at=now,
        )
        session.add(account)
        session.flush()
        _link_robots(session, world, account)
        gateway, token = gateways.add_gateway(session, world.site, "north", [account], now=now)
    return Platform(runtime, world, account, gateway, token, served, tmp_path)


@pytest.fixture
async def link(platform):
    """The dispatcher's link to the robots of the account."""
    switchboard = Switchboard(platform.runtime)
    yield GatewayLink(platform.account, switchboard)
    await switchboard.close()


@pytest.fixture
def until():
    """Waits for a condition, looking again and again; fails when it does not come true."""

    async def wait(holds, *, within_s: float = 15.0) -> None:
        async with asyncio.timeout(within_s):
            while not await asyncio.to_thread(holds):  # noqa: ASYNC110  what is waited for lies in a database
                await asyncio.sleep(0.02)

    return wait
