"""What goes on when nothing is heard: deadlines, asking the robots themselves, pursuing what we want of them.

None of it rests on anyone else's being there: neither webhooks nor polling nor Prefect.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import and_, func, or_
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from fleet.accounts import ManufacturerAccount
from fleet.adapter import OrderReport, OrderStatus, Unknown
from fleet.clock import database_now, has_come
from fleet.database import claim
from fleet.robots import COMMANDED_OVER, Robot
from missions import feedback, outbox, snapshot
from missions.lifecycle import Cause, move_mission
from missions.live import attempt_now, live_attempt, lock_mission
from missions.models import (
    ATTEMPT_TERMINAL,
    Attempt,
    AttemptStatus,
    Command,
    Desired,
    Mission,
    MissionStatus,
    OutboxStatus,
    Recall,
    Transition,
)
from missions.outcome import advance, call_back, end_unheard
from missions.overdue import Running, is_any_overdue, moved_at, reason_to_end, running_attempts

ASK_AFTER_S = 5.0  # a live order of which nothing was heard for so long is asked about
LOST_AFTER_S = 30.0
TOLD_TIMES = 4  # so often told to end an order, and every time without it, a robot will not get it any more
LATE_S = 30.0  # how long after it was sent an order, or a command, may still turn up at the robot
NOT_STARTED = (MissionStatus.created, MissionStatus.awaiting_approval, MissionStatus.scheduled)
UNDER_WAY = (MissionStatus.assigned, MissionStatus.running, MissionStatus.paused)


@dataclass(frozen=True)
class Question:
    """A live attempt to ask its robot about, with all that is needed to ask without the database."""

    attempt_id: UUID
    mission_id: UUID
    robot_id: UUID
    account: ManufacturerAccount
    serial_number: str
    key: str
    version: int
    sequence: int
    asked_at: datetime


def is_any_late(session: Session) -> bool:
    """Whether `expire` or `time_out` may have something to end; only reads, so that they need not write in vain."""
    now = database_now(session)
    late = (_unstarted(now), _at_deadline(now))
    return any(session.exec(query.limit(1)).first() is not None for query in late) or is_any_overdue(session, now)


def expire(session: Session, *, who: str, limit: int = 200) -> int:
    """End what is too late: not started by `not_after_at`, or not done by `deadline_at`; gives the number of missions.

    One that is under way at its deadline is taken back from its robot, and EXPIRED when that says so.
    """
    now = database_now(session)
    missions = claim(session, _unstarted(now).execution_options(populate_existing=True), limit=limit)
    waited_for = snapshot.waited_for(session, missions) if missions else {}
    for mission in missions:
        why = f"{_lateness(mission, now)}. {waited_for.get(mission.id, '')}".strip()
        move_mission(session, mission, MissionStatus.expired, Cause(who, why))
    return len(missions) + _end_at_deadline(session, now, who, limit)


def _unstarted(now: datetime) -> SelectOfScalar[Mission]:
    # What began in time and waits for another robot is not too late to start.
    began = select(Attempt.id).where(Attempt.mission_id == Mission.id, col(Attempt.started_at).is_not(None))
    is_unstarted = and_(col(Mission.not_after_at) < now, ~began.correlate(Mission).exists())
    is_late = or_(is_unstarted, col(Mission.deadline_at) < now)
    return select(Mission).where(col(Mission.status).in_(NOT_STARTED), is_late).order_by(col(Mission.id))


def _lateness(mission: Mission, now: datetime) -> str:
    if mission.deadline_at is not None and mission.deadline_at < now:
        return f"not done by {mission.deadline_at:%Y-%m-%d %H:%M} UTC; retry makes a new one without that limit"
    return f"not started by {mission.not_after_at:%Y-%m-%d %H:%M} UTC; retry makes a new one without that limit"


def _end_at_deadline(session: Session, now: datetime, who: str, limit: int) -> int:
    missions = claim(session, _at_deadline(now).execution_options(populate_existing=True), limit=limit)
    for mission in missions:
        attempt = live_attempt(session, mission.id)
        if attempt is not None:
            call_back(session, mission, attempt, Recall.deadline, Cause(who, _lateness(mission, now)))
    return len(missions)


def _at_deadline(now: datetime) -> SelectOfScalar[Mission]:
    mine = (col(Attempt.mission_id) == Mission.id, col(Attempt.finished_at).is_(None), col(Attempt.recall).is_(None))
    return (
        select(Mission)
        .where(col(Mission.status).in_(UNDER_WAY), col(Mission.deadline_at) < now, Mission.desired != Desired.cancel)
        .where(select(Attempt.id).where(*mine).correlate(Mission).exists())
        .order_by(col(Mission.id))
    )


def time_out(session: Session, *, who: str) -> int:
    """Take back the attempts whose task, or the whole of which, takes longer than it may; gives their number.

    Each counts as a failure, and its mission goes on by its retry policy. One that holds, or of which nothing is heard,
    is not timed.
    """
    now = database_now(session)
    ended = 0
    # In one order of missions, so that two who do this at once do not wait for each other.
    for running in sorted(running_attempts(session, now), key=lambda running: running.mission_id):
        why = reason_to_end(running, now)
        if why:
            ended += _end_running(session, running, Cause(who, why))
    return ended


def _end_running(session: Session, running: Running, cause: Cause) -> bool:
    mission = lock_mission(session, running.mission_id)
    attempt = attempt_now(session, running.attempt_id)
    if attempt.status is not AttemptStatus.running or mission.desired is not Desired.run:
        return False  # it has moved since it was read
    return call_back(session, mission, attempt, Recall.timeout, cause)


def questions(
    session: Session,
    *,
    busy: Collection[UUID] = (),
    crowded: Collection[UUID] = (),
    limit: int = 64,
    unheard_since: datetime | None = None,
    has_room: Callable[[UUID, UUID], bool] = lambda _robot, _account: True,
) -> list[Question]:
    """Live attempts to ask about now, longest unheard first; the same is not given again for ASK_AFTER_S.

    Those of which nothing was heard since `unheard_since`, when the asking process began, count as quiet at once.

    Those are the quiet ones, and those that do not yet do what we want of them, however much they talk. Robots in
    `busy` and those of accounts in `crowded` are asked later, and so are those for whose robot (first) of whose account
    (second) there is no room: they do not count as asked.
    """
    now = database_now(session)
    query = _quiet(_quiet_since(now, unheard_since), busy, crowded)
    asked = []
    for attempt in claim(session, query, limit=limit):
        question = _question(session, attempt, now)
        if has_room(question.robot_id, question.account.id):
            attempt.asked_at = now
            asked.append(question)
    return asked


def is_any_to_ask(
    session: Session, *, busy: Collection[UUID], crowded: Collection[UUID], unheard_since: datetime | None
) -> bool:
    """Whether `questions` may give any; only reads."""
    now = database_now(session)
    query = _quiet(_quiet_since(now, unheard_since), busy, crowded)
    return session.exec(query.limit(1)).first() is not None


def _quiet_since(now: datetime, unheard_since: datetime | None) -> datetime:
    since = now - timedelta(seconds=ASK_AFTER_S)
    return max(since, unheard_since) if unheard_since is not None and unheard_since <= now else since


def _quiet(quiet_since: datetime, busy: Collection[UUID], crowded: Collection[UUID]) -> SelectOfScalar[Attempt]:
    is_quiet = has_come(func.coalesce(Attempt.heard_at, Attempt.sent_at), quiet_since)
    unwilling = select(Mission.id).where(Mission.desired != Desired.run, col(Mission.id) == Attempt.mission_id)
    waiting = select(Robot.id).where(COMMANDED_OVER.in_(crowded))
    is_unwilling = or_(
        unwilling.correlate(Attempt).exists(),
        col(Attempt.status) == AttemptStatus.paused,
        col(Attempt.recall).is_not(None),
    )
    return (
        select(Attempt)
        .where(col(Attempt.finished_at).is_(None), Attempt.status != AttemptStatus.prepared)
        .where(col(Attempt.robot_id).not_in(busy), col(Attempt.robot_id).not_in(waiting))
        .where(or_(is_quiet, is_unwilling))
        .where(has_come(col(Attempt.asked_at), quiet_since))
        .order_by(func.coalesce(Attempt.heard_at, Attempt.sent_at), col(Attempt.id))
    )


def _question(session: Session, attempt: Attempt, now: datetime) -> Question:
    robot = session.get_one(Robot, attempt.robot_id)
    return Question(
        attempt_id=attempt.id,
        mission_id=attempt.mission_id,
        robot_id=robot.id,
        account=session.get_one(ManufacturerAccount, robot.commanded_over),
        serial_number=robot.address,
        key=attempt.key,
        version=attempt.version,
        sequence=attempt.report_sequence,
        asked_at=now,
    )


def heard(
    session: Session, question: Question, said: OrderReport | Unknown, *, received_at: datetime, who: str
) -> None:
    """Apply what the robot answered, then pursue what we want of it; applied twice, the second changes nothing."""
    mission = lock_mission(session, question.mission_id)
    attempt = attempt_now(session, question.attempt_id)
    if attempt.status in ATTEMPT_TERMINAL:
        return
    said = feedback.sound(said, question.key)
    if isinstance(said, Unknown):
        _note_silence(session, mission, attempt, Cause(who, f"nothing heard: {said.why}"))
    elif said.status is OrderStatus.not_found:
        _note_missing(session, mission, attempt, question, who)
    else:
        robot = session.get_one(Robot, question.robot_id)
        feedback.restart(session, attempt, said, known_before=question.sequence)
        feedback.apply(session, robot=robot, report=said, received_at=received_at, who=who)
    _pursue(session, mission, attempt)


def _note_silence(session: Session, mission: Mission, attempt: Attempt, cause: Cause) -> None:
    # Not since it was last sent: an order that is sent again and again in vain would never count as lost.
    last = attempt.heard_at or attempt.created_at
    # Either way, for the clock may have been set back since.
    if abs((database_now(session) - last).total_seconds()) > LOST_AFTER_S:
        advance(session, mission, attempt, AttemptStatus.lost, cause)


def _note_missing(session: Session, mission: Mission, attempt: Attempt, question: Question, who: str) -> None:
    submit = outbox.newest(session, attempt, Command.submit)
    if submit is None or attempt.version != question.version or submit.claimed_until is not None:
        return  # the answer is older than what we know, or the order is on its way
    if submit.status is OutboxStatus.pending:
        outbox.hasten(session, attempt)
    elif submit.status is OutboxStatus.done:
        why = "the robot no longer knows the order it had"
        end_unheard(session, mission, attempt, Cause(who, why, {"asked_at": str(question.asked_at)}))
    elif _cannot_turn_up(session, attempt):
        why = "the robot never had the order"
        advance(session, mission, attempt, AttemptStatus.canceled, Cause(who, why))


def _cannot_turn_up(session: Session, attempt: Attempt) -> bool:
    cancel = outbox.newest(session, attempt, Command.cancel)
    if cancel is None or cancel.status is not OutboxStatus.done:
        return False
    since_s = (database_now(session) - (attempt.sent_at or attempt.created_at)).total_seconds()
    if since_s < 0:  # the clock was set back since: what was told counts, PURSUE_S apart
        return cancel.number >= TOLD_TIMES
    return since_s > LATE_S


def _pursue(session: Session, mission: Mission, attempt: Attempt) -> None:
    if attempt.status in ATTEMPT_TERMINAL:
        return
    session.flush()
    if mission.desired is Desired.cancel or attempt.recall is not None:
        outbox.pursue(session, attempt, Command.cancel)
    elif mission.desired is Desired.pause and attempt.status in {AttemptStatus.accepted, AttemptStatus.running}:
        outbox.pursue(session, attempt, Command.pause)
    elif mission.desired is Desired.run and attempt.status is AttemptStatus.paused and _is_to_go_on(session, attempt):
        outbox.pursue(session, attempt, Command.resume)


def _is_to_go_on(session: Session, attempt: Attempt) -> bool:
    """Whether it was told to go on and has not since; one that went on and was then paused at its side is left alone."""
    told = outbox.newest(session, attempt, Command.resume)
    if told is None:
        return False
    mine = (Transition.subject == "attempt", Transition.subject_id == attempt.id)
    goes_on = (Transition.to_status == AttemptStatus.running.value, Transition.from_status != Transition.to_status)
    went_on = select(Transition.id).where(*mine, *goes_on, col(Transition.at) > told.created_at).limit(1)
    return session.exec(went_on).first() is None or _is_held_by_late_pause(session, attempt)


def _is_held_by_late_pause(session: Session, attempt: Attempt) -> bool:
    """Whether it may hold because of a pause of ours that came after the resume.

    One that was on its way when it was given up may, and so may one that was sent again: the answer to one copy says
    nothing of the others.
    """
    told = outbox.told(session, attempt, {Command.pause, Command.resume})
    resumed = [
        next((later.created_at for later in told[number:] if later.command is Command.resume), None)
        for number, message in enumerate(told)
        if message.command is Command.pause and message.tries > (0 if message.status is OutboxStatus.dropped else 1)
    ]
    held_at = moved_at(session, [attempt.id], AttemptStatus.paused).get(attempt.id)
    late = timedelta(seconds=LATE_S)
    return held_at is not None and any(at is not None and held_at <= at + late for at in resumed)
