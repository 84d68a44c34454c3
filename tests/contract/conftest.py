"""The stands on which adapters are tried: a real other side, an adapter opened on it, and samples of its words.

A new adapter joins by one more stand; every test of this folder then holds for it too.
"""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deployments.links import own_domain
from fleet.adapter import Adapter, AdapterAccount, Order, OrderReport, OrderStatus, OrderTask, TaskKind, Unknown
from fleet.adapters import opener, push_opener
from fleet.adapters.simulated.site import Site, SiteOptions, running
from fleet.journal import JournalFile
from fleet.push import Inheritance, PushAccount, PushAdapter, events_from

DATA = Path(__file__).parents[1] / "data" / "simulated"
PATIENCE_S = 20.0


@dataclass
class Wire:
    """The cable between adapter and other side; `is_cut` lets requests through and loses their answers."""

    upstream_port: int
    is_cut: bool = False
    port: int = 0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream_port)
        forth = asyncio.create_task(self._pump(reader, up_writer))
        back = asyncio.create_task(self._pump(up_reader, writer, is_answer=True))
        await asyncio.wait([forth, back], return_when=asyncio.FIRST_COMPLETED)
        forth.cancel()
        back.cancel()
        up_writer.close()
        writer.close()

    async def _pump(self, reader, writer, *, is_answer=False):
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65_536):
                if is_answer and self.is_cut:
                    return
                writer.write(chunk)
                await writer.drain()


@dataclass
class Stand:
    """One kind of robot link on the bench."""

    name: str
    adapter: Adapter
    wire: Wire
    serial_numbers: list[str]
    good_samples: list[bytes]
    bad_samples: list[bytes]
    restart: Callable[[], Awaitable[None]]
    orders: int = field(default=0)

    def order(self, serial_number: str | None = None, *, long: bool = False, fence: int = 1, key: str = "") -> Order:
        """An order that is over soon, or that lasts until it is ended."""
        self.orders += 1
        wait = OrderTask(position=0, kind=TaskKind.wait, parameters={"duration_s": 3600.0 if long else 1.0})
        return Order(
            key=key or f"mission-{self.orders}/1",
            fence=fence,
            serial_number=serial_number or self.serial_numbers[0],
            mission_id=f"mission-{self.orders}",
            tasks=(wait.model_copy(update={"timeout_s": 7200.0}),),
        )

    async def until(self, order: Order, *wanted: OrderStatus) -> OrderReport:
        """The report once the robot says one of `wanted`."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                said = await self.adapter.query(order.serial_number, order.key)
                if isinstance(said, OrderReport) and said.status in wanted:
                    return said
                await asyncio.sleep(0.01)


class SimulatedOtherSide:
    """The simulated site on a folder; it can be closed and opened again on the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = contextlib.AsyncExitStack()
        self.site: Site | None = None

    async def open(self, port: int = 0) -> int:
        options = SiteOptions(port=port, credential="secret", speed=40, history_lives=0, bags_dir=self._folder)
        self.site = await self._stack.enter_async_context(running(options))
        return int(self.site.url.rpartition(":")[2])

    async def close(self) -> None:
        await self._stack.aclose()


