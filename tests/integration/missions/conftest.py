"""A yard: the mission path driven by hand, one step at a time, on the small world's database."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from uuid import UUID

import pytest
from sqlmodel import select

from fleet import states
from fleet.adapter import Activity, Observation, OrderReport, OrderStatus, TaskReport, Unknown
from fleet.changes import Change
from fleet.clock import SteppableClock
from fleet.robots import RobotLease
from fleet.runtime import Runtime
from missions import board, commands, dispatch, feedback, holds, recovery, sending, snapshot
from missions.board import MissionView
from missions.create import create
from missions.holds import Hold, HoldView, HoldWanted
from missions.models import Attempt, Mission, MissionCreate, OutboxMessage, OutboxStatus, TaskCreate
from missions.plan import plan
from missions.scripted import Faults, ScriptedRobots

WHO = "system:test"


@dataclass
class Yard:
    """The steps of the path, each in a transaction of its own; robots answer as `robots.faults` says."""

    runtime: Runtime
    world: object
    clock: SteppableClock
    robots: ScriptedRobots

    def request(self, name: str = "m", *stations: str, **news: object) -> Mission:
        tasks = [TaskCreate(station=station) for station in stations or ("press-1",)]
        wanted = MissionCreate.model_validate({"name": name, "key": name, "tasks": tasks} | news)
        with self.runtime.transaction() as session:
            return create(session, site=self.world.site, wanted=wanted, who="user:ops")

    def observe(self, name: str, activity: Activity = Activity.idle, **news: object) -> None:
        robot = self.world.robots[name]
        seen = Observation.model_validate(
            {
                "serial_number": robot.serial_number,
                "observed_at": self.clock.now(),
                "activity": activity,
                "battery_fraction": 0.9,
                "x_m": 0.0,
                "y_m": 0.0,
            }
            | news
        )
        with self.runtime.transaction() as session:
            states.observe(session, robot, seen, received_at=self.clock.now())

    def assign(self, *names: str) -> Sequence[Attempt]:
        for name in names or self.world.robots:
            self.observe(name)
        with self.runtime.reading() as session:
            seen = snapshot.take(session)
        return dispatch.carry_out(self.runtime.transaction, plan(seen), seen, who=WHO)

    def begin(self) -> list[sending.Parcel]:
        with self.runtime.reading() as session:
            waiting = sending.due(session)
        begun = []
        for due in waiting:
            with self.runtime.transaction() as session:
                begun.append(sending.begin(session, due, who=WHO))
        return [parcel for parcel in begun if parcel]

    def has_due(self) -> bool:
        with self.runtime.reading() as session:
            return bool(sending.due(session))

    def settle(self, parcel: sending.Parcel, answer: sending.Answer) -> None:
        with self.runtime.transaction() as session:
            sending.settle(session, parcel, answer, who=WHO, received_at=self.clock.now())

    def send(self) -> list[sending.Answer]:
        parcels = self.begin()
        answers = [asyncio.run(sending.deliver(self.robots, parcel)) for parcel in parcels]
        for parcel, answer in zip(parcels, answers, strict=True):
            self.settle(parcel, answer)
        return answers

    def running(self, name: str = "m", **news: object) -> tuple[Mission, Attempt]:
        """A mission on amr-01 whose robot says it is running."""
        mission = self.request(name, **news)
        (attempt,) = self.assign("amr-01")
        self.send()
        self.say(attempt, OrderStatus.running, 2)
        return mission, attempt

    def say(
        self, attempt: Attempt, status: OrderStatus, sequence: int, *, robot: str = "amr-01", **news: object
    ) -> None:
        report = OrderReport.model_validate(
            {
                "key": attempt.key,
                "serial_number": self.world.robots[robot].serial_number,
                "status": status,
                "observed_at": self.clock.now(),
                "sequence": sequence,
            }
            | news
        )
        with self.runtime.transaction() as session:
            feedback.apply(
                session,
                robot=self.world.robots[robot],
                report=report,
                received_at=self.clock.now(),
                who=f"robot:{robot}",
            )

    def done(self, *positions: int) -> tuple[TaskReport, ...]:
        return tuple(TaskReport(position=position, status="succeeded") for position in positions)

    def questions(self) -> list[recovery.Question]:
        with self.runtime.transaction() as session:
            return recovery.questions(session)

    def hear(self, question: recovery.Question, said: OrderReport | Unknown | None = None) -> None:
        said = said or asyncio.run(self.robots.query(question.serial_number, question.key))
        with self.runtime.transaction() as session:
            recovery.heard(session, question, said, received_at=self.clock.now(), who=WHO)

    def ask(self) -> int:
        asked = self.questions()
        for question in asked:
            self.hear(question)
        return len(asked)

    def command(
        self,
        mission: Mission,
        name: commands.CommandName,
        organisation_id: UUID | None = None,
        *,
        task: int | None = None,
    ) -> Mission:
        with self.runtime.transaction() as session:
            return commands.command(
                session,
                organisation_id=organisation_id or self.world.organisation.id,
                mission_id=mission.id,
                command=name,
                who="user:ops",
                why="because",
                task=task,
            )

    def hold(self, **wanted: object) -> Hold:
        asked = {"scope": "robot", "robot": "amr-01", "reason": "a wheel squeaks", "key": "h"} | wanted
        with self.runtime.transaction() as session:
            return holds.hold(
                session,
                organisation_id=self.world.organisation.id,
                wanted=HoldWanted.model_validate(asked),
                who="user:ops",
            )

    def release(self, hold: Hold | HoldView) -> Hold:
        with self.runtime.transaction() as session:
            return holds.release(session, organisation_id=self.world.organisation.id, hold_id=hold.id, who="user:chief")

    def holds(self) -> list[HoldView]:
        with self.runtime.reading() as session:
            return holds.views(session, session.exec(select(Hold).order_by(Hold.id)).all())

    def time_out(self) -> int:
        with self.runtime.transaction() as session:
            return recovery.time_out(session, who=WHO)

    def expire(self) -> int:
        with self.runtime.transaction() as session:
            return recovery.expire(session, who=WHO)

    def lose(self, name: str = "m", **news: object) -> tuple[Mission, Attempt]:
        """A mission on amr-01 whose robot has gone silent."""
        mission, attempt = self.running(name, **news)
        for _ in range(6):
            self.clock.step(6)
            for question in self.questions():
                self.hear(question, Unknown(why="no answer"))
        return mission, attempt

    def view(self, mission: Mission) -> MissionView:
        with self.runtime.reading() as session:
            return board.mission_view(session, self.world.organisation.id, mission.id)

    def status(self, mission: Mission) -> str:
        return self.view(mission).status.value

    def outbox(self, status: OutboxStatus | None = None) -> list[str]:
        with self.runtime.reading() as session:
            rows = session.exec(select(OutboxMessage).order_by(OutboxMessage.id)).all()
        return [row.command.value for row in rows if status in {None, row.status}]

    def leases(self) -> dict[UUID, int]:
        with self.runtime.reading() as session:
            return {row.robot_id: row.fence for row in session.exec(select(RobotLease)).all()}

    def changes(self, subject: str) -> list[str]:
        with self.runtime.reading() as session:
            rows = session.exec(select(Change).where(Change.subject == subject).order_by(Change.id)).all()
        return [row.kind for row in rows]


@pytest.fixture
def yard(runtime: Runtime, world, clock) -> Yard:
    serials = [robot.serial_number for robot in world.robots.values()]
    return Yard(runtime, world, clock, ScriptedRobots(serials, clock=clock, chance=Random(1), faults=Faults()))


@pytest.fixture
def postgres_yard(postgres_runtime: Runtime, postgres_world, clock) -> Yard:
    serials = [robot.serial_number for robot in postgres_world.robots.values()]
    robots = ScriptedRobots(serials, clock=clock, chance=Random(1), faults=Faults())
    return Yard(postgres_runtime, postgres_world, clock, robots)
