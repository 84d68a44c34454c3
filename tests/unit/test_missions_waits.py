"""Why a mission waits, in words, on snapshots small enough to read."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.adapter import Activity
from missions.plan import Candidate, Snapshot, Wanted, plan, reason_to_refuse
from missions.waiting import reason_to_wait

NOW = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
ORGANISATION, SITE = UUID(int=100), UUID(int=200)
MISSION = Wanted(
    id=UUID(int=1), organisation_id=ORGANISATION, site_id=SITE, name="m", version=1, priority=0, created_at=NOW
)
ROBOT = Candidate(
    id=UUID(int=1001),
    organisation_id=ORGANISATION,
    site_id=SITE,
    name="amr-01",
    capabilities=frozenset({"drive"}),
    is_held=False,
    activity=Activity.idle,
    heard_at=NOW,
    battery_fraction=0.8,
    battery_minimum_fraction=0.2,
)
BUSY, IDLE = {"is_held": True}, {}


@pytest.fixture
def waits():
    """Why the mission waits with robots amr-01, amr-02 … that differ from an idle one by this."""

    def tell(*robots: dict[str, object], **news: object) -> str:
        fleet = [
            ROBOT.model_copy(update={"id": UUID(int=1000 + number), "name": f"amr-{number:02}"} | differs)
            for number, differs in enumerate(robots, start=1)
        ]
        return reason_to_wait(MISSION.model_copy(update=news), fleet[::-1], NOW)

    return tell


@pytest.mark.parametrize(
    ("differs", "occupation"),
    [
        (BUSY, "busy"),
        ({"activity": Activity.executing}, "busy"),
        ({"activity": Activity.paused}, "paused"),
        ({"activity": Activity.charging, "battery_fraction": 0.34}, "charging (34%)"),
        ({"activity": Activity.charging, "battery_fraction": None}, "charging"),
        ({"activity": Activity.maintenance}, "in maintenance"),
        ({"activity": Activity.error}, "in error"),
        ({"activity": Activity.offline}, "offline"),
        ({"activity": Activity.offline, "heard_at": None}, "not heard of yet"),
        ({"heard_at": NOW - timedelta(seconds=42)}, "silent (for 42 s)"),
        ({"is_held": True, "heard_at": NOW - timedelta(minutes=7)}, "silent (for 7 min)"),
        ({"heard_at": NOW - timedelta(days=2)}, "silent (for 48 h)"),
        ({"battery_fraction": 0.196}, "low on battery (19.6%, it needs 20%)"),
        ({"held_by": "held by user:ops (a wheel squeaks)"}, "held by user:ops (a wheel squeaks)"),
        (
            {"activity": Activity.executing, "foreign_order": "by-hand-7"},
            "busy (with by-hand-7, which was not ordered here)",
        ),
    ],
)
def test_it_is_said_what_keeps_a_robot(waits, differs, occupation):
    assert waits(differs) == f"No robot is free: amr-01 is {occupation}."
    assert waits(differs, pinned_robot_id=UUID(int=1001)) == f"Only amr-01 may do it, and it is {occupation}."


def test_three_robots_are_named_in_order_and_the_others_counted(waits):
    charging = {"activity": Activity.charging, "battery_fraction": 0.5}
    said = waits(BUSY, charging, BUSY, BUSY, charging, BUSY)
    assert said == (
        "No robot is free: amr-01 is busy, amr-02 is charging (50%), amr-03 is busy; of the others 2 busy, 1 charging."
    )


def test_a_mission_whose_time_has_not_come_says_when(waits):
    ready_at = NOW + timedelta(minutes=30)
    assert waits(IDLE, ready_at=ready_at) == "It is too early until 2026-03-01 22:30:00 UTC."


def test_a_mission_whose_site_is_closed_says_until_when_and_for_what(waits):
    closed = {"closed_until": NOW + timedelta(hours=7), "closed_for": "night rest"}
    assert waits(IDLE, **closed) == "Nothing starts at its site until 2026-03-02 05:00:00 UTC (night rest)."


def test_a_mission_whose_time_is_over_says_since_when(waits):
    not_after_at = NOW - timedelta(seconds=1)
    assert waits(IDLE, not_after_at=not_after_at) == (
        "It is too late since 2026-03-01 21:59:59 UTC; it is about to expire."
    )


def test_with_a_free_robot_only_more_urgent_missions_are_in_the_way(waits):
    assert waits(BUSY, IDLE) == "amr-02 is free, and the most urgent missions go first."
    assert waits(*[IDLE] * 5) == "amr-01, amr-02, amr-03 and 2 more are free, and the most urgent missions go first."


def test_a_free_robot_does_not_help_a_mission_for_another(waits):
    assert waits(BUSY, IDLE, pinned_robot_id=UUID(int=1001)) == "Only amr-01 may do it, and it is busy."


def test_robots_that_do_not_fit_are_not_spoken_of(waits):
    lifting = {"capabilities": frozenset({"drive", "lift"}), "is_held": True}
    assert waits(IDLE, lifting, required_capabilities=frozenset({"lift"})) == "No robot is free: amr-02 is busy."


def test_robots_of_another_site_are_told_as_elsewhere(waits):
    assert waits({"site_id": UUID(int=201)}) == "No robot that can do it is at its site (elsewhere: amr-01)."


def test_without_robots_it_waits_for_the_first(waits):
    assert waits() == "The organisation has no robots yet."
    assert waits({"organisation_id": UUID(int=9)}) == "The organisation has no robots yet."


def test_what_is_about_to_be_refused_says_so_in_the_words_of_the_refusal(waits):
    gas = frozenset({"inspect_gas"})
    mission = MISSION.model_copy(update={"required_capabilities": gas})
    assert waits(IDLE, required_capabilities=gas) == reason_to_refuse(mission, [ROBOT]) != ""


@given(
    st.builds(
        dict,
        is_held=st.booleans(),
        activity=st.sampled_from(list(Activity)),
        heard_at=st.none() | st.integers(-(10**6), 10**6).map(lambda seconds: NOW + timedelta(seconds=seconds)),
        battery_fraction=st.none() | st.floats(0, 1),
    )
)
@settings(deadline=None)
def test_a_lone_robot_is_called_free_exactly_when_the_planner_takes_it(differs: dict[str, object]):
    robot = ROBOT.model_copy(update=differs)
    planned = plan(Snapshot(now=NOW, missions=(MISSION,), robots=(robot,))).assignments
    said = reason_to_wait(MISSION, [robot], NOW)
    assert said.startswith("amr-01 is free") == bool(planned), said
    assert said.endswith(".")
