"""The people of a night: they ask for missions, command them, hold robots, and look at robots that went silent."""

from collections.abc import Callable, Sequence
from datetime import timedelta

from sqlmodel import col, select

from fleet.errors import YardmasterError
from missions import commands, holds
from missions.create import create
from missions.holds import HoldScope, HoldWanted, Meanwhile
from missions.models import (
    MISSION_TERMINAL,
    Attempt,
    AttemptStatus,
    Mission,
    MissionCreate,
    MissionStatus,
    RetryFrom,
    TaskCreate,
)
from missions.schedules import control
from missions.schedules.create import create as create_schedule
from missions.schedules.models import Misfire, MissionTemplate, Overlap, Recurrence, Schedule, ScheduleCreate
from missions.scripted import ScriptedRobots
from missions.simulation.place import STATIONS, Scene
from missions.simulation.processes import Crashed, Deaths, Ground, Process

WHO = "user:ops"
WHY = "as chance has it"
URGENT = 80
COMMANDS: tuple[commands.CommandName, ...] = (
    *("cancel", "cancel", "pause", "pause", "resume", "resume", "resume", "skip", "skip", "approve", "retry"),
)
Call = Callable[[], None]


class People(Process):
    """They act through a process of their own (the API); a call that it died in is made again, as people do."""

    def __init__(self, ground: Ground, deaths: Deaths, scene: Scene, robots: ScriptedRobots) -> None:
        """`scene` is where they work."""
        super().__init__(ground, deaths)
        self._scene, self._robots, self._chance = scene, robots, deaths.chance
        self._unanswered: list[Call] = []
        self._asked = self._held = 0

    def act(self, *, wish: float = 0.0, command: float = 0.0) -> None:
        """One step of their time: perhaps another mission (chance `wish`), perhaps commands (chance `command`)."""
        again, self._unanswered = self._unanswered, []
        for call in again:
            self._call(call)
        if self._chance.random() < wish:
            self.ask()
        if self._chance.random() < command:
            self._command_something()
        if self._chance.random() < command / 4:
            self._look_after_lost()
        if self._chance.random() < command / 12:
            self._hold_something()
        if self._chance.random() < command / 3:
            self.release()

    def plan_ahead(self) -> None:
        """Ask for a schedule: a mission every minute."""
        recurrence = Recurrence(
            rule="* * * * *",
            begins=f"{self._ground.clock.now():%Y-%m-%dT%H:%M:%S}",
            timezone="UTC",
            misfire=self._chance.choice(list(Misfire)),
            overlap=self._chance.choice(list(Overlap)),
            catch_up_max=3,
        )
        station = self._chance.choice(STATIONS)[0]
        mission = MissionTemplate(name="patrol", tasks=[TaskCreate(station=station, timeout_s=20)], preemptible=True)
        wanted = ScheduleCreate(name="patrols", key="patrols", recurrence=recurrence, missions=[mission])
        self._call(lambda: self._plan_ahead(wanted))

    def _plan_ahead(self, wanted: ScheduleCreate) -> None:
        with self.transaction("request") as session:
            create_schedule(session, site=self._scene.site, wanted=wanted, who=WHO)

    def ask(self) -> None:
        """Ask for another mission."""
        self._asked += 1
        wanted = self._wanted(self._asked)
        self._call(lambda: self._create(wanted))

    def _wanted(self, number: int) -> MissionCreate:
        now, chance = self._ground.clock.now(), self._chance
        hurry_s = chance.choice([None, None, None, 600.0, 1800.0])
        return MissionCreate(
            name=f"m{number}",
            key=f"m{number}",
            tasks=[TaskCreate(station=chance.choice(STATIONS)[0], timeout_s=20) for _ in range(chance.randint(1, 3))],
            robot=chance.choice([None, None, chance.choice(self._scene.rows).name]),
            priority=chance.choice([0, 0, 1, 2, URGENT]),
            preemptible=chance.random() < 0.7,
            attempts_max=chance.choice([1, 3, 5]),
            backoff_s=2.0,
            backoff_max_s=8.0,
            retry_from=chance.choice(list(RetryFrom)),
            approval_needed=chance.random() < 0.1,
            not_after_at=None if hurry_s is None else now + timedelta(seconds=hurry_s),
            deadline_at=None if chance.random() < 0.9 else now + timedelta(seconds=1800),
        )

    def _create(self, wanted: MissionCreate) -> None:
        with self.transaction("request") as session:
            create(session, site=self._scene.site, wanted=wanted, who=WHO)

    def _command_something(self) -> None:
        with self._ground.reading() as session:
            missions = session.exec(select(Mission).order_by(col(Mission.id).desc()).limit(12)).all()
        if missions:
            name = self._chance.choice(COMMANDS)
            task = self._chance.choice([None, None, 0, 1, 2]) if name == "skip" else None
            self.tell(self._chance.choice(missions), name, task)

    def tell(self, mission: Mission, name: commands.CommandName, task: int | None = None) -> None:
        """Command the mission."""
        self._call(lambda: self._command(mission, name, task))

    def _command(self, mission: Mission, name: commands.CommandName, task: int | None) -> None:
        with self.transaction("command") as session:
            commands.command(
                session,
                organisation_id=mission.organisation_id,
                mission_id=mission.id,
                command=name,
                who=WHO,
                why=WHY,
                task=task,
            )

    def _hold_something(self) -> None:
        self._held += 1
        scope = self._chance.choice(list(HoldScope))
        wanted = HoldWanted(
            scope=scope,
            robot=self._chance.choice(self._scene.rows).name if scope is HoldScope.robot else None,
            site=self._scene.site.name if scope is HoldScope.site else None,
            meanwhile=self._chance.choice(list(Meanwhile)),
            reason=WHY,
            key=f"hold{self._held}",
        )
        self._call(lambda: self._hold(wanted))

    def _hold(self, wanted: HoldWanted) -> None:
        with self.transaction("hold") as session:
            holds.hold(session, organisation_id=self._scene.site.organisation_id, wanted=wanted, who=WHO)

    def release(self) -> None:
        """Release what is held."""
        ours = self._scene.site.organisation_id
        with self._ground.reading() as session:
            held = holds.open_holds(session, [ours])
        for row in held:
            self._call(lambda row=row: self._release(row))  # type: ignore[misc]

    def _release(self, row: holds.Hold) -> None:
        with self.transaction("release") as session:
            holds.release(session, organisation_id=row.organisation_id, hold_id=row.id, who=WHO)

    def _call(self, call: Call) -> None:
        try:
            call()
        except Crashed:
            self._unanswered.append(call)
        except YardmasterError:
            return  # it has ended, or it cannot be done now: the answer that a person gets

    def _look_after_lost(self) -> None:
        """Somebody goes to a silent robot, restarts it, and says that it no longer has its order."""
        for mission, attempt in self._lost():
            serial = next(row.serial_number for row in self._scene.rows if row.id == attempt.robot_id)
            self._robots.forget(serial)
            self._robots.forgotten.add(attempt.key)  # also when a copy of the order is still on its way
            self.tell(mission, "abandon")

    def _lost(self) -> Sequence[tuple[Mission, Attempt]]:
        query = select(Mission, Attempt).join(Attempt, col(Attempt.mission_id) == Mission.id)
        with self._ground.reading() as session:
            return session.exec(query.where(Attempt.status == AttemptStatus.lost)).all()

    def let_go(self) -> None:
        """Release what is held, approve what waits for it, resume what is paused, end what recurs: the night is over."""
        self.act()  # what was not answered yet
        with self._ground.transaction() as session:
            for schedule in session.exec(select(Schedule)).all():
                control.end(session, schedule=schedule, who=WHO)
        self.release()
        with self._ground.reading() as session:
            live = session.exec(select(Mission).where(col(Mission.status).not_in(MISSION_TERMINAL))).all()
        for mission in live:
            if mission.status is MissionStatus.awaiting_approval:
                self.tell(mission, "approve")
            self.tell(mission, "resume")
