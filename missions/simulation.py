"""The deterministic fault world: dispatchers that crash between any two steps, robots behind a bad network.

It runs the real path (plan, hold, outbox, feedback, recovery) against a real database and counts what must never be:
a mission done twice, one that the books call done and no robot did (or the other way round), one that never ends.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from uuid import UUID

from sqlmodel import Session, select

from fleet import states
from fleet.adapter import OrderReport, OrderStatus, Unknown
from fleet.clock import SteppableClock
from fleet.errors import Conflict
from fleet.robots import Robot
from missions import commands, dispatch, feedback, recovery, sending, snapshot
from missions.models import MISSION_TERMINAL, Mission, MissionStatus
from missions.plan import plan
from missions.scripted import Execution, ScriptedRobots
from missions.validator import violations

WHO = "system:simulation"
TURN_S = 2.0
HELD_BACK_MAX_S = 12.0  # an answer is settled at the latest so long after it came
Open = Callable[[], AbstractContextManager[Session]]


class Crashed(Exception):
    """The dispatcher's process ended here."""


@dataclass(frozen=True)
class Tally:
    """What came of a night; `doubled`, `overlapping`, `lost`, `stuck` and `violations` must be 0."""

    statuses: dict[MissionStatus, int]
    crashes: int
    doubled: int
    overlapping: int
    lost: int
    stuck: int
    violations: int

    @property
    def is_sound(self) -> bool:
        """Whether nothing happened that must never be."""
        return not (self.doubled or self.overlapping or self.lost or self.stuck or self.violations)


