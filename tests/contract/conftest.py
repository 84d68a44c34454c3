"""The stands on which adapters are tried: a real other side, an adapter opened on it, and samples of its words.

A new adapter joins by one more stand; every test of this folder then holds for it too.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fleet.adapter import Adapter, AdapterAccount, Order, OrderReport, OrderStatus, OrderTask, TaskKind
from fleet.adapters import opener
from fleet.adapters.simulated.site import Site, SiteOptions, running

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
