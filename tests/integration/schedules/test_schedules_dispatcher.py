"""The dispatcher fires what is due, and nothing starts at a site that is closed."""

from datetime import UTC, datetime

from missions.board import mission_view
from missions.create import create
from missions.models import MissionCreate
from orchestration.chores import Chores


def test_the_dispatcher_fires_schedules_among_its_chores(timetable):
    schedule = timetable.create()
    timetable.clock.step(3600)
    assert Chores(timetable.runtime).do()
    assert timetable.said(schedule) == ["23:00 fired"]


def test_a_mission_asked_for_in_a_blackout_waits_and_says_until_when(timetable):
    timetable.blackout(begins="2026-03-01T22:30:00", ends="2026-03-02T00:30:00")
    wanted = MissionCreate.model_validate({"name": "m", "key": "m", "tasks": [{"station": "gate"}]})
    with timetable.runtime.transaction() as session:
        mission = create(session, site=timetable.world.site, wanted=wanted, who="user:ops")
    with timetable.runtime.reading() as session:
        view = mission_view(session, timetable.world.organisation.id, mission.id)
    assert view.waiting_for == "Nothing starts at its site until 2026-03-01 23:30:00 UTC (shutdown)."


def test_a_round_of_many_missions_is_made_in_one_go_and_several_take_their_turns(timetable):
    missions = [{"name": f"m{number}", "tasks": [{"station": "gate"}]} for number in range(30)]
    schedules = [timetable.create(key=f"s{number}", missions=missions) for number in range(4)]
    timetable.clock.step(3600)
    assert timetable.fire() == 2  # about fifty missions, then whoever calls gets on with its work
    assert timetable.fire() == 2
    assert timetable.fire() == 0
    assert [timetable.said(one) for one in schedules] == [["23:00 fired"]] * 4
    assert len(timetable.missions()) == 120


def test_a_schedule_asked_for_in_the_night_of_the_change_shows_its_local_hours(timetable):
    timetable.clock.step((datetime(2026, 3, 28, 12, tzinfo=UTC) - timetable.clock.now()).total_seconds())
    timetable.create("0 2,3 * * *", begins="2026-03-28T00:00:00", timezone="Europe/Berlin")
    # On 29 March 02:00 does not exist in Berlin; by the offset before it is 03:00 CEST, which is one with the other.
    assert [f"{one.due_at:%d %H:%M}" for one in timetable.coming(per_schedule=3)] == [
        "29 01:00",
        "30 00:00",
        "30 01:00",
    ]
