"""A simulated dispatcher: the turn of orchestration/dispatcher in steps between which others go on, and where it may end."""

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from random import Random
from uuid import UUID

from sqlmodel import Session

from fleet import changes, ledger
from fleet.adapter import CommandOutcome, Order, OrderReport, SubmitOutcome, Unknown
from fleet.errors import YardmasterError
from fleet.robots import Robot
from missions import alerts, dispatch, feedback, recovery, sending, snapshot
from missions.plan import Plan, Snapshot, plan
from missions.schedules import firing
from missions.scripted import ScriptedRobots
from missions.simulation.processes import Deaths, Ground, Process, Strand, rest
from missions.validator import violations

WHO = "system:simulation"
STALLS = (0.0, 0.0, 0.0, 0.0, 2.0, 6.0)  # seconds for which a strand does not come to go on
LANES_MAX = 16


class Line:
    """The way to the robots as one process has it: it may end on either side of each request."""

    def __init__(self, robots: ScriptedRobots, process: Process) -> None:
        """`process` is whose points are passed."""
        self.capabilities = robots.capabilities
        self._robots, self._process = robots, process

    async def submit(self, order: Order) -> SubmitOutcome:
        """Send the order."""
        self._process.at("before submit")
        await rest()
        outcome = await self._robots.submit(order)
        self._process.at("after submit")
        return outcome

    async def query(self, serial_number: str, key: str) -> OrderReport | Unknown:
        """Ask the robot."""
        self._process.at("before query")
        await rest()
        said = await self._robots.query(serial_number, key)
        self._process.at("after query")
        return said

    async def cancel(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """Tell it to end."""
        self._process.at("before tell")
        outcome = await self._robots.cancel(serial_number, key, fence)
        self._process.at("after tell")
        return outcome

    async def pause(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """Tell it to hold."""
        self._process.at("before tell")
        outcome = await self._robots.pause(serial_number, key, fence)
        self._process.at("after tell")
        return outcome

    async def resume(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """Tell it to go on."""
        self._process.at("before tell")
        outcome = await self._robots.resume(serial_number, key, fence)
        self._process.at("after tell")
        return outcome


class Dispatcher(Process):
    """One dispatcher; its turn and its lanes go on beside each other and beside other dispatchers."""

    def __init__(self, ground: Ground, deaths: Deaths, robots: ScriptedRobots, rows: Sequence[Robot]) -> None:
        """`rows` are the robots' rows."""
        super().__init__(ground, deaths)
        self._robots, self._rows = robots, {row.serial_number: row for row in rows}
        self._line = Line(robots, self)
        self._chance: Random = deaths.chance
        self._turn: Strand | None = None
        self._lanes: dict[UUID, Strand] = {}
        self._turns = 0
        self.violations: list[str] = []

    def awake(self, now_s: float) -> list[Strand]:
        """The strands that may go on now."""
        strands = [*self._lanes.values(), *([self._turn] if self._turn else [])]
        return [strand for strand in strands if not strand.is_over and strand.wakes_at_s <= now_s]

    def begin_turn(self) -> None:
        """Begin another turn if the last one is over."""
        if self._turn is None or self._turn.is_over:
            self._lanes = {key: lane for key, lane in self._lanes.items() if not lane.is_over}
            self._turn = Strand(self._go_round())

    def end(self) -> None:
        """The process is gone."""
        for strand in [*self._lanes.values(), *([self._turn] if self._turn else [])]:
            strand.end()

    async def _go_round(self) -> None:
        for report in self._robots.reports():
            with self.transaction("report") as session, ledger.together(session):
                self._apply(session, report)
            await rest()
        await self._decide()
        await self._send()
        await self._ask()
        self._turns += 1
        if self._turns % 4 == 0:
            self._follow()

    def _apply(self, session: Session, report: OrderReport) -> None:
        robot = self._rows[report.serial_number]
        who, now = f"robot:{robot.name}", self._ground.clock.now()
        feedback.apply(session, robot=robot, report=report, received_at=now, who=who)

    async def _decide(self) -> None:
        firing.fire_due(partial(self.transaction, "fire"), who=WHO)
        with self.transaction("expire") as session:
            recovery.expire(session, who=WHO)
        with self.transaction("time out") as session:
            recovery.time_out(session, who=WHO)
        await rest()
        with self._ground.reading() as session:
            seen = snapshot.take(session)
        made = plan(seen)
        self.violations += [str(each) for each in violations(seen, made)]
        self.at("planned")
        if made.assignments or made.refusals or made.preemptions:
            await self._carry_out(made, seen)

    async def _carry_out(self, made: Plan, seen: Snapshot) -> None:
        await rest(self._chance.choice(STALLS))  # meanwhile another may carry out the same
        begun: dict[UUID, sending.Parcel] = {}

        def begin(session: Session, given: Sequence[dispatch.Given]) -> None:
            parcels = sending.begin_new(session, given, has_room=lambda robot, _: robot not in self._busy, who=WHO)
            begun.update({parcel.mission_id: parcel for parcel in parcels})

        opened = partial(self.transaction, "carry out")
        for attempt in dispatch.carry_out(opened, made, seen, who=WHO, also=begin):
            if attempt.mission_id in begun:
                parcel = begun[attempt.mission_id]
                self._start(parcel.robot_id, partial(self._deliver, parcel))

    def _follow(self) -> None:
        with self.transaction("watch") as session:
            alerts.follow(session)
        with self.transaction("publish") as session:
            changes.publish(session)

    async def _send(self) -> None:
        with self._ground.reading() as session:
            waiting = sending.due(session, busy=self._busy)
        self.at("listed")
        await rest()
        for due in waiting:
            self._start(due.robot_id, partial(self._send_one, due))

    @property
    def _busy(self) -> frozenset[UUID]:
        return frozenset(key for key, lane in self._lanes.items() if not lane.is_over)

    def _start(self, robot_id: UUID, work: Callable[[], Coroutine[object, None, None]]) -> None:
        if robot_id not in self._busy:
            self._lanes[robot_id] = Strand(work())

    async def _send_one(self, due: sending.Due) -> None:
        with self.transaction("begin") as session:
            parcel = sending.begin(session, due, who=WHO)
        if parcel is not None:
            await self._deliver(parcel)

    async def _deliver(self, parcel: sending.Parcel) -> None:
        await rest()
        answer = await sending.deliver(self._line, parcel)  # type: ignore[arg-type]
        came_at = self._ground.clock.now()
        await rest(self._chance.choice(STALLS))
        with self.transaction("settle") as session, ledger.together(session):
            sending.settle(session, parcel, answer, who=WHO, received_at=came_at)

    async def _ask(self) -> None:
        with self.transaction("ask") as session:
            questions = recovery.questions(session, busy=self._busy, limit=LANES_MAX)
        await rest()
        for question in questions:
            self._start(question.robot_id, partial(self._ask_one, question))

    async def _ask_one(self, question: recovery.Question) -> None:
        try:
            said = await self._line.query(question.serial_number, question.key)
        except YardmasterError as error:
            said = Unknown(why=error.message)
        came_at = self._ground.clock.now()
        await rest(self._chance.choice(STALLS))
        with self.transaction("hear") as session, ledger.together(session):
            recovery.heard(session, question, said, received_at=came_at, who=WHO)
