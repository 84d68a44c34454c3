"""An order is let in: a new one, or one that another gateway may have begun."""

import asyncio
from collections.abc import Callable

from fleet.adapter import Accepted, Order, OrderStatus, Refused, SubmitOutcome, Unknown
from fleet.adapters.ros2.bindings import steps_of, stops_of
from fleet.adapters.ros2.held import HEARD_S, HeldRobot
from fleet.adapters.ros2.inheriting import Doubtful, Never, inherited
from fleet.adapters.ros2.marks import opening, refused
from fleet.adapters.ros2.options import Options
from fleet.adapters.ros2.orders import Ground, OrderDrive
from fleet.adapters.ros2.runner import Turn, turn
from fleet.adapters.ros2.runs import (
    Ask,
    Begun,
    CallStep,
    GivenUp,
    GoalStep,
    OrderState,
    Stage,
    Step,
    present_goal,
    reference_of,
)
from fleet.errors import Conflict, Invalid
from fleet.journal import Entry
from fleet.push import Inheritance

CROWDED_S = 30.0  # several servers may be seen; a killed one is for 10 s, the lease of Cyclone
FREE_S = 2.0  # for a goal of somebody else that is about to end, or that our own last one left behind


class Admission:
    """Of the robots of one link; an order that was let in is carried by its robot."""

    def __init__(self, ground: Ground, options: Options, look: Callable[[], object]) -> None:
        """`look` sees which robots are there now."""
        self._ground, self._options, self._look = ground, options, look
        self._crowded: dict[
            str, tuple[float, float]
        ] = {}  # since when several servers are seen at a name, and seen last

    async def take_in(self, robot: HeldRobot, order: Order) -> tuple[Entry | None, SubmitOutcome | None]:
        """What the journal has of the order, or else what came of letting it in, where that is all there is to say."""
        known = await asyncio.to_thread(self._ground.journal.entry, order.key)
        if known is None and robot.goals_of(order.key):  # whoever sent those: it goes on with them
            return None, await self.inherit(robot, order, Inheritance(since_s=0.0))
        return known, await self._admit(robot, order) if known is None else None

    async def _admit(self, robot: HeldRobot, order: Order) -> SubmitOutcome | None:
        """Keep the order and begin it; an outcome when that is all there is to say."""
        journal = self._ground.journal
        try:
            await asyncio.to_thread(journal.check_fence, order.serial_number, order.fence)
            self._look()
            if not robot.seen:
                return Unknown(why=f"{robot.address} is not seen on this link; nothing was sent", is_unsent=True)
            prepared = await self._prepared(robot, order)
            if elsewhere := robot.inherited():
                return Unknown(why=elsewhere)
            if isinstance(prepared, Unknown):
                return prepared
            if isinstance(prepared, str):
                return await self._refuse(order, prepared)
            first = opening(order, prepared)
            await self._carry(robot, order, turn(order, first, Begun(), self._ground.around(first)))
        except Conflict as error:
            return Refused(reason=error.message)
        return None

    async def inherit(self, robot: HeldRobot, order: Order, said: Inheritance) -> Unknown | None:
        """See `PushAdapter.inherit`."""
        if await asyncio.to_thread(self._ground.journal.entry, order.key) is not None:
            return None
        self._look()
        await robot.heard_of(within_s=HEARD_S)  # a gateway that has just begun sees its robots one after the other
        if not robot.is_listed():
            return Unknown(why=f"{robot.address} is not seen on this link; whether it has {order.key} is not known")
        steps = await self._steps(robot, order)
        if isinstance(steps, Unknown):
            return steps
        if isinstance(steps, str):
            return Unknown(why=steps)
        if self._ground.renames is not None and not {task.position for task in order.tasks} <= set(said.done):
            return Unknown(why="over a rosbridge a goal of another gateway cannot be told from others")
        return await self._go_on(robot, order, steps, said)

    async def _go_on(
        self, robot: HeldRobot, order: Order, steps: tuple[Step, ...], said: Inheritance
    ) -> Unknown | None:
        now, remembers_s = self._ground.clock.now(), self._options.remembers_s
        found = inherited(order, opening(order, steps), said, robot.listed(), remembers_s=remembers_s, now=now)
        if isinstance(found, Doubtful):
            return Unknown(why=found.why)
        if isinstance(found, Never):
            return None
        made = Turn(found)
        if found.stage is Stage.ready:
            await robot.free(order.key, within_s=FREE_S)
            if busy := robot.busy(order.key):
                return Unknown(why=busy)
            made = turn(order, found, Begun(), self._ground.around(found))
        elif found.stage is Stage.going and isinstance(found.step, GoalStep):
            made = Turn(found, (Ask(present_goal(order, found), found.step),))
        try:
            await self._carry(robot, order, made)
        except Conflict as error:
            return Unknown(why=error.message)
        return None

    async def _carry(self, robot: HeldRobot, order: Order, made: Turn) -> None:
        """Keep the order as it stands, and only then do what is to be done.

        Raises:
            Conflict: its fence is too old.
        """
        await asyncio.to_thread(self._ground.journal.admit, order, made.state.model_dump(mode="json"))
        drive = OrderDrive(self._ground, order, made.state, robot.ended)
        drive.stops = stops_of(self._options, robot.robot, order)
        robot.carry(drive)
        await drive.start(made.effects, is_news=made.state.status is not OrderStatus.accepted)

    async def _refuse(self, order: Order, reason: str) -> Refused:
        state = refused(order, reason, self._ground.clock.now()).model_dump(mode="json")
        await asyncio.to_thread(self._ground.journal.admit, order, state)
        await asyncio.to_thread(self._ground.journal.save, order.key, state, is_over=True)
        return Refused(reason=reason)

    async def _prepared(self, robot: HeldRobot, order: Order) -> tuple[Step, ...] | str | Unknown:
        """What will be sent for the order, or why it cannot be begun; Unknown when that may pass in a moment."""
        steps = await self._steps(robot, order)
        if isinstance(steps, str | Unknown):
            return steps
        await robot.relisted()
        await robot.free(order.key, within_s=FREE_S)
        return robot.busy(order.key) or steps

    async def _steps(self, robot: HeldRobot, order: Order) -> tuple[Step, ...] | str | Unknown:
        drive = robot.drive
        if drive is not None and drive.doubt() and order.fence > drive.order.fence:
            await drive.hear(GivenUp(order.key))  # the platform has ended its hold since
        elif drive is not None and not drive.state.is_over:
            return f"{robot.address} works on {drive.order.key}"
        try:
            steps = steps_of(self._options, robot.robot, order)
        except Invalid as error:
            return error.message
        for step in steps:
            if isinstance(step, GoalStep | CallStep):
                name = step.action if isinstance(step, GoalStep) else step.service
                objection = self._ground.link.objection(name, step.type)
                if objection and self._is_to_wait(name, step.type):
                    return Unknown(why=f"{objection} Nothing was sent; one of them may be dead", is_unsent=True)
                if objection:
                    return objection
        return steps

    def _is_to_wait(self, name: str, type: str) -> bool:
        """Whether several servers are seen, and not for longer than one that was killed can still be seen.

        Asked again and again meanwhile; when it was not asked for a while, that was another time.
        """
        now = self._ground.clock.monotonic()
        first, last = self._crowded.pop(name, (now, now))
        if not self._ground.link.is_crowded(name, type):
            return False
        self._crowded[name] = (first if now - last < CROWDED_S else now), now
        return now - self._crowded[name][0] < CROWDED_S


def outcome_of(known: Entry | None) -> SubmitOutcome:
    """The answer to an order that the journal knows."""
    if known is None:
        return Unknown(why="the journal does not have it")
    state = OrderState.model_validate(dict(known.state))
    if known.order is None or state.status is OrderStatus.rejected:
        return Refused(reason=state.reason)
    return Accepted(reference=reference_of(known.order))
