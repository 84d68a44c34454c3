"""Missions and rounds come to be once, and only when they make sense at their site."""

from datetime import timedelta

import pytest
from sqlmodel import select

from fleet.errors import Conflict, Invalid, NotFound
from fleet.robots import Robot
from missions.board import missions_of, round_view
from missions.create import check, create_round
from missions.models import Mission, MissionCreate, MissionStatus, Round, TaskCreate


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


def test_the_same_key_with_other_content_is_refused_with_what_differs(yard):
    yard.request("m", "press-1")
    with pytest.raises(Conflict, match=r"'m' is that of another mission.*differs in priority, tasks\."):
        yard.request("m", "press-2", priority=5)
    with pytest.raises(Conflict, match=r"differs in robot\."):
        yard.request("m", "press-1", robot="amr-01")
    assert yard.changes("mission") == ["created", "scheduled"]


def test_the_same_content_in_another_order_of_words_is_the_same_mission(yard):
    one = TaskCreate(station="press-1", parameters={"a": 1, "b": 2.5})
    other = TaskCreate(station="press-1", parameters={"b": 2.5, "a": 1})
    assert yard.request("m", tasks=[one]).id == yard.request("m", tasks=[other]).id


def test_a_mission_kept_before_contents_were_compared_is_taken_for_the_same(yard, runtime):
    first = yard.request("m", "press-1")
    with runtime.transaction() as session:
        session.get_one(Mission, first.id).content_sha256 = ""
    assert yard.request("m", "press-2").id == first.id


def test_a_mission_with_the_key_of_a_retry_of_something_else_is_refused(yard):
    mission = yard.request("m", "press-1")
    yard.command(mission, "cancel")
    again = yard.command(mission, "retry")
    with pytest.raises(Conflict, match=r"The key 'm/retry' is that of another mission.*differs in .*tasks"):
        yard.request("mine", "press-2", key="m/retry")
    assert yard.request("m", "press-1", key="m/retry").id == again.id


def test_asking_again_after_the_window_has_passed_gives_the_mission_and_a_new_one_is_refused(yard, clock):
    window = {"not_after_at": clock.now() + timedelta(seconds=10), "deadline_at": clock.now() + timedelta(seconds=20)}
    first = yard.request("m", **window)
    clock.step(60)
    assert yard.request("m", **window).id == first.id
    with pytest.raises(Invalid, match=r"not_after_at 2026-03-01T22:00:10.* has passed.*later one, or none"):
        yard.request("other", **window)
    with pytest.raises(Invalid, match=r"deadline_at .* has passed"):
        yard.request("other", deadline_at=window["deadline_at"])


@pytest.mark.parametrize("before", ["earliest_start_at", "not_after_at"])
def test_a_deadline_before_the_start_is_refused(yard, clock, before):
    times = {before: clock.now() + timedelta(hours=2), "deadline_at": clock.now() + timedelta(hours=1)}
    with pytest.raises(Invalid, match=f"deadline_at .* lies before {before}"):
        yard.request("m", **times)


def test_what_no_robot_of_the_organisation_can_do_is_refused_with_what_they_can(yard, runtime, world):
    with pytest.raises(Invalid, match=r"No robot can do fly \(of 2: amr-01, amr-02\).*can do: drive, inspect\."):
        yard.request("m", required_capabilities=["drive", "fly"])
    with runtime.transaction() as session:
        session.get_one(Robot, world.robots["amr-02"].id).capabilities = ["drive", "fly"]
    with pytest.raises(Invalid, match="amr-01 is the only robot that may do it, and it lacks: fly"):
        yard.request("m", required_capabilities=["fly"], robot="amr-01")
    assert yard.status(yard.request("m", required_capabilities=["fly"])) == "SCHEDULED"


def test_before_there_are_robots_every_capability_may_be_asked_for(yard, runtime, world):
    with runtime.transaction() as session:
        for robot in world.robots.values():
            session.delete(session.get_one(Robot, robot.id))
    assert yard.status(yard.request("m", required_capabilities=["fly"])) == "SCHEDULED"


def test_a_mission_may_be_checked_without_being_written(yard, runtime, world):
    good = MissionCreate(name="m", key="m", tasks=[TaskCreate(station="gate")])
    with runtime.transaction() as session:
        check(session, site=world.site, wanted=good)
        with pytest.raises(Invalid, match="'moon'"):
            check(session, site=world.site, wanted=good.model_copy(update={"tasks": [TaskCreate(station="moon")]}))
    with runtime.reading() as session:
        assert missions_of(session, world.organisation.id) == []


def test_a_wrong_mission_of_a_round_is_named_and_nothing_of_the_round_is_kept(runtime, world):
    wanted = [MissionCreate(name=at, key=at, tasks=[TaskCreate(station=at)]) for at in ("gate", "moon")]
    with pytest.raises(Invalid, match="mission 2 'moon': Task 0 names the station 'moon'"), runtime.transaction() as db:
        create_round(db, site=world.site, name="night", key="night", missions=wanted, who="user:ops")
    with runtime.reading() as session:
        assert session.exec(select(Round)).all() == []
        assert missions_of(session, world.organisation.id) == []


def test_a_round_with_the_same_key_and_other_missions_is_refused(ask_round):
    ask_round(["a", "b"])
    with pytest.raises(Conflict, match=r"another round.*missions \('b', 'c' in only one of both\)"):
        ask_round(["a", "c"])


def test_a_mission_of_one_round_is_not_silently_missing_in_another(ask_round):
    ask_round(["a"])
    with pytest.raises(Conflict, match="mission 1 'a': The key 'a' is that of a mission outside this round"):
        ask_round(["a"], key="other night")


def test_a_round_is_the_same_after_one_of_its_missions_was_retried(ask_round, yard, runtime, world):
    made = ask_round(["a"])
    with runtime.reading() as session:
        (mission,) = missions_of(session, world.organisation.id)
    yard.command(mission, "cancel")
    yard.command(mission, "retry")
    assert ask_round(["a"]).id == made.id
