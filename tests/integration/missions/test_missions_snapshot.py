"""The snapshot says what the database knows: what waits, where it begins, who could do it."""

from datetime import timedelta

import pytest

from fleet.adapter import Activity, OrderStatus
from missions import snapshot
from missions.plan import Snapshot, plan
from missions.schedules.blackouts import add
from missions.schedules.models import BlackoutCreate


@pytest.fixture
def take(runtime):
    def run() -> Snapshot:
        with runtime.reading() as session:
            return snapshot.take(session)

    return run


def test_only_missions_that_wait_and_are_wanted_are_in_it(yard, take):
    yard.running("runs")
    yard.command(yard.request("paused"), "pause")
    yard.command(yard.request("canceled"), "cancel")
    yard.request("careful", approval_needed=True)
    waits = yard.request("waits")
    assert [(mission.name, mission.version) for mission in take().missions] == [("waits", waits.version)]


def test_the_most_urgent_come_first_when_not_all_fit(yard, take, monkeypatch):
    monkeypatch.setattr(snapshot, "WAITING_MAX", 2)
    for name, priority in (("low", 0), ("high", 9), ("middle", 5)):
        yard.request(name, priority=priority)
    assert [mission.name for mission in take().missions] == ["high", "middle"]


@pytest.mark.parametrize("kind", ["later", "pinned"])
def test_many_that_cannot_begin_hide_none_that_can(yard, take, clock, monkeypatch, kind):
    monkeypatch.setattr(snapshot, "WAITING_MAX", 2)
    later = {"earliest_start_at": clock.now() + timedelta(minutes=1)}
    other = {"later": later, "pinned": {"robot": "amr-02"}}[kind]
    for number in range(3):
        yard.request(f"other {number}", priority=9, **other)
    mission = yard.request("now")
    assert [attempt.mission_id for attempt in yard.assign("amr-01")] == [mission.id]
    clock.step(60)
    assert "other 0" in [mission.name for mission in take().missions]


def test_many_kinds_that_nobody_can_do_now_hide_none_that_somebody_can(yard, monkeypatch):
    monkeypatch.setattr(snapshot, "WAITING_MAX", 2)
    for number, able in enumerate((["drive"], ["inspect"], ["drive", "inspect"], ["inspect", "drive"], [])):
        yard.request(f"other {number}", priority=9, robot="amr-02", required_capabilities=able)
    mission = yard.request("now")
    assert [attempt.mission_id for attempt in yard.assign("amr-01")] == [mission.id]


def test_a_mission_begins_at_the_first_station_that_is_left(yard, take, clock):
    yard.request("m", "gate", "press-2")
    (mission,) = take().missions
    assert (mission.x_m, mission.y_m) == (10.0, 0.0)
    (attempt,) = yard.assign("amr-01")
    yard.send()
    yard.say(attempt, OrderStatus.failed, 2, tasks=yard.done(0))
    (mission,) = take().missions
    assert (mission.x_m, mission.y_m) == (0.0, 10.0)
    assert mission.tried_robot_ids == {attempt.robot_id}
    assert 0 < (mission.ready_at - clock.now()).total_seconds() <= 2


def test_a_robot_is_shown_as_it_last_said(yard, take, clock):
    yard.request()
    yard.observe("amr-01", Activity.charging, battery_fraction=0.4, x_m=3.0)
    shown = {robot.name: robot for robot in take().robots}
    seen, silent = shown["amr-01"], shown["amr-02"]
    assert (seen.activity, seen.battery_fraction, seen.x_m, seen.heard_at) == ("charging", 0.4, 3.0, clock.now())
    assert (silent.activity, silent.heard_at, silent.is_held) == ("offline", None, False)


def test_a_robot_is_heard_when_its_word_arrives_whatever_its_own_clock_says(yard, take, clock):
    yard.request()
    received_at = clock.now()
    yard.observe("amr-01", observed_at=received_at.replace(year=2020))
    assert take().robots[0].heard_at == received_at


def test_a_held_robot_is_shown_as_held(yard, take):
    yard.running("first")
    yard.request("second")
    assert {robot.name: robot.is_held for robot in take().robots} == {"amr-01": True, "amr-02": False}


def test_without_waiting_missions_nothing_is_read_of_robots(yard, take):
    assert (take().missions, take().robots) == ((), ())


def test_nothing_starts_at_a_site_during_a_blackout_and_missions_say_so(yard, runtime, world, clock):
    wanted = BlackoutCreate(
        name="night rest",
        key="rest",
        begins="2026-03-01T22:30:00",
        ends="2026-03-02T06:00:00",
        timezone="Europe/Berlin",
    )
    with runtime.transaction() as session:
        add(session, site=world.site, wanted=wanted, who="user:ops")
    mission = yard.request()
    assert yard.assign() == []
    assert yard.view(mission).waiting_for == ("Nothing starts at its site until 2026-03-02 05:00:00 UTC (night rest).")
    late = yard.request("late", not_after_at=clock.now() + timedelta(seconds=1))
    clock.step(2)
    yard.expire()
    assert yard.view(late).reason.endswith(
        "22:00 UTC; retry makes a new one without that limit. "
        "Nothing starts at its site until 2026-03-02 05:00:00 UTC (night rest)."
    )
    clock.step(7 * 3600)
    assert len(yard.assign()) == 1


@pytest.mark.parametrize("most", [1, 2, 3, 4])
def test_the_first_few_get_the_robots_that_they_would_get_among_all(yard, runtime, take, most):
    for name in ("amr-01", "amr-02"):
        yard.observe(name)
    for name, priority, more in (("a", 0, {}), ("b", 9, {"robot": "amr-02"}), ("c", 5, {}), ("d", 9, {})):
        yard.request(name, priority=priority, **more)
    with runtime.reading() as session:
        few = snapshot.take_first(session, most)
    first, among_all = plan(few).assignments, plan(take()).assignments
    assert len(few.missions) == most
    assert first == among_all[: len(first)]
    assert len(first) == min(most, 2)
