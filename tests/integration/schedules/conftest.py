"""A timetable: schedules of the small world, driven by hand on a clock that is stepped."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from sqlmodel import col, select

from fleet.changes import Change
from fleet.clock import SteppableClock
from fleet.runtime import Runtime
from missions import commands
from missions.models import Mission, Round
from missions.schedules import blackouts, control, create, firing, overrides, revise, upcoming
from missions.schedules.models import Occurrence, Recurrence, Schedule, ScheduleCreate

WHO = "system:test"
ROUND = [{"name": "look", "tasks": [{"station": "press-1"}]}]


@dataclass
class Timetable:
    """Each step in a transaction of its own; the clock stands at 22:00 UTC on 1 March 2026 at first."""

    runtime: Runtime
    world: object
    clock: SteppableClock

    def recurrence(self, rule: str = "FREQ=HOURLY", **news: object) -> Recurrence:
        """From 22:00 UTC on 1 March 2026 unless told otherwise, so that the first one is an hour ahead."""
        return Recurrence.model_validate(
            {"rule": rule, "begins": "2026-03-01T22:00:00", "timezone": "UTC", "misfire": "skip", "overlap": "queue"}
            | news
        )

    def create(self, rule: str = "FREQ=HOURLY", *, key: str = "s", missions: object = None, **news: object) -> Schedule:
        wanted = ScheduleCreate.model_validate(
            {"name": key, "key": key, "recurrence": self.recurrence(rule, **news), "missions": missions or ROUND}
        )
        with self.runtime.transaction() as session:
            return create.create(session, site=self.world.site, wanted=wanted, who="user:ops")

    def revise(self, schedule: Schedule, **news: object) -> Schedule:
        with self.runtime.transaction() as session:
            return revise.revise(session, schedule=schedule, who="user:ops", **news)

    def control(self, schedule: Schedule, what: str) -> Schedule:
        with self.runtime.transaction() as session:
            return getattr(control, what)(session, schedule=schedule, who="user:ops")

    def move(self, schedule: Schedule, recurrence_id: datetime, to: datetime) -> Occurrence:
        with self.runtime.transaction() as session:
            return overrides.move_occurrence(
                session, schedule=schedule, recurrence_id=recurrence_id, to=to, who="user:ops"
            )

    def cancel(self, schedule: Schedule, recurrence_id: datetime) -> Occurrence:
        with self.runtime.transaction() as session:
            return overrides.cancel_occurrence(session, schedule=schedule, recurrence_id=recurrence_id, who="user:ops")

    def blackout(self, **news: object) -> None:
        wanted = blackouts.BlackoutCreate.model_validate({"key": "b", "name": "shutdown"} | news)
        with self.runtime.transaction() as session:
            blackouts.add(session, site=self.world.site, wanted=wanted, who="user:ops")

    def fire(self) -> int:
        return firing.fire_due(self.runtime.transaction, who=WHO)

    def fire_after(self, **delta: float) -> int:
        self.clock.step(timedelta(**delta).total_seconds())
        return self.fire()

    def rows(self, schedule: Schedule) -> Sequence[Occurrence]:
        query = select(Occurrence).where(Occurrence.schedule_id == schedule.id)
        with self.runtime.reading() as session:
            return session.exec(query.order_by(col(Occurrence.recurrence_id), col(Occurrence.revision))).all()

    def said(self, schedule: Schedule) -> list[str]:
        """What became of each, such as `23:00 fired`, in order of their recurrence ids."""
        return [f"{row.recurrence_id:%H:%M} {row.status}" for row in self.rows(schedule)]

    def counted(self, schedule: Schedule) -> Counter[str]:
        return Counter(row.status.value for row in self.rows(schedule))

    def rounds(self) -> list[str]:
        with self.runtime.reading() as session:
            return list(session.exec(select(Round.key).order_by(Round.key)).all())

    def missions(self) -> list[Mission]:
        with self.runtime.reading() as session:
            return list(session.exec(select(Mission).order_by(col(Mission.id))).all())

    def finish(self, mission: Mission | None = None) -> None:
        """End this mission, or all that have not ended, by cancelling them: no robot works here."""
        for one in [mission] if mission else self.missions():
            if one.status.value not in {"CANCELED", "EXPIRED"}:
                with self.runtime.transaction() as session:
                    commands.command(
                        session,
                        organisation_id=one.organisation_id,
                        mission_id=one.id,
                        command="cancel",
                        who="user:ops",
                        why="over",
                    )

    def coming(self, **news: int) -> list[upcoming.Upcoming]:
        with self.runtime.reading() as session:
            return upcoming.upcoming(session, **news)

    def schedule(self, schedule: Schedule) -> Schedule:
        with self.runtime.reading() as session:
            return session.get_one(Schedule, schedule.id)

    def changes(self, subject: str) -> list[str]:
        with self.runtime.reading() as session:
            rows = session.exec(select(Change).where(Change.subject == subject).order_by(Change.id)).all()
        return [row.kind for row in rows]


@pytest.fixture
def timetable(runtime: Runtime, world, clock) -> Timetable:
    return Timetable(runtime, world, clock)


@pytest.fixture
def postgres_timetable(postgres_runtime: Runtime, postgres_world, clock) -> Timetable:
    return Timetable(postgres_runtime, postgres_world, clock)
