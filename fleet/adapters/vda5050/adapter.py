"""The VDA 5050 link of a gateway: orders and commands out, believed when a state of the robot shows them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from pydantic import ValidationError

from fleet.adapter import (
    Acknowledged,
    Capabilities,
    CommandOutcome,
    DiscoveredRobot,
    Order,
    OrderReport,
    OrderStatus,
    Refused,
    SubmitOutcome,
    Unknown,
    Unsupported,
)
from fleet.adapters.vda5050 import answers, following, runs, updates
from fleet.adapters.vda5050.answers import declined, kept_report, report_of, settled
from fleet.adapters.vda5050.inheriting import doubt_of
from fleet.adapters.vda5050.link import Link, log
from fleet.adapters.vda5050.listening import complain_of_topic, take
from fleet.adapters.vda5050.options import options_from
from fleet.adapters.vda5050.pursuit import EXPOSURE_EVERY_S, exposures, has_settled, losses, pursue
from fleet.adapters.vda5050.robot import Robot
from fleet.adapters.vda5050.routes import Unfit, written
from fleet.adapters.vda5050.runs import Run
from fleet.adapters.vda5050.waiting import confirmation, first_state, is_heard
from fleet.adapters.vda5050.wire import CONNECTION, FACTSHEET, STATE, VISUALIZATION
from fleet.errors import Conflict, NotFound
from fleet.journal import Entry, Journal
from fleet.mqtt import open_mqtt
from fleet.push import Exposure, Inheritance, PushAccount, PushAdapter, Told
from fleet.timepieces import Clock, SystemClock

PURSUE_EVERY_S = 0.1
WILD = frozenset("+#$")


class Vda5050:
    """The robots of one account; see `fleet.push.PushAdapter` for what each method promises."""

    def __init__(self, link: Link) -> None:
        """See `open_push`."""
        self._link = link

    async def hold(self, serial_numbers: frozenset[str]) -> None:
        """From now on these robots; live orders of the journal are taken up again."""
        link = self._link
        for address in set(link.robots) - serial_numbers:
            link.seen[address] = link.robots.pop(address)
            link.mqtt.unsubscribe(_topics(link, address))
        added = [address for address in sorted(serial_numbers - set(link.robots)) if _is_address(address)]
        for address in added:
            link.robots[address] = Robot(address, link.options, link.now_s())
            former = link.seen.pop(address, None)
            if former is not None:
                link.robots[address].factsheet = former.factsheet
                link.robots[address].told_version = former.told_version
        for entry in await asyncio.to_thread(link.journal.live):
            if entry.robot in added:
                _take_up(link.robots[entry.robot], entry)
                link.robots[entry.robot].resend_until_s = link.now_s() + link.options.resend_for_s
        link.mqtt.subscribe({topic: 0 for address in added for topic in _topics(link, address)})

    def capabilities(self, serial_number: str) -> Capabilities:
        """What can be asked of this robot, by its factsheet and the options."""
        return self._link.any_robot(serial_number).capabilities()

    async def submit(self, order: Order) -> SubmitOutcome:
        """Send the order and wait until the robot's state shows it, or says why not."""
        robot = self._link.robots.get(order.serial_number)
        if not _is_address(order.serial_number):
            return Refused(reason=f"{order.serial_number!r} is no address here; it must be manufacturer/serialNumber")
        if robot is None:
            return Unknown(why=f"{order.serial_number} is not held by this gateway; nothing was sent", is_unsent=True)
        # To its end, also when the caller gives up: an order that is being written down is begun, and who asks about it
        # waits for that. Else it would be said never to have come, and come later.
        return await asyncio.shield(self._submit(robot, order))

    async def _submit(self, robot: Robot, order: Order) -> SubmitOutcome:
        async with robot.commands:
            known = await asyncio.to_thread(self._link.journal.entry, order.key)
            outcome = await self._begin(robot, order) if known is None else await self._again(robot, known)
            return outcome or await confirmation(self._link, robot, order.key)

    async def inherit(self, order: Order, said: Inheritance) -> Unknown | None:
        """Follow an order that another gateway may have sent, where the robot's state shows it."""
        robot = self._link.robots.get(order.serial_number)
        if robot is None:
            return Unknown(why=f"{order.serial_number} is not held by this gateway")
        return await asyncio.shield(self._inherit(robot, order, said))

    async def _inherit(self, robot: Robot, order: Order, said: Inheritance) -> Unknown | None:
        async with robot.commands:
            if await asyncio.to_thread(self._link.journal.entry, order.key) is not None:
                return None
            if not await is_heard(self._link, robot):
                return Unknown(why=f"{order.serial_number} has not been heard: whether it has the order is not known")
            if robot.state is None or not runs.shape_of(robot.state.order_id, order.key):
                return doubt_of(robot.state, said)
            outcome = await self._begin(robot, order, said)
            if isinstance(outcome, Refused):
                return Unknown(why=outcome.reason)
            return outcome if isinstance(outcome, Unknown) else None

    async def query(self, serial_number: str, key: str) -> OrderReport | Unknown:
        """What the robot's states say of the order."""
        link, robot = self._link, self._link.robots.get(serial_number)
        if robot is None:
            return Unknown(why=f"{serial_number} is not held by this gateway")
        await first_state(link, robot)
        async with robot.commands:
            known = await asyncio.to_thread(link.journal.entry, key)
            if known is not None and robot.key != key:
                return kept_report(known, serial_number, link.now())
            if not robot.is_fresh(link.now_s()) and not (robot.run and robot.key == key and robot.run.is_over):
                return Unknown(why=f"{serial_number} has not been heard lately: what it does is not known")
            if known is None or robot.run is None:
                return self._unheard_of(robot, key)
            return await self._standing(robot, robot.run)

    async def cancel(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """Ask the robot to end the order; pursued until a state agrees."""
        robot = self._link.robots.get(serial_number)
        if robot is None:
            return Unknown(why=f"{serial_number} is not held by this gateway")
        return await asyncio.shield(self._cancel(robot, key, fence))

    async def _cancel(self, robot: Robot, key: str, fence: int) -> CommandOutcome:
        link, serial_number = self._link, robot.address
        async with robot.commands:
            try:
                await asyncio.to_thread(link.journal.check_fence, serial_number, fence)
                at = link.now()
                state = declined(key, serial_number, at)
                known = await asyncio.to_thread(link.journal.decline, key, serial_number, fence, state)
            except Conflict as error:
                return Unsupported(reason=error.message)
            run = robot.run
            if known is None:
                self._cancel_unknown(robot, key)
            elif robot.key == key and run is not None and not run.is_over and not run.is_cancel_asked:
                link.change(robot, run.model_copy(update={"is_cancel_asked": True}))
                await link.keep(robot)
                if run.is_confirmed:
                    link.send_cancel(robot, run)
            return Acknowledged()

    async def pause(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """Ask the robot to hold where it is."""
        return await self._turn(serial_number, key, fence, is_pause=True)

    async def resume(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """Ask a paused robot to go on."""
        return await self._turn(serial_number, key, fence, is_pause=False)

    async def discover(self) -> Sequence[DiscoveredRobot]:
        """Everyone who was heard of on this broker since the link was opened."""
        link = self._link
        found = {**link.seen, **{name: one for name, one in link.robots.items() if one.newest}}
        return [
            DiscoveredRobot(
                serial_number=address,
                name=address.partition("/")[2],
                model=(robot.factsheet.series if robot.factsheet else "") or "VDA 5050",
                capabilities=tuple(sorted(robot.factsheet.actions)) if robot.factsheet else (),
            )
            for address, robot in sorted(found.items())
        ]

    async def exposure(self, serial_number: str) -> Exposure:
        """What this robot exposes now."""
        link = self._link
        robot = link.robots.get(serial_number) or link.seen.get(serial_number)
        if robot is None:
            known = ", ".join(sorted({*link.robots, *link.seen})[:20]) or "nobody"
            raise NotFound(f"No robot {serial_number!r} is seen on this broker; seen: {known}.", robot=serial_number)
        return robot.exposure(link.now_s())

    def told(self) -> AsyncIterator[Told]:
        """Observations, happenings, exposures and how robots are heard; order reports are in the journal's spool."""
        return self._link.told()

    async def listen(self) -> None:
        """Take in what comes, for ever."""
        link = self._link
        while True:
            batch = await link.mqtt.heard()
            if batch.has_turned:
                log.info("vda 5050 broker", connected=batch.is_connected, reason=link.mqtt.why)
            for sentence in batch.complaints:
                log.warning("vda 5050 broker complained of", complaint=sentence)
                complain_of_topic(link, sentence)
            changed = {id(robot): robot for message in batch.messages if (robot := take(link, message)) is not None}
            await asyncio.gather(*(link.keep(robot) for robot in changed.values()))

    async def pursue(self) -> None:
        """Pursue what is not yet as it should be, for ever."""
        link, digests, next_s = self._link, dict[str, str](), 0.0
        while True:
            changed = [robot for robot in list(link.robots.values()) if pursue(link, robot)]
            await asyncio.gather(*(link.keep(robot) for robot in changed))
            if link.now_s() >= next_s:
                next_s = link.now_s() + EXPOSURE_EVERY_S
                for exposure in exposures(link, digests):
                    link.outbox.put(exposure)
                for happening in losses(link):
                    link.outbox.put(happening)
            await asyncio.sleep(PURSUE_EVERY_S)

    async def _begin(self, robot: Robot, order: Order, said: Inheritance | None = None) -> SubmitOutcome | None:
        """Keep a new order and send it; None when its confirmation is to be waited for. `said`: it may be begun already."""
        link = self._link
        if not await is_heard(link, robot):
            why = f"{order.serial_number} has not been heard; nothing was sent by this gateway"
            return Unknown(why=why, is_unsent=True)
        shape = runs.shape_of(robot.state.order_id, order.key) if robot.state else None
        reason = "" if shape else _occupied(robot) or robot.unready(link.now_s())
        if reason:
            return await self._refuse(order, reason)
        ability = replace(robot.ability, shape=shape)
        try:
            run = written(order, ability, link.now(), int(link.now().timestamp() * 1000) - 1)
        except Unfit as error:
            if shape:
                return Unknown(why=f"the robot has this order, and it cannot be followed: {error.message}")
            return await self._refuse(order, error.message)
        run = updates.begun(run, robot.own.horizon)
        if robot.state is not None:
            run = (
                following.taken_over(run, robot.state, said) if shape else following.about_to_be_sent(run, robot.state)
            )
        try:
            # On disk before anything is sent: killed at any instant, we know what may be out there.
            await asyncio.to_thread(link.journal.admit, order, run.model_dump(mode="json"))
        except Conflict as error:
            return Refused(reason=error.message)
        await self._give_up(robot)
        robot.key, robot.run = order.key, run
        robot.resend_until_s = link.now_s() + link.options.resend_for_s
        if shape and robot.state is not None:  # another gateway sent it: it is followed, not sent again
            link.change(robot, following.heard(run, robot.state, robot.observed_at(link.now())))
            await link.keep(robot)
        else:
            link.send_order(robot)
        return None

    async def _refuse(self, order: Order, reason: str) -> Refused:
        """Refuse, and keep that: asked again, the answer is the same."""
        link = self._link
        state = answers.refused(order, link.now(), reason)
        try:
            await asyncio.to_thread(link.journal.decline, order.key, order.serial_number, order.fence, state)
        except Conflict as error:
            return Refused(reason=error.message)
        return Refused(reason=reason)

    async def _give_up(self, robot: Robot) -> None:
        """An order that never reached the robot makes room for the next one."""
        link, run = self._link, robot.run
        if run is not None and not run.is_over:
            link.change(robot, following.ended(run, OrderStatus.canceled, link.now(), "it never reached the robot"))
            await link.keep(robot)

    async def _again(self, robot: Robot, known: Entry) -> SubmitOutcome | None:
        link, run = self._link, robot.run
        if known.robot != robot.address:
            return Refused(reason=f"the key belongs to {known.robot}")
        if known.is_over:
            return settled(known)
        if robot.key != known.key or run is None:
            return Unknown(why=f"{robot.address} is followed in another order, {robot.key}")
        if run.is_over or run.is_confirmed:
            return None
        if run.is_cancel_asked:
            return Refused(reason="it is being canceled")
        robot.resend_until_s = link.now_s() + link.options.resend_for_s
        if run.is_withdrawn:
            link.change(robot, run.model_copy(update={"is_withdrawn": False}))
            await link.keep(robot)
        link.send_order(robot)
        return None

    async def _standing(self, robot: Robot, run: Run) -> OrderReport | Unknown:
        link = self._link
        if robot.untold:
            await link.keep(robot)  # what is said here is on disk, too
        if run.is_over or run.is_confirmed:
            return run.report
        if run.is_cancel_asked or not has_settled(link, robot) or link.now_s() < robot.resend_until_s:
            return Unknown(why=f"the order was sent {run.sends} times and is not confirmed yet")
        link.change(robot, run.model_copy(update={"is_withdrawn": True}))
        await link.keep(robot)
        return run.report  # never shown by a state: not found, and cancelled should it ever come up

    def _unheard_of(self, robot: Robot, key: str) -> OrderReport:
        """What the state says of an order that this journal does not know: another gateway may have sent it."""
        now, state = self._link.now(), robot.state
        status = OrderStatus.not_found
        if state is not None and runs.shape_of(state.order_id, key):
            status = OrderStatus.running if state.has_work else OrderStatus.accepted
        return report_of(key, robot.address, status, now)

    def _cancel_unknown(self, robot: Robot, key: str) -> None:
        state = robot.state
        if state is not None and state.order_id and state.has_work and runs.shape_of(state.order_id, key):
            report = report_of(key, robot.address, OrderStatus.running, self._link.now())
            robot.key = key
            robot.run = runs.unknown_to_cancel(state.order_id, robot.version, report)

    async def _turn(self, serial_number: str, key: str, fence: int, *, is_pause: bool) -> CommandOutcome:
        link, robot = self._link, self._link.robots.get(serial_number)
        if robot is None:
            return Unknown(why=f"{serial_number} is not held by this gateway")
        name = "startPause" if is_pause else "stopPause"
        if not robot.capabilities().pausable:
            return Unsupported(reason=f"its factsheet offers no {name}")
        async with robot.commands:
            try:
                await asyncio.to_thread(link.journal.check_fence, serial_number, fence)
            except Conflict as error:
                return Unsupported(reason=error.message)
            run = robot.run
            if robot.key != key or run is None or run.is_over:
                known = await asyncio.to_thread(link.journal.entry, key)
                return Acknowledged() if known else Unsupported(reason=f"{serial_number} has no order {key}")
            if run.is_pause_asked is not is_pause:
                run = run.model_copy(update={"is_pause_asked": is_pause, "pauses": run.pauses + 1})
                link.change(robot, run)
                await link.keep(robot)
                if run.is_confirmed:
                    link.send_instant(robot, run.instant_id(name, run.pauses), name)
            return Acknowledged()


@asynccontextmanager
async def open_push(
    account: PushAccount, journal: Journal, *, clock: Clock | None = None
) -> AsyncIterator[PushAdapter]:
    """A link to the robots of this account, connected in the background; url mqtt://host:1883 or mqtts://host:8883.

    Raises:
        Invalid: the url or an option of the account is wrong; says which.
    """
    options = options_from(account.options)
    async with open_mqtt(account.url, credential=account.credential, tls=options.tls) as mqtt:
        link = Link(options, journal, mqtt, clock or SystemClock())
        adapter = Vda5050(link)
        # Connections tell at QoS 1 (6.5), factsheets are kept by the broker; states are heard of held robots only.
        mqtt.subscribe({f"{options.interface}/+/+/+/{CONNECTION}": 1, f"{options.interface}/+/+/+/{FACTSHEET}": 0})
        tasks = [asyncio.create_task(adapter.listen()), asyncio.create_task(adapter.pursue())]
        for task in tasks:
            link.watch(task)
        try:
            yield adapter
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _is_address(address: str) -> bool:
    manufacturer, _, serial_number = address.partition("/")
    return bool(manufacturer and serial_number) and "/" not in serial_number and not WILD & set(address)


def _topics(link: Link, address: str) -> list[str]:
    return [f"{link.options.interface}/+/{address}/{name}" for name in (STATE, VISUALIZATION)]


def _take_up(robot: Robot, entry: Entry) -> None:
    try:
        robot.key, robot.run = entry.key, Run.model_validate(dict(entry.state))
    except ValidationError:
        log.error("vda 5050 order of the journal cannot be read", robot=entry.robot, order=entry.key)


def _occupied(robot: Robot) -> str:
    run = robot.run
    if run is None or run.is_over or (run.is_withdrawn and not run.is_confirmed):
        return ""
    return f"it has order {robot.key} of us"
