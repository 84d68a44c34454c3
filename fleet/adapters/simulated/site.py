"""The simulated site as a process: the robots' world, its cloud on loopback, its webhooks, recordings and uploads."""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import structlog
import uvicorn
from pydantic import BaseModel, ConfigDict, Field

from fleet.adapters.ros2.dds_domain import address_of
from fleet.adapters.simulated import history
from fleet.adapters.simulated.cloud import Cloud
from fleet.adapters.simulated.journal import Journal, OutgoingBag
from fleet.adapters.simulated.policy_fetcher import PolicyFetcher
from fleet.adapters.simulated.recorder import Recording, write_bag
from fleet.adapters.simulated.ros2_robots import serve_ros2
from fleet.adapters.simulated.site_map import PLACES, vehicles
from fleet.adapters.simulated.uploader import Uploader
from fleet.adapters.simulated.vda5050_fleet import run_vehicles
from fleet.adapters.simulated.webhooks import Hook, WebhookSender
from fleet.adapters.simulated.world import Plan, World
from fleet.clock import Clock, SystemClock
from fleet.errors import Conflict, Invalid
from fleet.transport import open_transport

log = structlog.get_logger(__name__)

STEPS_EVERY_S = 0.05
GRACE_S = 2
HOST = "127.0.0.1"