@dataclass
class Night:
    """One night: `crash` is the chance that the dispatcher ends at any of its steps, `command` that of a command a turn."""

    transaction: Open
    reading: Open
    clock: SteppableClock
    robots: ScriptedRobots
    rows: Sequence[Robot]
    chance: Random
    crash: float = 0.0
    command: float = 0.0
    crashes: int = 0
    violations: int = 0
    _held_back: list[tuple[datetime, Callable[[Session], None]]] = field(default_factory=list)

    async def run(self, *, faulty_s: float, calm_s: float) -> Tally:
        """`faulty_s` seconds with all faults, then at most `calm_s` without crashes and commands; counts at the end."""
        end = self.clock.monotonic() + faulty_s
        while self.clock.monotonic() < end:
            await self._live_through_a_turn()
        self.crash = self.command = 0.0
        for mission in self._missions():
            self._tell(mission, "resume")
        end = self.clock.monotonic() + calm_s
        while self.clock.monotonic() < end and not self._is_over():
            await self._live_through_a_turn()
        return self._tally()

    async def _live_through_a_turn(self) -> None:
        self.clock.step(TURN_S)
        self.robots.step(TURN_S)
        self._observe()
        self._command()
        try:
            await self._turn()
        except Crashed:
            self.crashes += 1
            self._held_back.clear()

    async def _turn(self) -> None:
        self._settle_some()
        for report in self.robots.reports():
            self._write(lambda session, report=report: self._apply(session, report))  # type: ignore[misc]
        self._write(lambda session: recovery.expire(session, who=WHO))
        with self.reading() as session:
            seen = snapshot.take(session)
        made = plan(seen)
        self.violations += len(violations(seen, made))
        dispatch.carry_out(self._crashing, made, seen, who=WHO)
        with self.reading() as session:
            waiting = sending.due(session)
        for due in waiting:
            await self._send(due)
        with self._crashing() as session:
            questions = recovery.questions(session)
        for question in questions:
            await self._ask(question)

    async def _send(self, due: sending.Due) -> None:
        with self._crashing() as session:
            parcel = sending.begin(session, due, who=WHO)
        if parcel is not None:
            answer = await sending.deliver(self.robots, parcel)
            now = self.clock.now()
            self._later(lambda session: sending.settle(session, parcel, answer, who=WHO, received_at=now))

    async def _ask(self, question: recovery.Question) -> None:
        said: OrderReport | Unknown = await self.robots.query(question.serial_number, question.key)
        now = self.clock.now()
        self._later(lambda session: recovery.heard(session, question, said, received_at=now, who=WHO))

    def _later(self, write: Callable[[Session], None]) -> None:
        """An answer came; it is written now, or some turns later, or, if the process ends before, never."""
        self._held_back.append((self.clock.now(), write))
        if self.chance.random() < 0.7:
            self._settle_some()

    def _settle_some(self) -> None:
        waiting, self._held_back = self._held_back, []
        for came_at, write in waiting:
            is_old = (self.clock.now() - came_at).total_seconds() >= HELD_BACK_MAX_S
            if is_old or self.chance.random() < 0.6:
                self._write(write)
            else:
                self._held_back.append((came_at, write))

    def _write(self, write: Callable[[Session], object]) -> None:
        with self._crashing() as session:
            write(session)

    @contextmanager
    def _crashing(self) -> Iterator[Session]:
        self._perhaps_crash()
        with self.transaction() as session:
            yield session
            self._perhaps_crash()  # before the commit: nothing of it was written
        self._perhaps_crash()  # after the commit, and before anyone acted on it

    def _perhaps_crash(self) -> None:
        if self.chance.random() < self.crash:
            raise Crashed

    def _apply(self, session: Session, report: OrderReport) -> None:
        robot = next(row for row in self.rows if row.serial_number == report.serial_number)
        feedback.apply(session, robot=robot, report=report, received_at=self.clock.now(), who=f"robot:{robot.name}")

    def _observe(self) -> None:
        with self.transaction() as session:
            for row in self.rows:
                seen = self.robots.observation(row.serial_number)
                states.observe(session, row, seen, received_at=self.clock.now())

    def _command(self) -> None:
        if self.chance.random() < self.command:
            name: commands.CommandName = self.chance.choice(("cancel", "pause", "resume", "resume"))
            self._tell(self.chance.choice(self._missions()), name)

    def _tell(self, mission: Mission, name: commands.CommandName) -> None:
        key = {"organisation_id": mission.organisation_id, "mission_id": mission.id}
        try:
            with self.transaction() as session:
                commands.command(session, **key, command=name, who="user:chance", why="")
        except Conflict:
            return  # it has ended, or is being cancelled: the answer a person would get

    def _missions(self) -> Sequence[Mission]:
        with self.reading() as session:
            return session.exec(select(Mission)).all()

    def _is_over(self) -> bool:
        return all(mission.status in MISSION_TERMINAL for mission in self._missions())

    def _tally(self) -> Tally:
        missions = {mission.id: mission for mission in self._missions()}
        done = Counter(UUID(run.order.mission_id) for run in self.robots.history if run.status is OrderStatus.succeeded)
        booked = {key for key, mission in missions.items() if mission.status is MissionStatus.succeeded}
        return Tally(
            statuses=dict(Counter(mission.status for mission in missions.values())),
            crashes=self.crashes,
            doubled=sum(count - 1 for count in done.values()),
            overlapping=_overlaps(self.robots.history),
            lost=len(booked ^ set(done)),
            stuck=sum(mission.status not in MISSION_TERMINAL for mission in missions.values()),
            violations=self.violations,
        )


def _overlaps(history: Sequence[Execution]) -> int:
    """Pairs of runs of one mission, or in one robot, that were under way at the same time."""
    begun = [run for run in history if run.started_at is not None]
    return sum(
        _shares(one, other) and _at_once(one, other)
        for number, one in enumerate(begun)
        for other in begun[number + 1 :]
    )


def _shares(one: Execution, other: Execution) -> bool:
    is_same_robot = one.order.serial_number == other.order.serial_number
    return is_same_robot or one.order.mission_id == other.order.mission_id


def _at_once(one: Execution, other: Execution) -> bool:
    assert one.started_at is not None
    assert other.started_at is not None
    is_before = one.ended_at is not None and one.ended_at <= other.started_at
    is_after = other.ended_at is not None and other.ended_at <= one.started_at
    return not (is_before or is_after)