@contextlib.asynccontextmanager
async def simulated_stand(folder: Path) -> AsyncIterator[Stand]:
    other = SimulatedOtherSide(folder)
    wire = Wire(await other.open())

    async def restart() -> None:
        await other.close()
        await other.open(wire.upstream_port)

    server = await asyncio.start_server(wire.carry, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    account = AdapterAccount(name="bench", base_url=f"http://127.0.0.1:{wire.port}", credential="secret")
    async with opener("simulated")(account) as adapter:
        yield Stand(
            name="simulated",
            adapter=adapter,
            wire=wire,
            serial_numbers=["SIM-0001", "SIM-0002"],
            good_samples=[path.read_bytes() for path in sorted(DATA.glob("good-*.json"))],
            bad_samples=[path.read_bytes() for path in sorted(DATA.glob("bad-*.json"))],
            restart=restart,
        )
    server.close()
    await other.close()


STANDS = {"simulated": simulated_stand}


@pytest.fixture(params=sorted(STANDS))
async def stand(request, tmp_path):
    """Each kind of link in turn."""
    async with STANDS[request.param](tmp_path / "other-side") as found:
        yield found


# Push links: the other side is a process of its own, the gateway's death is that of the adapter.

HERE = Path(__file__).parent
SOON_X_M, LONG_X_M, REFUSED_X_M = 1.0, 50.0, 999.0


class Peer:
    """Two robots in a process that obeys lines of JSON and answers each with what the robots began since `reset`."""

    def __init__(self, *command: str) -> None:
        self.command = command
        self._before: dict[str, list[str]] = {}
        self._process: subprocess.Popen[str] | None = None

    async def start(self) -> None:
        """Begin, or come to again with nothing left of what was before."""
        self._before = {}
        if self._process is not None and self._process.poll() is None:
            await self.tell("reset")
            return
        # The environment as it is: the peer finds the product on the same path as the tests.
        self._process = subprocess.Popen(  # noqa: ASYNC220  starts within milliseconds
            [sys.executable, *self.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=HERE.parents[1],
            env={**os.environ, "PYTHONPATH": "."},
            text=True,
        )
        async with asyncio.timeout(PATIENCE_S):
            while await asyncio.to_thread(self._process.stdout.readline) not in ("ready\n", ""):
                pass

    async def tell(self, do: str, **fields: object) -> dict[str, list[str]]:
        self._process.stdin.write(json.dumps({"do": do, **fields}) + "\n")
        self._process.stdin.flush()
        return json.loads(await asyncio.to_thread(self._process.stdout.readline))["executed"]

    async def executed(self, serial_number: str) -> list[str]:
        """The ids that this robot began, in order, with repeats, also before a restart."""
        now = await self.tell("executed")
        return self._before.get(serial_number, []) + now[serial_number]

    async def restart(self) -> None:
        """Die at once, and come back with no memory."""
        before = dict(self._before)
        for serial_number, began in (await self.tell("executed")).items():
            before[serial_number] = before.get(serial_number, []) + began
        self.stop()
        await self.start()
        self._before = before

    def stop(self) -> None:
        """Die at once."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


class PushStand:
    """A push link on the bench, with the journal of the gateway that would hold it."""

    def __init__(self, name: str, account: PushAccount, opener, peer: Peer, folder: Path) -> None:
        self.name, self.account, self.peer = name, account, peer
        self.serial_numbers = ["/robot_01", "/robot_02"]
        self.adapter: PushAdapter | None = None
        self.told = []
        self.epoch = 0  # of the lease under which the gateway holds both
        self._name = f"mission-{uuid.uuid4().hex[:8]}"  # the robots remember what they did in other tests
        self._opener, self._folder = opener, folder
        self._orders = 0
        self._stack = contextlib.AsyncExitStack()

    async def open(self, journal: str = "journal") -> None:
        """A gateway starts and holds both robots."""
        file = JournalFile(self._folder / f"{journal}.db")
        self._stack.callback(file.close)
        self.file = file
        file.of("bench").hold(dict.fromkeys(self.serial_numbers, self.epoch))
        self.adapter = await self._stack.enter_async_context(self._opener(self.account, file.of("bench")))
        listening = asyncio.create_task(self._listen(self.adapter))
        self._stack.push_async_callback(asyncio.gather, listening, return_exceptions=True)
        self._stack.callback(listening.cancel)
        await self.adapter.hold(frozenset(self.serial_numbers))
        await self.eventually(self._are_seen)

    async def _listen(self, adapter) -> None:
        async for told in adapter.told():
            self.told.append(told)

    async def _are_seen(self) -> bool:
        return set(self.serial_numbers) <= {robot.serial_number for robot in await self.adapter.discover()}

    async def close(self) -> None:
        """The gateway dies: what it had out stays out."""
        await self._stack.aclose()

    @property
    def tells_goals_apart(self) -> bool:
        """Whether a gateway can tell on this link which goals another one sent."""
        return self.name != "ros2-rosbridge"

    async def inherit(self, order: Order, **known: object) -> Unknown | None:
        """The platform says that another gateway may have begun the order."""
        said = Inheritance.model_validate({"since_s": 1.0, **known})
        return await self.adapter.inherit(order, said)

    async def reopen(self, journal: str = "journal") -> None:
        """It comes back, or another one on another journal."""
        await self.close()
        await self.open(journal)

    async def eventually(self, holds, *, within_s: float = PATIENCE_S) -> None:
        async with asyncio.timeout(within_s):
            while not await holds():  # noqa: ASYNC110  what it waits for is in another process
                await asyncio.sleep(0.02)

    def order(
        self, serial_number: str | None = None, *, x_m: float = SOON_X_M, fence: int = 1, stops: int = 1
    ) -> Order:
        """An order of `stops` stops, all at `x_m`."""
        self._orders += 1
        stop = OrderTask(position=0, kind=TaskKind.go_to, station="press", x_m=x_m, y_m=2.0, timeout_s=60.0)
        return Order(
            key=f"{self._name}-{self._orders}/1",
            fence=fence,
            serial_number=serial_number or self.serial_numbers[0],
            mission_id=f"{self._name}-{self._orders}",
            tasks=tuple(stop.model_copy(update={"position": number}) for number in range(stops)),
        )

    def long_order(self, serial_number: str | None = None, **fields) -> Order:
        """One that lasts until it is ended."""
        return self.order(serial_number, x_m=LONG_X_M, **fields)

    async def until(self, order: Order, *wanted: OrderStatus, within_s: float = PATIENCE_S) -> OrderReport:
        """The report once the link says one of `wanted`."""
        said = None
        try:
            async with asyncio.timeout(within_s):
                while not (isinstance(said, OrderReport) and said.status in wanted):
                    await asyncio.sleep(0.02)
                    said = await self.adapter.query(order.serial_number, order.key)
        except TimeoutError:
            raise AssertionError(f"{order.key} never became {wanted}; last it said {said!r}") from None
        return said

    def reports(self, key: str) -> list[OrderReport]:
        """What the gateway would tell the platform of this order, in its order."""
        said = [report for spooled in self.file.waiting(limit=10_000) for report in events_from(spooled.body)]
        return [report for report in said if isinstance(report, OrderReport) and report.key == key]


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture(scope="session")
def ros2_dds_peer():
    """Robots on a DDS domain of their own; starting them for every test would take longer than the tests."""
    with own_domain() as domain:
        peer = Peer(str(HERE / "ros2_robots.py"), f"dds://?domain={domain}&peers=127.0.0.1&interface=127.0.0.1")
        yield peer
        peer.stop()


@pytest.fixture(scope="session")
def ros2_rosbridge_peer():
    """Robots behind a rosbridge."""
    peer = Peer(str(HERE / "rosbridge_robots.py"), f"ws://127.0.0.1:{_free_port()}")
    yield peer
    peer.stop()


@contextlib.asynccontextmanager
async def ros2_stand(name: str, peer: Peer, folder: Path) -> AsyncIterator[PushStand]:
    options = {"telemetry": {"silent_after_s": 1.5}, "answer_s": 1.0}
    account = PushAccount(name="bench", url=peer.command[1], options=options)
    async with _at_work(PushStand(name, account, push_opener("ros2"), peer, folder)) as stand:
        yield stand


@contextlib.asynccontextmanager
async def _at_work(stand: PushStand) -> AsyncIterator[PushStand]:
    await stand.peer.start()
    try:
        await stand.open()
        yield stand
    finally:
        await stand.close()


class Vda5050Stand(PushStand):
    """Its robots are seen by what the broker kept of them before they speak: an order waits until they have."""

    async def _are_seen(self) -> bool:
        if not await super()._are_seen():
            return False
        refusals = [reason for name in self.serial_numbers for reason in (await self.adapter.exposure(name)).refusals]
        return not any("no fresh state" in reason for reason in refusals)


@pytest.fixture(scope="session")
def vda5050_peers(standing_broker):
    """Vehicles of each version at one broker, by version, begun when they are first asked for."""
    url = standing_broker.url
    peers = {version: Peer(str(HERE / "vda5050_robots.py"), url, version) for version, _ in VDA5050.values()}
    yield peers
    for peer in peers.values():
        peer.stop()


@contextlib.asynccontextmanager
async def vda5050_stand(peer: Peer, folder: Path, horizon: int | None = None) -> AsyncIterator[PushStand]:
    url, version = peer.command[1:]
    options = {"confirm_s": 1.0, "resend_s": 0.2, "resend_for_s": 2.0, "quiet_after_s": 0.5, "silent_after_s": 1.5}
    account = PushAccount(name="bench", url=url, options=options | {"horizon": horizon})
    found = Vda5050Stand(f"vda5050-{version}", account, push_opener("vda5050"), peer, folder)
    found.serial_numbers = [f"bench/{version}-robot_01", f"bench/{version}-robot_02"]
    async with _at_work(found) as stand:
        yield stand


VDA5050 = {f"vda5050-{version}": (version, None) for version in ("2.0.0", "2.1.0", "3.0.0")}
VDA5050 |= {f"vda5050-{version}-horizon": (version, 1) for version in ("2.1.0", "3.0.0")}  # released stop by stop
PUSH_STANDS = [
    "ros2-dds",
    "ros2-rosbridge",
    pytest.param("vda5050-2.0.0", marks=pytest.mark.proof),
    pytest.param("vda5050-2.1.0", marks=pytest.mark.proof),
    "vda5050-3.0.0",
    pytest.param("vda5050-2.1.0-horizon", marks=pytest.mark.proof),
    pytest.param("vda5050-3.0.0-horizon", marks=pytest.mark.proof),
]


@pytest.fixture(params=PUSH_STANDS)
async def push_stand(request, tmp_path):
    """Each kind of push link in turn."""
    name = request.param
    if name in VDA5050:
        version, horizon = VDA5050[name]
        stand = vda5050_stand(request.getfixturevalue("vda5050_peers")[version], tmp_path, horizon)
    else:
        stand = ros2_stand(name, request.getfixturevalue(f"{name.replace('-', '_')}_peer"), tmp_path)
    async with stand as found:
        yield found