class SiteOptions(BaseModel):
    """How the site is set up; the same seed and the same orders give the same robots, readings and bags."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    port: int = Field(0, ge=0, le=65_535, description="Port of the cloud on 127.0.0.1; 0: any free one.")
    seed: int = Field(7, description="Everything by chance follows from it.")
    robots: int = Field(4, ge=1, le=500)
    speed: float = Field(20.0, gt=0, le=1000, description="Simulated seconds per second.")
    failure_rate: float = Field(0.0, ge=0, le=1, description="Share of orders that fail by chance.")
    blocked_once: list[str] = Field([], description="Stations whose first visiting order fails.")
    duplicate_rate: float = Field(0.2, ge=0, le=1, description="Share of webhook deliveries sent twice on purpose.")
    history_lives: int = Field(2, ge=0, le=20, description="Failed drive motors in each robot's past.")
    credential: str = Field(min_length=1, repr=False, description="Bearer token that the cloud wants.")
    webhook_url: str = Field("", description="Where it tells what happens; empty: nowhere.")
    webhook_secret: str = Field("", repr=False, description="whsec_ and base64.")
    api_url: str = Field("", description="Where bags are uploaded; empty: they stay in bags_dir.")
    device_token: str = Field("", repr=False, description="Bearer token for the uploads.")
    ros2_url: str = Field("", description="Where the robots speak ROS 2, as dds://?domain=42; empty: nowhere.")
    mqtt_url: str = Field("", description="Broker over which the last robot speaks VDA 5050 instead; empty: none does.")
    remembers_orders: bool = Field(
        False,
        description="Whether robots know their goals and orders again after the site was closed; real ones do not.",
    )
    bags_dir: Path = Field(Path("var/site"), description="Folder of the journal and of bags not yet uploaded.")


@dataclass(frozen=True)
class Site:
    """An open site."""

    url: str
    world: World
    journal: Journal


def serve(options: SiteOptions) -> None:
    """Run the site until SIGTERM or SIGINT, then return.

    Raises:
        Conflict: the port is in use.
        Invalid: a blocked station is not on the map, or webhooks lack their secret.
    """
    asyncio.run(_serve(options))
    gc.freeze()  # spares the interpreter's last collection a walk over every library: 0.3 CPU-s before the process is gone


async def _serve(options: SiteOptions) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with running(options) as site:
        log.info("simulated site is open", url=site.url, robots=options.robots, speed=options.speed)
        await stopped.wait()
    log.info("simulated site is closed")


@asynccontextmanager
async def running(options: SiteOptions, *, clock: Clock | None = None) -> AsyncIterator[Site]:
    """The site within this event loop, closed with the block; opened again on the same folder it goes on.

    Raises:
        Conflict: the port is in use.
        Invalid: a blocked station is not on the map, or webhooks lack their secret.
    """
    clock = clock or SystemClock()
    check(options)
    with _listening(options.port) as listener, contextlib.closing(Journal(options.bags_dir / "journal.db")) as journal:
        world = await asyncio.to_thread(World, _plan(options), journal, clock.now())
        cloud = Cloud(world, journal, options.credential).app()
        config = uvicorn.Config(cloud, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE_S)
        server = _Server(config)
        site = Site(f"http://{HOST}:{listener.getsockname()[1]}", world, journal)
        try:
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(server.serve(sockets=[listener]))
                tasks = [group.create_task(job) for job in _jobs(options, world, clock)]
                yield site
                server.should_exit = True
                await serving
                for task in tasks:
                    task.cancel()
        finally:
            await asyncio.to_thread(world.save)


def check(options: SiteOptions) -> None:
    """Refuse options that contradict the map or each other.

    Raises:
        Invalid: says which, and what would be right.
    """
    unknown = sorted(set(options.blocked_once) - set(PLACES))
    if unknown:
        raise Invalid(f"No station {', '.join(unknown)} on the map; known: {', '.join(PLACES)}.", blocked_once=unknown)
    if options.webhook_url and not options.webhook_secret.startswith("whsec_"):
        raise Invalid("webhook_url is given, but webhook_secret does not begin with whsec_; take the account's.")
    if options.ros2_url:
        address_of(options.ros2_url)


def _plan(options: SiteOptions) -> Plan:
    return Plan(
        seed=options.seed,
        robots=options.robots,
        speed=options.speed,
        failure_rate=options.failure_rate,
        blocked_once=tuple(options.blocked_once),
        history_lives=options.history_lives,
        remembers_local_orders=options.remembers_orders,
    )


def _jobs(options: SiteOptions, world: World, clock: Clock) -> Iterator[Coroutine[None, None, None]]:
    yield _live(options, world, clock)
    yield _record_history(options, world)
    if options.webhook_url:
        yield _tell(options, world, clock)
    if options.api_url:
        yield _upload(options, world)
        yield _follow_policies(options, world)
    yield from _spoken_to_directly(options, world, clock)


def _spoken_to_directly(options: SiteOptions, world: World, clock: Clock) -> Iterator[Coroutine[None, None, None]]:
    fleet = [robot.identity for robot in world.robots.values()]
    over_mqtt = [robot.serial_number for robot in vehicles(fleet, options.mqtt_url)]
    if options.ros2_url:
        others = [robot.serial_number for robot in fleet if robot.serial_number not in over_mqtt]
        yield serve_ros2(world, options.ros2_url, others, clock)
    if over_mqtt:
        yield run_vehicles(world, options.mqtt_url, over_mqtt, clock)


async def _live(options: SiteOptions, world: World, clock: Clock) -> None:
    """Step the world with the clock; the wall clock is read once, so that a step back of it is not seen."""
    begun_at, begun = world.at, clock.monotonic()
    while True:
        await _to_its_end(partial(world.advance, begun_at + timedelta(seconds=clock.monotonic() - begun)))
        await _to_its_end(partial(_write_finished, options.bags_dir, world))
        await asyncio.sleep(STEPS_EVERY_S)


async def _record_history(options: SiteOptions, world: World) -> None:
    for past in world.past():
        if not world.journal.knows_bag(history.name_of(past)):
            await _to_its_end(partial(_write_past, options, world.journal, past))


def _write_past(options: SiteOptions, journal: Journal, past: history.PastLife) -> None:
    _write(options.bags_dir, journal, history.recording(options.seed, past))


def _write_finished(folder: Path, world: World) -> None:
    for recording in world.recordings():
        _write(folder, world.journal, recording)


def _write(folder: Path, journal: Journal, recording: Recording) -> None:
    write_bag(folder, recording)
    bag = OutgoingBag(recording.name, recording.robot, recording.mission_id, recording.trigger)
    journal.add_bag(bag, capture=recording.capture)


async def _to_its_end(work: Callable[[], None]) -> None:
    """Work in a thread. A cancel waits for its end: a thread cannot be stopped, and the next owner of its files may come."""
    thread = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(thread)
    except asyncio.CancelledError:
        await asyncio.wait([thread])
        raise


async def _tell(options: SiteOptions, world: World, clock: Clock) -> None:
    hook = Hook(options.webhook_url, options.webhook_secret, options.duplicate_rate)
    async with open_transport(options.webhook_url, timeout_s=10.0, connections=2) as transport:
        await WebhookSender(hook, transport, world, clock).run()


async def _follow_policies(options: SiteOptions, world: World) -> None:
    headers = {"Authorization": f"Bearer {options.device_token}"}
    async with open_transport(options.api_url, timeout_s=10.0, connections=1, headers=headers) as transport:
        await PolicyFetcher(transport, world).run()


async def _upload(options: SiteOptions, world: World) -> None:
    headers = {"Authorization": f"Bearer {options.device_token}"}
    async with open_transport(options.api_url, timeout_s=60.0, connections=2, headers=headers) as transport:
        await Uploader(transport, world.journal, options.bags_dir).run()


class _Server(uvicorn.Server):
    """Leaves the signals to `serve`: uvicorn would raise them again after its end, and the exit code would not be 0."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


@contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise Conflict(
                f"Port {port} of {HOST} is not free ({error.strerror}); choose another.", port=port
            ) from error
        listener.listen()
        yield listener
