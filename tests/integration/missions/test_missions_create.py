"""Missions and rounds come to be once, and only when they make sense at their site."""

from datetime import timedelta

import pytest

from fleet.errors import Invalid, NotFound
from missions.board import missions_of, round_view
from missions.create import create_round
from missions.models import MissionCreate, MissionStatus, TaskCreate


@pytest.fixture
def ask_round(runtime, world):
    def ask(keys: list[str], key: str = "night"):
        wanted = [MissionCreate(name=each, key=each, tasks=[TaskCreate(station="gate")]) for each in keys]
        with runtime.transaction() as session:
            return create_round(session, site=world.site, name="night", key=key, missions=wanted, who="user:ops")

    return ask


def test_a_new_mission_is_scheduled_and_its_history_says_who_asked(yard):
    view = yard.view(yard.request("m", "press-1", "gate"))
    assert view.status is MissionStatus.scheduled
    assert [task.station for task in view.tasks] == ["press-1", "gate"]
    assert [(line.from_status, line.to_status, line.who) for line in view.transitions] == [
        (None, "CREATED", "user:ops"),
        ("CREATED", "SCHEDULED", "user:ops"),
    ]
    assert yard.changes("mission") == ["created", "scheduled"]


def test_asking_twice_with_one_key_is_one_mission(yard):
    first = yard.request("m")
    assert yard.request("m").id == first.id
    assert yard.changes("mission") == ["created", "scheduled"]


def test_a_mission_that_needs_approval_waits_for_it(yard):
    mission = yard.request(approval_needed=True)
    assert yard.status(mission) == "AWAITING_APPROVAL"
    assert yard.assign() == []
    yard.command(mission, "approve")
    assert yard.status(mission) == "SCHEDULED"


def test_an_unknown_station_is_named_together_with_the_known_ones(yard):
    with pytest.raises(Invalid, match="'moon'; known stations: dock-1, gate, press-1, press-2"):
        yard.request("m", "moon")


def test_a_go_to_without_a_station_is_refused(yard):
    with pytest.raises(Invalid, match="Task 0 is a go_to and names no station"):
        yard.request(tasks=[TaskCreate()])


def test_an_unknown_robot_is_named_together_with_the_known_ones(yard):
    with pytest.raises(NotFound, match="'amr-99'; known robots: amr-01, amr-02"):
        yard.request(robot="amr-99")


def test_a_deadline_before_the_earliest_start_is_refused(yard, clock):
    with pytest.raises(Invalid, match="before earliest_start_at"):
        yard.request(earliest_start_at=clock.now(), not_after_at=clock.now() - timedelta(seconds=1))


def test_a_refused_mission_leaves_nothing_behind(yard, runtime, world):
    with pytest.raises(Invalid):
        yard.request("m", "press-1", "moon")
    with runtime.reading() as session:
        assert missions_of(session, world.organisation.id) == []


def test_a_round_asked_for_twice_is_one_round_with_its_missions_once(ask_round, runtime, world):
    first, again = ask_round(["a", "b"]), ask_round(["a", "b"])
    assert first.id == again.id
    with runtime.reading() as session:
        view = round_view(session, world.organisation.id, first.id)
    assert [mission.name for mission in view.missions] == ["a", "b"]
    assert (view.counts, view.is_finished) == ({MissionStatus.scheduled: 2}, False)


@pytest.mark.parametrize("keys", [[], ["a", "a"]])
def test_a_round_without_missions_or_with_one_key_twice_is_refused(ask_round, keys):
    with pytest.raises(Invalid, match="keys of their own"):
        ask_round(keys)


def test_a_round_of_another_organisation_is_not_found(ask_round, runtime, world):
    made = ask_round(["a"])
    with runtime.reading() as session, pytest.raises(NotFound):
        round_view(session, world.site.id, made.id)
