"""Schedules and holds from Prefect's forms, on a real server; no dispatcher runs, so nothing of them starts."""

from uuid import UUID

import pytest
from sqlmodel import select

from missions.holds import Hold, HoldScope, Meanwhile
from missions.schedules.models import Schedule, ScheduleStatus

pytestmark = [pytest.mark.serial, pytest.mark.timeout(900)]
MISSION = {"name": "Look at the press", "tasks": [{"kind": "go_to", "station": "press-1"}]}
WEEKDAYS = {"rule": "0 6 * * 1-5", "begins": "2026-03-01T00:00:00"}


@pytest.fixture
def schedule(prefect):
    """The schedule that a run made."""

    def read(run_id: str) -> Schedule:
        with prefect.runtime.reading() as session:
            return session.exec(select(Schedule).where(Schedule.key == run_id)).one()

    return read


def test_a_schedule_made_paused_and_revised_by_forms_tells_each_time_when_it_comes_next(prefect, schedule):
    made = prefect.press("create-schedule", name="Morning look", when=WEEKDAYS, missions=[MISSION])
    assert prefect.state(made)["name"] == "Created"
    shown = prefect.artifacts(made)["schedule"]
    assert shown.count("06:00:00 CE") == 5  # CET or CEST: the site's own time zone
    assert "Europe/Berlin" in shown
    paused = prefect.press("control-schedule", schedule="Morning look", command="pause")
    assert prefect.state(paused)["name"] == "Paused"
    assert "Nothing: it is paused" in prefect.artifacts(paused)["schedule"]
    assert schedule(made).status is ScheduleStatus.paused
    told = prefect.press("control-schedule", schedule=str(schedule(made).id), command="revise", rule="30 7 * * *")
    assert prefect.state(told)["name"] == "Revised"
    assert (schedule(made).revision, schedule(made).requested_by) == (2, "prefect:create-schedule")


def test_a_robot_site_or_fleet_is_held_and_released_from_the_form(prefect, demo_site):
    held = prefect.press("hold", scope="site", site="north-plant", meanwhile="pause", reason="fire drill")
    assert prefect.state(held)["name"] == "Held"
    assert "fire drill" in prefect.artifacts(held)["holds"]
    with prefect.runtime.reading() as session:
        row = session.exec(select(Hold).where(Hold.key == held)).one()
    assert (row.scope, row.meanwhile, row.who, row.organisation_id) == (
        HoldScope.site,
        Meanwhile.pause,
        "prefect:hold",
        demo_site,
    )
    assert row.released_at is None
    released = prefect.press("release-hold", scope="site", site="north-plant")
    assert prefect.state(released)["name"] == "Released"
    again = prefect.press("release-hold", hold_id=str(row.id))
    assert prefect.state(again)["name"] == "Nothing held"
    with prefect.runtime.reading() as session:
        assert session.get_one(Hold, UUID(str(row.id))).released_by == "prefect:release-hold"
