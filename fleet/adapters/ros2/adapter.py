"""The push link to ROS 2 robots, over DDS or a rosbridge: orders in, outcomes and reports out."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from urllib.parse import urlsplit

import structlog

from fleet.adapter import (
    Acknowledged,
    Capabilities,
    CommandOutcome,
    DiscoveredRobot,
    Order,
    OrderReport,
    OrderStatus,
    SubmitOutcome,
    Unknown,
    Unsupported,
)
from fleet.adapters.ros2.admission import Admission, outcome_of
from fleet.adapters.ros2.bindings import kinds_of, robot_of, stops_of
from fleet.adapters.ros2.dds import open_dds
from fleet.adapters.ros2.exposure import canonical, discovered, exposure_of, robots_in
from fleet.adapters.ros2.held import HeldRobot
from fleet.adapters.ros2.link import RosLink, Seen
from fleet.adapters.ros2.marks import cancelled_before
from fleet.adapters.ros2.options import Options, options_of
from fleet.adapters.ros2.orders import Ground, OrderDrive
from fleet.adapters.ros2.outgoing import Outgoing
from fleet.adapters.ros2.rosbridge import RosbridgeLink, open_rosbridge
from fleet.adapters.ros2.runs import OrderState, Wish, Wished, Woken, present_goal, report_of
from fleet.adapters.ros2.turns import Turns
from fleet.errors import Conflict, Invalid, NotFound
from fleet.journal import Entry, Journal
from fleet.push import Exposure, Inheritance, PushAccount, PushAdapter, Told
from fleet.timepieces import Clock, SystemClock

JUDGE_S = 1.0

log = structlog.get_logger()


class Ros2Adapter:
    """The robots of one account."""

    def __init__(self, ground: Ground, options: Options, kind: str, trouble: Callable[[], str]) -> None:
        """`kind` is dds or rosbridge, `trouble` says why the whole link is away, if it is; see `open_push`."""
        self._ground, self._options, self._kind, self._trouble = ground, options, kind, trouble
        self._robots: dict[str, HeldRobot] = {}
        self._turns = Turns()
        self._admission = Admission(ground, options, self._look)
        self._outgoing = Outgoing()
        self._digests: dict[str, str] = {}
        self._endpoints: Sequence[Seen] | None = None
        self._graph: dict[str, list[Seen]] = {}

    # Holding

    async def hold(self, serial_numbers: frozenset[str]) -> None:
        """From now on these are its robots; their live orders are taken up from the journal."""
        for gone in set(self._robots) - serial_numbers:
            self._let_go(self._robots.pop(gone))
        fresh = {
            address: HeldRobot(self._ground, self._options, address, self._tell)
            for address in serial_numbers - set(self._robots)
        }
        self._robots |= fresh
        self._expose(self._look())
        for entry in await asyncio.to_thread(self._ground.journal.live):
            if entry.robot in fresh and entry.order is not None:
                await self._take_up(fresh[entry.robot], entry.order, OrderState.model_validate(dict(entry.state)))

    async def _take_up(self, robot: HeldRobot, order: Order, state: OrderState) -> None:
        drive = OrderDrive(self._ground, order, state, robot.ended)
        with suppress(Invalid):
            drive.stops = stops_of(self._options, robot.robot, order)
        if self._ground.renames and state.known_as:
            self._ground.renames.rename(present_goal(order, state), state.known_as)
        robot.carry(drive)
        await drive.start()
        log.info("order taken up again", order=order.key, robot=robot.address, stage=state.stage.value)
        await drive.hear(Woken())

    def _let_go(self, robot: HeldRobot) -> None:
        if robot.drive is not None:
            robot.drive.drop()
        robot.close()

    async def close(self) -> None:
        """Hold nothing any more."""
        await self.hold(frozenset())

    # What is seen

    async def watch(self) -> None:
        """Follow what the robots expose and how well they are heard, until cancelled."""
        changes = asyncio.create_task(self._ground.link.changed())
        try:
            while True:
                done, _ = await asyncio.wait({changes}, timeout=JUDGE_S)
                if done:
                    changes.result()
                    changes = asyncio.create_task(self._ground.link.changed())
                self._look()
                self._judge()
        finally:
            changes.cancel()

    def ended(self, watching: asyncio.Task[None]) -> None:
        """The watch is over: if that is because of an error, the link is told to be so, and has to be opened anew."""
        if not watching.cancelled() and (error := watching.exception()) is not None:
            self._outgoing.fail(error)

    def _look(self) -> dict[str, list[Seen]]:
        """The robots that are seen now; when that has changed, those that are held are told of it."""
        endpoints = self._ground.link.endpoints()
        if self._endpoints is None or tuple(endpoints) != self._endpoints:
            self._endpoints, self._graph = tuple(endpoints), robots_in(endpoints)
            self._expose(self._graph)
        return self._graph

    def _expose(self, graph: Mapping[str, list[Seen]]) -> None:
        for address, robot in self._robots.items():
            seen = graph.get(robot.namespace, [])
            robot.expose(seen)
            if not seen:
                continue
            told = exposure_of(address, self._kind, seen, self._options)
            if self._digests.get(address) != told.digest:
                self._digests[address] = told.digest
                self._tell(told)

    def _judge(self) -> None:
        trouble = self._trouble()
        others = {robot.namespace for robot in self._robots.values() if robot.is_heard}
        anybody = bool(others) or bool(self._look())
        for robot in self._robots.values():
            robot.judge(is_link_up=not trouble, others_heard=anybody, why=trouble)

    def _tell(self, told: Told) -> None:
        self._outgoing.put(told)

    def told(self) -> AsyncIterator[Told]:
        """What the held robots say, as it comes; order reports are in the journal's spool."""
        return self._outgoing.stream()

    def capabilities(self, serial_number: str) -> Capabilities:
        """What can be asked of this robot, by what it exposes now."""
        namespace = canonical(serial_number)
        held = self._robots.get(serial_number)
        robot = held.robot if held else robot_of(namespace, self._seen(namespace))
        return Capabilities(
            deduplicates=True, queryable=True, cancellable=True, pausable=True, tasks=kinds_of(self._options, robot)
        )

    async def discover(self) -> Sequence[DiscoveredRobot]:
        """The robots that are seen on this link now."""
        found = self._look()
        return [discovered(namespace, seen, self._options) for namespace, seen in found.items()]

    async def exposure(self, serial_number: str) -> Exposure:
        """What this robot exposes now.

        Raises:
            NotFound: no such robot is seen; names those that are.
        """
        found = self._look()
        seen = found.get(canonical(serial_number))
        if not seen:
            names = ", ".join(found) or "none"
            raise NotFound(f"No robot {serial_number} is seen on this link; seen are: {names}.", robot=serial_number)
        return exposure_of(serial_number, self._kind, seen, self._options)

    def _seen(self, namespace: str) -> list[Seen]:
        return self._look().get(namespace, [])

    # Orders

    async def submit(self, order: Order) -> SubmitOutcome:
        """Send the order's first goal; a key that is known is not sent again."""
        robot = self._robots.get(order.serial_number)
        if robot is None:
            return Unknown(why=f"{order.serial_number} is not held by this gateway", is_unsent=True)
        known, settled = await self._turns.take(order.serial_number, self._admission.take_in(robot, order))
        if settled is not None:
            return settled
        if robot.drive is not None and robot.drive.order.key == order.key:
            return await robot.drive.outcome()
        known = known or await asyncio.to_thread(self._ground.journal.entry, order.key)
        return outcome_of(known)

    async def inherit(self, order: Order, said: Inheritance) -> Unknown | None:
        """Go on with an order that another gateway may have begun, where it is certain how far it is."""
        robot = self._robots.get(order.serial_number)
        if robot is None:
            return Unknown(why=f"{order.serial_number} is not held by this gateway")
        return await self._turns.take(order.serial_number, self._admission.inherit(robot, order, said))

    async def query(self, serial_number: str, key: str) -> OrderReport | Unknown:
        """How the order stands; `not_found` when neither the journal nor the robot knows it."""
        known = await self._turns.take(serial_number, asyncio.to_thread(self._ground.journal.entry, key))
        robot = self._robots.get(serial_number)
        if known is not None and known.robot == serial_number:
            return self._stands(robot, known)
        if known is not None:
            return self._nothing(serial_number, key)
        if robot is None:
            return Unknown(why=f"{serial_number} is not held by this gateway")
        self._look()
        await robot.settled(key)
        return self._elsewhere(robot, key)

    def _stands(self, robot: HeldRobot | None, known: Entry) -> OrderReport | Unknown:
        state = OrderState.model_validate(dict(known.state))
        order = known.order or Order(key=known.key, fence=0, serial_number=known.robot, mission_id="", tasks=())
        if state.is_over:
            return report_of(order, state, self._ground.clock.now())
        if robot is None or robot.drive is None or robot.drive.order.key != known.key:
            return Unknown(why=f"{known.robot} is not held by this gateway now")
        drive = robot.drive
        if doubt := drive.doubt():
            return Unknown(why=doubt)
        return drive.report() if robot.is_heard else Unknown(why=f"{known.robot} is not heard")

    def _elsewhere(self, robot: HeldRobot, key: str) -> OrderReport | Unknown:
        """Of a key that this gateway never had: what the robot itself lists of it."""
        if not robot.goals_of(key):
            if not robot.is_listed():
                return Unknown(why=f"{robot.address} is not seen on this link; whether it has {key} is not known")
            inherited = robot.inherited()
            return Unknown(why=inherited) if inherited else self._nothing(robot.address, key)
        now = self._ground.clock.now()
        return OrderReport(
            key=key,
            serial_number=robot.address,
            status=OrderStatus.running,
            observed_at=now,
            sequence=int(now.timestamp() * 1000),
            reason="another gateway sent it; this one sees a goal of it, and goes on with the rest when it is given the order",
        )

    def _nothing(self, serial_number: str, key: str) -> OrderReport:
        now = self._ground.clock.now()
        return OrderReport(key=key, serial_number=serial_number, status=OrderStatus.not_found, observed_at=now)

    async def cancel(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """End the order; one that has not come is remembered, and another gateway's goal for it is canceled."""
        return await self._turns.take(serial_number, self._command(serial_number, key, fence, Wish.cancel))

    async def pause(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """Stop the present task; it is begun again by `resume`."""
        return await self._command(serial_number, key, fence, Wish.pause)

    async def resume(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """Go on with a paused order."""
        return await self._command(serial_number, key, fence, Wish.run)

    async def _command(self, serial_number: str, key: str, fence: int, wish: Wish) -> CommandOutcome:
        robot = self._robots.get(serial_number)
        if robot is None:
            return Unknown(why=f"{serial_number} is not held by this gateway")
        journal = self._ground.journal
        try:
            await asyncio.to_thread(journal.check_fence, serial_number, fence)
            known = await asyncio.to_thread(journal.entry, key)
            if known is None and wish is Wish.cancel:
                state = cancelled_before(self._ground.clock.now()).model_dump(mode="json")
                known = await asyncio.to_thread(journal.decline, key, serial_number, fence, state)
                if known is None:
                    return await self._cancel_elsewhere(robot, key)
        except Conflict as error:
            return Unsupported(reason=error.message)
        if known is None or known.robot != serial_number:
            return Unsupported(reason=f"{serial_number} has no order {key}")
        if known.is_over:
            return Acknowledged()
        drive = robot.drive
        if drive is None or drive.order.key != key:
            return Unknown(why=f"{key} is not held by this gateway now")
        await drive.hear(Wished(wish))
        return Acknowledged()

    async def _cancel_elsewhere(self, robot: HeldRobot, key: str) -> CommandOutcome:
        await robot.cancel_goals(key)
        return Acknowledged()


@asynccontextmanager
async def open_push(
    account: PushAccount, journal: Journal, *, clock: Clock | None = None
) -> AsyncIterator[PushAdapter]:
    """Open the link of an account: `dds://?domain=N&peers=...`, or a rosbridge at `ws://` or `wss://`.

    Raises:
        Invalid: the address or the options are wrong.
    """
    options = options_of(account.options)
    async with AsyncExitStack() as stack:
        link: RosLink
        if urlsplit(account.url).scheme in {"ws", "wss"}:
            bridge = await stack.enter_async_context(open_rosbridge(account, options))
            link = bridge
        else:
            bridge = None
            link = await stack.enter_async_context(
                open_dds(account.url, distro=options.distro, definitions=options.definitions)
            )
        async with serving(link, bridge, journal, options, clock or SystemClock()) as adapter:
            yield adapter


@asynccontextmanager
async def serving(
    link: RosLink, bridge: RosbridgeLink | None, journal: Journal, options: Options, clock: Clock
) -> AsyncIterator[Ros2Adapter]:
    """The adapter on an open link; `bridge` is the link itself where goals are named by the robot."""
    ground = Ground(link, journal, clock, bridge, 3 * options.answer_s, options.remembers_s)
    kind, trouble = ("rosbridge", bridge.trouble) if bridge else ("dds", lambda: "")
    adapter = Ros2Adapter(ground, options, kind, trouble)
    watching = asyncio.create_task(adapter.watch())
    watching.add_done_callback(adapter.ended)
    try:
        yield adapter
    finally:
        await adapter.close()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await ground.works.close()
