"""What an alert on a live attempt says, and when: pure, by hand-made attempts."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from fleet.robots import Robot
from missions.alerts import GRACE_S, OBEYS_S, OVERDUE, SILENT, UNHEEDED, Live, reasons
from missions.models import Attempt, AttemptStatus, Desired, Mission, MissionStatus, Recall

NOW = datetime(2026, 3, 1, 22, 30, tzinfo=UTC)
KEY = UUID(int=1)
ALLOWED_S = 100.0


@pytest.fixture
def live():
    """An attempt of mission 'round' on amr-01, `quiet_s` after it last moved."""

    def make(
        status: AttemptStatus,
        *,
        desired: Desired = Desired.run,
        quiet_s: float = 0.0,
        wished_s: float = 0.0,
        heard_at: datetime | None = NOW,
        recalled_s: float | None = None,
    ) -> Live:
        owned = {"organisation_id": KEY, "created_at": NOW - timedelta(hours=1)}
        robot = Robot(**owned, site_id=KEY, account_id=KEY, name="amr-01", serial_number="SN-1")
        mission = Mission(
            **owned,
            site_id=KEY,
            name="round",
            key="round",
            requested_by="test",
            status=MissionStatus.running,
            desired=desired,
            updated_at=NOW - timedelta(seconds=wished_s),
        )
        attempt = Attempt(
            **owned,
            mission_id=mission.id,
            robot_id=robot.id,
            number=1,
            key="k",
            fence=1,
            status=status,
            heard_at=heard_at,
            recall=None if recalled_s is None else Recall.preempted,
            recalled_at=None if recalled_s is None else NOW - timedelta(seconds=recalled_s),
        )
        return Live(robot, mission, attempt, ALLOWED_S, NOW - timedelta(seconds=quiet_s))

    return make


@pytest.fixture
def rules():
    """The rules by which a person must look at the attempt now."""
    return lambda found: [rule for rule, _ in reasons(found, NOW)]


LONG_S = ALLOWED_S + GRACE_S + 1


@pytest.mark.parametrize("status", [AttemptStatus.dispatched, AttemptStatus.accepted, AttemptStatus.running])
def test_an_order_is_overdue_after_the_times_of_its_tasks_and_the_grace(live, rules, status):
    assert rules(live(status, quiet_s=LONG_S - 2)) == []
    assert rules(live(status, quiet_s=LONG_S)) == [OVERDUE]


def test_a_paused_robot_is_never_overdue(live, rules):
    assert rules(live(AttemptStatus.paused, quiet_s=86_400)) == []
    assert rules(live(AttemptStatus.running, desired=Desired.pause, quiet_s=86_400)) == []


@pytest.mark.parametrize("desired", list(Desired))
def test_a_lost_robot_is_silent_whatever_is_wanted_of_it_and_nothing_else_is_said(live, rules, desired):
    assert rules(live(AttemptStatus.lost, desired=desired, quiet_s=86_400, wished_s=86_400)) == [SILENT]


def test_a_cancel_is_unheeded_after_a_minute_and_the_order_is_then_not_called_overdue_too(live, rules):
    assert rules(live(AttemptStatus.running, desired=Desired.cancel, wished_s=OBEYS_S, quiet_s=86_400)) == []
    assert rules(live(AttemptStatus.running, desired=Desired.cancel, wished_s=OBEYS_S + 1, quiet_s=86_400)) == [
        UNHEEDED
    ]


def test_an_order_that_is_taken_back_and_does_not_end_is_unheeded_after_a_minute_and_not_overdue(live, rules):
    assert rules(live(AttemptStatus.running, recalled_s=OBEYS_S, quiet_s=86_400)) == []
    assert rules(live(AttemptStatus.running, recalled_s=OBEYS_S + 1, quiet_s=86_400)) == [UNHEEDED]
    twice = live(AttemptStatus.running, desired=Desired.cancel, wished_s=1, recalled_s=120)
    assert rules(twice) == [UNHEEDED]
    assert "told at 22:28 UTC to end mission 'round'" in next(reasons(twice, NOW))[1]


def test_a_silent_robot_is_told_of_with_the_hour_it_was_last_heard(live):
    ((_, message),) = reasons(live(AttemptStatus.lost, heard_at=NOW - timedelta(minutes=5)), NOW)
    assert message == (
        "amr-01: nothing was heard since 22:25 UTC, and it has mission 'round'. "
        "Look where it is; it is given nothing else until it answers, or until you abandon the mission."
    )


def test_a_robot_that_never_answered_is_told_of_with_the_hour_of_its_order(live):
    ((_, message),) = reasons(live(AttemptStatus.lost, heard_at=None), NOW)
    assert "nothing was heard of the order given to it at 21:30 UTC" in message


def test_an_overdue_order_is_told_of_with_its_times_and_what_to_do(live):
    ((_, message),) = reasons(live(AttemptStatus.running, quiet_s=600), NOW)
    assert message == (
        "amr-01: mission 'round' is RUNNING since 22:20 UTC, longer than the 100 s that its tasks may take. "
        "Look at the robot, or cancel the mission."
    )


def test_an_unheeded_cancel_is_told_of_with_what_to_do_at_the_robot(live):
    found = live(AttemptStatus.running, desired=Desired.cancel, wished_s=120)
    ((_, message),) = reasons(found, NOW)
    assert message == (
        "amr-01: told at 22:28 UTC to end mission 'round', and it has not. Stop it at its side; "
        "if it does not say so then, abandon the mission."
    )
