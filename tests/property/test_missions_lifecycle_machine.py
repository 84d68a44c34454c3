"""Whatever robots say, people want and time brings, in any order: the books of a mission stay right (a state machine)."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text
from sqlalchemy.orm.attributes import set_committed_value
from sqlmodel import col, select

from fleet import states
from fleet.adapter import Accepted, Activity, Observation, OrderReport, OrderStatus, Refused, TaskReport, Unknown
from fleet.clock import SteppableClock
from fleet.errors import Conflict, Invalid
from fleet.robots import RobotLease
from missions import commands, dispatch, feedback, recovery, sending, snapshot
from missions.create import create
from missions.lifecycle import ATTEMPT_MOVES, MISSION_MOVES, Cause, move_attempt, move_mission, replay
from missions.models import (
    ATTEMPT_TERMINAL,
    MISSION_TERMINAL,
    Attempt,
    AttemptStatus,
    Mission,
    MissionCreate,
    MissionStatus,
    TaskCreate,
    Transition,
)
from missions.plan import Assignment, Plan
from missions.simulation.night import START
from missions.simulation.place import ground, populate

WHO = "test"
TASKS = 2
SAID = [status for status in OrderStatus if status is not OrderStatus.not_found]
missions = st.integers(0, 2)
answers = st.sampled_from([Accepted(reference="r"), Refused(reason="no"), Unknown(why="lost"), None])


class Books(RuleBasedStateMachine):
    """Three missions and two robots on a real SQLite; every rule is what a process, a robot or a person does."""

    folder: Path
    statuses: set[AttemptStatus]  # that attempts had, in all walks together

    @initialize(approval=st.booleans(), attempts_max=st.integers(1, 3), answer=answers)
    def open(self, approval: bool, attempts_max: int, answer) -> None:
        """A robot has the second mission already, else few walks would come to that."""
        self.clock = SteppableClock(START)
        self.entered = ground(self.folder, self.clock)
        self.ground = self.entered.__enter__()
        self.sequence, self.ended = 0, dict[object, tuple[str, int]]()
        with self.ground.transaction() as session:
            scene = populate(session, robots=2, now=START)
            for number in range(3):
                wanted = MissionCreate(
                    name=f"m{number}",
                    key=f"m{number}",
                    tasks=[TaskCreate(station="gate")] * TASKS,
                    attempts_max=attempts_max,
                    approval_needed=approval and number == 0,
                    preemptible=True,
                )
                create(session, site=scene.site, wanted=wanted, who=WHO)
        self.robots = scene.rows
        self._give(1, 0)
        self._send(answer)

    def teardown(self) -> None:
        if hasattr(self, "entered"):
            self.entered.__exit__(None, None, None)

    def _mission(self, session, number: int) -> Mission:
        return session.exec(select(Mission).where(Mission.key == f"m{number}")).one()

    @rule(number=missions, robot=st.integers(0, 1))
    def is_given(self, number: int, robot: int) -> None:
        """Also to a robot that has something, and also one that waits for nothing: the database is asked, not trusted."""
        self._give(number, robot)

    def _give(self, number: int, robot: int) -> None:
        self._robots_are_heard()
        with self.ground.reading() as session:
            seen = snapshot.take(session)
            mission = self._mission(session, number)
        if mission.id in {wanted.id for wanted in seen.missions}:
            pair = Assignment(mission_id=mission.id, robot_id=self.robots[robot].id)
            dispatch.carry_out(self.ground.transaction, Plan(assignments=(pair,)), seen, who=WHO)

    def _robots_are_heard(self) -> None:
        now = self.clock.now()
        with self.ground.transaction() as session:
            for robot in self.robots:
                idle = Observation(serial_number=robot.serial_number, activity=Activity.idle, observed_at=now)
                states.observe(session, robot, idle, received_at=now)

    @rule(answer=answers)
    def is_sent(self, answer) -> None:
        self._send(answer)

    def _send(self, answer) -> None:
        with self.ground.reading() as session:
            waiting = sending.due(session)
        for due in waiting:
            with self.ground.transaction() as session:
                parcel = sending.begin(session, due, who=WHO)
            if parcel is not None and answer is not None:  # else the process ends here
                for _ in range(2):  # written twice, the second changes nothing
                    with self.ground.transaction() as session:
                        sending.settle(session, parcel, answer, who=WHO, received_at=self.clock.now())

    @rule(pick=st.integers(0, 20), status=st.sampled_from(SAID), done=st.integers(0, TASKS), back=st.integers(-2, 1))
    def robot_says(self, pick: int, status: OrderStatus, done: int, back: int) -> None:
        """Anything of any order that was ever sent, also what is old or contradicts what it said."""
        with self.ground.transaction() as session:
            attempts = session.exec(
                select(Attempt).where(col(Attempt.sent_at).is_not(None)).order_by(Attempt.key)
            ).all()
            if not attempts:
                return
            attempt = attempts[pick % len(attempts)]
            self.sequence += 1
            robot = next(row for row in self.robots if row.id == attempt.robot_id)
            tasks = tuple(TaskReport(position=task, status="succeeded") for task in range(done))
            report = OrderReport(
                key=attempt.key,
                serial_number=robot.serial_number,
                status=status,
                observed_at=self.clock.now(),
                sequence=max(self.sequence + back, 0),
                tasks=tasks,
            )
            feedback.apply(session, robot=robot, report=report, received_at=self.clock.now(), who=WHO)

    @rule(has_order=st.sampled_from([None, False]))
    def robots_are_asked(self, has_order) -> None:
        with self.ground.transaction() as session:
            asked = recovery.questions(session)
        for question in asked:
            unknown = OrderReport(
                key=question.key,
                serial_number=question.serial_number,
                status=OrderStatus.not_found,
                observed_at=self.clock.now(),
            )
            said = Unknown(why="lost") if has_order is None else unknown
            with self.ground.transaction() as session:
                recovery.heard(session, question, said, received_at=self.clock.now(), who=WHO)

    @rule(number=missions, name=st.sampled_from(["cancel", "pause", "resume", "approve", "skip", "abandon"]))
    def person_wants(self, number: int, name: commands.CommandName) -> None:
        before = self._everything()
        try:
            with self.ground.transaction() as session:
                mission = self._mission(session, number)
                ids = {"organisation_id": mission.organisation_id, "mission_id": mission.id}
                commands.command(session, **ids, command=name, who=WHO, why="wanted")
        except (Conflict, Invalid):
            assert self._everything() == before  # refused, and nothing written

    @rule(seconds=st.sampled_from([1.0, 12.0, 45.0, 700.0, -600.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.step(seconds)
        with self.ground.transaction() as session:
            recovery.expire(session, who=WHO)
            recovery.time_out(session, who=WHO)

    @rule(number=missions, to=st.sampled_from(list(MissionStatus)))
    def an_illegal_move_is_refused(self, number: int, to: MissionStatus) -> None:
        before = self._everything()
        with self.ground.reading() as session:
            mission = self._mission(session, number)
        if to in MISSION_MOVES[mission.status]:
            return
        with pytest.raises(Conflict), self.ground.transaction() as session:
            move_mission(session, self._mission(session, number), to, Cause(WHO, "must not be"))
        assert self._everything() == before

    @rule(number=missions)
    @precondition(lambda self: hasattr(self, "ground"))
    def who_read_before_another_wrote_changes_nothing(self, number: int) -> None:
        """Compare-and-set: a row as it was read is written only while it is still so."""
        before = self._everything()
        with self.ground.reading() as session:
            mission = self._mission(session, number)
            attempt = session.exec(
                select(Attempt).where(Attempt.mission_id == mission.id, col(Attempt.finished_at).is_(None))
            ).first()
        stale = attempt or mission
        to = next(iter(sorted((ATTEMPT_MOVES if attempt else MISSION_MOVES)[stale.status])), None)
        if to is None:
            return
        with pytest.raises(Conflict), self.ground.transaction() as session:
            found = session.get_one(type(stale), stale.id)
            set_committed_value(found, "version", found.version - 1)
            (move_attempt if attempt else move_mission)(session, found, to, Cause(WHO, "too late"))
        assert self._everything() == before

    def _everything(self) -> dict[str, list]:
        """All that the books hold, to be compared."""
        names = ("missions", "attempts", "transitions", "outbox", "robot_leases", "changes", "holds", "mission_tasks")
        with self.ground.reading() as session:
            return {name: session.execute(text(f"SELECT * FROM {name}")).all() for name in names}

    @invariant()
    def histories_lead_to_where_the_rows_are(self) -> None:
        if not hasattr(self, "ground"):
            return
        with self.ground.reading() as session:
            rows = [*session.exec(select(Mission)).all(), *session.exec(select(Attempt)).all()]
            for row in rows:
                lines = session.exec(
                    select(Transition).where(Transition.subject_id == row.id).order_by(Transition.version)
                ).all()
                assert replay(lines) == row.status
                assert [line.version for line in lines] == list(range(row.version + 1))
                is_over = row.status in MISSION_TERMINAL | ATTEMPT_TERMINAL
                if row.id in self.ended:
                    assert self.ended[row.id] == (row.status, row.version)  # final is final
                elif is_over:
                    self.ended[row.id] = (row.status, row.version)

    @invariant()
    def a_mission_and_a_robot_have_at_most_one_live_attempt_and_it_holds_the_robot(self) -> None:
        if not hasattr(self, "ground"):
            return
        with self.ground.reading() as session:
            live = session.exec(select(Attempt).where(col(Attempt.finished_at).is_(None))).all()
            leases = session.exec(select(RobotLease)).all()
            owners = {mission.id: mission.status for mission in session.exec(select(Mission)).all()}
        assert len({attempt.mission_id for attempt in live}) == len({attempt.robot_id for attempt in live}) == len(live)
        assert {lease.holder_id for lease in leases} == {str(attempt.id) for attempt in live}
        under_way = {MissionStatus.assigned, MissionStatus.running, MissionStatus.paused}
        assert {attempt.mission_id for attempt in live} == {
            key for key, status in owners.items() if status in under_way
        }
        self.statuses |= {attempt.status for attempt in live}


@pytest.mark.parametrize("examples", [12, pytest.param(300, marks=pytest.mark.proof)])
def test_whatever_happens_in_any_order_the_books_stay_right(tmp_path, examples: int):
    machine = type("BooksHere", (Books,), {"folder": tmp_path, "statuses": set()})
    enough = settings(
        max_examples=examples, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(machine, settings=enough)
    assert machine.statuses & {AttemptStatus.dispatched, AttemptStatus.accepted}  # else it looked at nothing
