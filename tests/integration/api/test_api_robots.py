"""Robots over HTTP: their newest state, their newest health and their open alerts."""

from datetime import timedelta

import pytest

from fleet.adapter import Activity, Observation
from fleet.events import Alert
from fleet.runtime import Runtime
from fleet.states import observe
from ml.models import RobotHealth


@pytest.fixture
def shown(customer):
    """The robots by name, as the customer sees them."""
    return lambda: {robot["name"]: robot for robot in customer.get("/v1/robots").json()["items"]}


def test_a_robot_that_never_reported_is_shown_without_state(shown, world):
    robots = shown()
    assert set(robots) == {"amr-01", "amr-02"}
    assert (robots["amr-01"]["state"], robots["amr-01"]["health"], robots["amr-01"]["alerts"]) == (None, None, [])
    assert robots["amr-01"]["serial_number"] == "SN-amr-01"


def test_the_newest_state_is_shown_with_both_times(runtime: Runtime, world, shown, clock):
    seen = Observation(
        serial_number="SN-amr-01",
        observed_at=clock.now() - timedelta(seconds=2),
        activity=Activity.executing,
        battery_fraction=0.5,
        x_m=3.0,
    )
    with runtime.transaction() as session:
        observe(session, world.robots["amr-01"], seen, received_at=clock.now())
    state = shown()["amr-01"]["state"]
    assert (state["activity"], state["battery_fraction"], state["x_m"]) == ("executing", 0.5, 3.0)
    assert (state["observed_at"], state["received_at"]) == ("2026-03-01T21:59:58Z", "2026-03-01T22:00:00Z")


def test_of_several_scores_the_newest_is_shown(runtime: Runtime, world, shown, clock):
    with runtime.transaction() as session:
        for hours, age_s in [(90.0, 60), (40.0, 0), (70.0, 30)]:
            session.add(
                RobotHealth(
                    organisation_id=world.organisation.id,
                    robot_id=world.robots["amr-02"].id,
                    as_of=clock.now() - timedelta(seconds=age_s),
                    scored_at=clock.now() - timedelta(seconds=age_s),
                    rul_hours=hours,
                    rul_lower_hours=hours - 5,
                    rul_upper_hours=hours + 5,
                    model_name="drive-rul",
                    model_version="1",
                    feature_hash="f",
                )
            )
    assert shown()["amr-02"]["health"]["rul_hours"] == 40.0
    assert shown()["amr-01"]["health"] is None


def test_only_open_alerts_are_shown_and_only_at_their_robot(runtime: Runtime, world, shown, clock):
    def alert(name: str, rule: str, closed_at) -> Alert:
        return Alert(
            organisation_id=world.organisation.id,
            robot_id=world.robots[name].id,
            rule=rule,
            message=f"{name}: {rule}",
            open_key=None if closed_at else f"{name}/{rule}",
            opened_at=clock.now(),
            closed_at=closed_at,
        )

    with runtime.transaction() as session:
        session.add_all([alert("amr-01", "battery_low", None), alert("amr-01", "component_failed/lidar", clock.now())])
    robots = shown()
    assert [one["rule"] for one in robots["amr-01"]["alerts"]] == ["battery_low"]
    assert robots["amr-02"]["alerts"] == []
