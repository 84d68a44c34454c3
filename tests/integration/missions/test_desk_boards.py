"""The boards in Prefect: what a person must decide, what robots do now, what is held, and what schedules do next."""

from datetime import timedelta

from fleet.adapter import Activity, OrderStatus, Unknown
from missions import holds
from missions.holds import HoldScope, HoldWanted
from missions.schedules import control
from missions.schedules.create import create
from missions.schedules.models import ScheduleCreate
from orchestration import mirrored
from orchestration.desk_board import board, schedules


def _board(yard) -> str:
    with yard.runtime.reading() as session:
        return board(session)


def _schedules(yard) -> str:
    with yard.runtime.reading() as session:
        return schedules(session, mirrored.wanted(session).values())


def test_the_board_says_what_each_robot_is_at(yard):
    _, attempt = yard.running("Look")
    assert "task 0: go\\_to at press-1" in _board(yard)
    yard.say(attempt, OrderStatus.running, 3, tasks=yard.done(0))
    assert "task 0" not in _board(yard)


def test_the_board_says_what_is_wanted_only_where_it_is_not_that_the_mission_goes_on(yard):
    mission, _ = yard.running("Look")
    assert "Wanted" not in _board(yard)
    yard.command(mission, "pause")
    assert "| Wanted |" in _board(yard)
    assert "| pause |" in _board(yard)


def test_a_lost_robot_stands_at_the_top_with_what_is_known_and_what_to_do(yard):
    yard.running("Look")
    assert "To decide" not in _board(yard)
    heard = f"{yard.clock.now():%Y-%m-%d %H:%M:%S} UTC"
    yard.clock.step(600)
    for question in yard.questions():
        yard.hear(question, Unknown(why="no answer within 5 s"))
    top, _, _ = _board(yard).partition("## Live missions")
    assert "## To decide (1)" in top
    assert "command abandon" in top
    assert heard in top
    assert "no answer within 5 s" in top
    assert "task 0: go\\_to at press-1" in top


def test_what_people_hold_is_on_the_board_until_it_is_released(yard):
    wanted = HoldWanted(scope=HoldScope.robot, robot="amr-01", reason="its wheel is loose", key="h")
    owner = yard.world.organisation.id
    with yard.runtime.transaction() as session:
        held = holds.hold(session, organisation_id=owner, wanted=wanted, who="user:ops").id
    assert "robot amr-01" in _board(yard)
    assert "its wheel is loose" in _board(yard)
    with yard.runtime.transaction() as session:
        holds.release(session, organisation_id=owner, hold_id=held, who="user:ops")
    assert "Held" not in _board(yard)


def test_a_robot_at_work_on_an_order_of_others_is_shown_and_one_on_ours_is_not(yard):
    _, attempt = yard.running("Look")
    yard.observe("amr-01", Activity.executing, order_key=attempt.key)
    yard.observe("amr-02", Activity.executing, order_key="started-at-the-robot")
    _, _, shown = _board(yard).partition("## Robots at work on orders of others (1)")
    assert "started-at-the-robot" in shown
    assert attempt.key not in shown


def test_the_board_of_schedules_tells_local_time_and_utc_and_who_is_paused(yard):
    begins = (yard.clock.now() + timedelta(days=1)).replace(hour=5, tzinfo=None).isoformat()
    daily = {"rule": "FREQ=DAILY", "begins": begins, "timezone": "Asia/Tokyo"}
    look = {"name": "look", "tasks": [{"station": "press-1"}]}
    wanted = ScheduleCreate.model_validate({"name": "Dawn", "key": "d", "recurrence": daily, "missions": [look]})
    with yard.runtime.transaction() as session:
        schedule = create(session, site=yard.world.site, wanted=wanted, who="user:ops")
    assert "## Next occurrences (5)" in _schedules(yard)
    assert "| Dawn, Tue 3 Mar 05:00 | 2026-03-02 20:00:00 UTC | north | acme |" in _schedules(yard)
    with yard.runtime.transaction() as session:
        control.pause(session, schedule=schedule, who="user:ops")
    assert "## Next occurrences (0)" in _schedules(yard)
    assert "## Paused schedules (1)" in _schedules(yard)
