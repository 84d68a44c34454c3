"""Whoever breaks a rule of dispatch is seen by the fault world: known mistakes, planted one at a time.

Every night is lived through twice, without the mistake and with it: the first must be sound, the second must not.
"""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest
from sqlmodel import col, select

from fleet.clock import database_now
from fleet.robots import Robot
from missions import feedback, leases, outbox, recovery
from missions.lifecycle import Cause
from missions.live import attempt_now, lock_mission
from missions.models import Attempt, AttemptStatus
from missions.outcome import advance
from missions.scripted import Faults, ScriptedRobots
from missions.simulation.night import Trouble, live_through
from missions.simulation.tally import Tally

NIGHTS, SOUND_NIGHTS = 6, 2
Nights = Callable[..., Counter]

# Robots that know only their newest order, and copies of requests that come late: only the fence keeps old ones away.
FORGETFUL = Trouble(
    Faults(remembers_orders=False, remembers_cancels=False, request_repeated=0.5, late_s=14, task_s=2), wish=1.0
)
CRASHES_WHILE_GIVING = Trouble(Faults(answer_lost=0.1), crashes=Counter({"in carry out": 12}), wish=0.6)
SILENT = Trouble(Faults(request_lost=0.2, request_late=0.2, answer_lost=0.3), wish=0.6)
SLOW_POST = Trouble(Faults(order_fails=0.4, report_late=0.5, report_repeated=0.5, late_s=14, task_s=2), wish=0.6)
LONG_WORK = Trouble(Faults(task_s=20.0), missions=4)


@pytest.fixture
def nights(tmp_path_factory) -> Nights:
    """What went wrong in the first night in which anything did, and nothing if all were sound."""
    folder = tmp_path_factory.mktemp("nights")

    def run(trouble: Trouble, count: int = NIGHTS) -> Counter:
        for seed in range(count):
            tally: Tally = asyncio.run(live_through(seed, trouble, folder))
            if not tally.is_sound:
                break
        return Counter(tally.wrongs)

    return run


def test_a_robot_that_takes_orders_below_its_fence(nights, monkeypatch):
    assert nights(FORGETFUL, SOUND_NIGHTS) == Counter()
    receive = ScriptedRobots.receive

    def receive_whatever(self: ScriptedRobots, order) -> object:
        self.robots[order.serial_number].fence = 0
        return receive(self, order)

    monkeypatch.setattr(ScriptedRobots, "receive", receive_whatever)
    wrong = nights(FORGETFUL)
    assert wrong["doubled"] + wrong["overlapping"] > 0


def test_a_dispatcher_that_raises_no_fence(nights, monkeypatch):
    take = leases.take
    monkeypatch.setattr(leases, "take", lambda *asked, **known: dict.fromkeys(take(*asked, **known), 1))
    wrong = nights(FORGETFUL)
    assert wrong["doubled"] + wrong["overlapping"] > 0


def test_an_order_that_is_sent_before_its_commit(nights, monkeypatch):
    assert nights(CRASHES_WHILE_GIVING, SOUND_NIGHTS) == Counter()
    enqueue_first, open_robots, robots = outbox.enqueue_first, ScriptedRobots.__init__, []

    def remember(self: ScriptedRobots, *args, **named) -> None:
        open_robots(self, *args, **named)
        robots[:] = [self]

    def send_first(session, attempt, order) -> object:
        robots[0].receive(order)
        return enqueue_first(session, attempt, order)

    monkeypatch.setattr(ScriptedRobots, "__init__", remember)
    monkeypatch.setattr(outbox, "enqueue_first", send_first)
    assert nights(CRASHES_WHILE_GIVING).total() > 0


def test_an_old_report_that_is_taken_for_one_of_the_new_attempt(nights, monkeypatch):
    assert nights(SLOW_POST, SOUND_NIGHTS) == Counter()
    apply = feedback.apply

    def mistake(session, *, robot, report, received_at, who) -> None:
        known = session.exec(select(Attempt).where(Attempt.key == report.key)).first()
        now = select(Attempt, Robot).join(Robot, col(Robot.id) == Attempt.robot_id).where(Attempt.finished_at == None)  # noqa: E711
        found = known and session.exec(now.where(Attempt.mission_id == known.mission_id)).first()
        if found:
            robot, report = found[1], report.model_copy(update={"key": found[0].key})
        apply(session, robot=robot, report=report, received_at=received_at, who=who)

    monkeypatch.setattr(feedback, "apply", mistake)
    assert nights(SLOW_POST).total() > 0


def test_silence_that_is_taken_for_failure(nights, monkeypatch):
    assert nights(SILENT, SOUND_NIGHTS) == Counter()

    def give_up(session, message, why: str) -> None:
        attempt = attempt_now(session, message.attempt_id)
        mission = lock_mission(session, attempt.mission_id)
        advance(session, mission, attempt, AttemptStatus.failed, Cause("test", why))

    monkeypatch.setattr(outbox, "postpone", give_up)
    wrong = nights(SILENT)
    assert wrong["doubled"] + wrong["overlapping"] + wrong["disagreeing"] > 0


def test_a_lease_that_the_clock_ends(nights, monkeypatch):
    assert nights(LONG_WORK, SOUND_NIGHTS) == Counter()
    time_out = recovery.time_out

    def end_leases(session, *, who: str) -> int:
        now = database_now(session)
        for attempt in session.exec(select(Attempt).where(Attempt.finished_at == None)).all():  # noqa: E711
            if (now - attempt.created_at).total_seconds() > 20:
                mission = lock_mission(session, attempt.mission_id)
                advance(session, mission, attempt_now(session, attempt.id), AttemptStatus.failed, Cause(who, "run out"))
        return time_out(session, who=who)

    monkeypatch.setattr(recovery, "time_out", end_leases)
    wrong = nights(LONG_WORK)
    assert wrong["doubled"] + wrong["overlapping"] > 0
