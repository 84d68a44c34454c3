"""Nonsense in a mission request is refused where it comes in, with what is wrong, and never reaches a plan or a database."""

import math

import pytest
from pydantic import ValidationError

from fleet.accounts import ManufacturerAccount
from fleet.errors import Invalid, NotFound, TooLarge
from fleet.organisations import Organisation, Site
from fleet.robots import Robot
from missions.models import MissionCreate, TaskCreate


@pytest.fixture
def elsewhere(runtime, world):
    """amr-09 of the same organisation, which works at another site."""
    with runtime.transaction() as session:
        south = Site(organisation_id=world.organisation.id, name="south")
        session.add(south)
        session.flush()
        session.add(
            Robot(
                organisation_id=world.organisation.id,
                site_id=south.id,
                account_id=world.account.id,
                name="amr-09",
                serial_number="SN-amr-09",
                created_at=world.organisation.created_at,
            )
        )
    return south


def test_a_mission_for_a_robot_of_another_site_is_refused_instead_of_waiting_for_ever(yard, elsewhere):
    with pytest.raises(Invalid, match=r"'amr-09' works at 'south'.*'north'"):
        yard.request(robot="amr-09")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_no_json_can_say_is_refused(number: float):
    with pytest.raises(ValidationError, match="finite"):
        TaskCreate(station="press-1", parameters={"duration_s": number})


@pytest.mark.parametrize("field", ["name", "key", "robot"])
@pytest.mark.parametrize("sign", ["\0", "\ud800"])
def test_a_text_that_no_database_keeps_is_refused_by_its_field(field: str, sign: str):
    given = {"name": "m", "key": "m", "tasks": [{"station": "press-1"}]} | {field: f"a{sign}b"}
    with pytest.raises(ValidationError, match=field):
        MissionCreate.model_validate(given)


@pytest.mark.parametrize(
    "task",
    [
        {"station": "a\0b"},
        {"station": "a", "parameters": {"a\0b": 1}},
        {"station": "a", "parameters": {"note": "a\0b"}},
        {"station": "a", "timeout_s": math.nan},
        {"station": "a", "timeout_s": math.inf},
        {"station": "a", "timeout_s": 0},
        {"station": "a", "speed": 3},
    ],
)
def test_a_task_that_cannot_be_kept_or_carried_out_is_refused(task):
    with pytest.raises(ValidationError):
        MissionCreate.model_validate({"name": "m", "key": "m", "tasks": [task]})


@pytest.mark.parametrize("capabilities", [["a\0b"], ["x" * 201], ["drive"] * 101])
def test_wanted_capabilities_are_few_and_short(capabilities):
    with pytest.raises(ValidationError, match="required_capabilities"):
        MissionCreate.model_validate(
            {"name": "m", "key": "m", "tasks": [{"station": "a"}], "required_capabilities": capabilities}
        )


def test_a_name_in_any_script_is_kept_as_it_was_given(yard):
    mission = yard.request("巡回 № 7 — Wärmebild 🔥 'robert'); DROP TABLE missions;--")
    assert yard.view(mission).name == "巡回 № 7 — Wärmebild 🔥 'robert'); DROP TABLE missions;--"


def test_a_robot_of_another_organisation_is_not_found_by_its_name(yard, runtime, world):

    with runtime.transaction() as session:
        other = Organisation(name="other", created_at=world.organisation.created_at)
        session.add(other)
        session.flush()
        site = Site(organisation_id=other.id, name="north")
        account = ManufacturerAccount(
            organisation_id=other.id,
            name="cloud",
            manufacturer="simulated",
            base_url="http://127.0.0.1:9",
            webhook_secret="",
            created_at=world.organisation.created_at,
        )
        session.add_all([site, account])
        session.flush()
        session.add(
            Robot(
                organisation_id=other.id,
                site_id=site.id,
                account_id=account.id,
                name="theirs",
                serial_number="SN-theirs",
                created_at=world.organisation.created_at,
            )
        )
    with pytest.raises(NotFound) as refused:
        yard.request(robot="theirs")
    assert refused.value.message == "There is no robot 'theirs'; known robots: amr-01, amr-02."


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30])
def test_a_whole_number_that_no_database_keeps_exactly_is_refused(number: int):
    with pytest.raises(ValidationError, match="more than 64 bits"):
        TaskCreate(station="press-1", parameters={"count": number})


def test_the_largest_whole_numbers_and_yes_and_no_are_kept_as_they_are():
    given = {"most": 2**63 - 1, "least": -(2**63), "is_wet": True}
    kept = TaskCreate(station="press-1", parameters=given).parameters
    assert kept == given
    assert kept["is_wet"] is True


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "neither a text nor a number nor true or false"),
        ([1, 2], "neither a text nor a number nor true or false"),
        ({"x": 1}, "neither a text nor a number nor true or false"),
        ("x" * 10_001, "has 10001 characters, and at most 10000 are kept"),
        ("a\0b", "has a character that cannot be kept"),
        (math.nan, "is not a finite number"),
    ],
)
def test_what_cannot_be_a_parameter_is_told_once_and_in_words(value, why):
    with pytest.raises(ValidationError) as refused:
        TaskCreate(station="press-1", parameters={"note": value})
    (error,) = refused.value.errors()
    assert (error["loc"], why in error["msg"]) == (("parameters", "note"), True)


@pytest.mark.parametrize(
    "parameters", [{"note": "x" * 10_001}, {"n" * 201: 1}, {str(number): number for number in range(101)}]
)
def test_parameters_are_few_and_short(parameters):
    with pytest.raises(ValidationError, match="at most"):
        TaskCreate(station="press-1", parameters=parameters)


def test_a_huge_mission_is_refused_with_its_size(yard):
    tasks = [TaskCreate(station="press-1", parameters={"note": "x" * 10_000}) for _ in range(101)]
    with pytest.raises(TooLarge, match=r"has 1\d{6} bytes, and at most 1000000 are kept"):
        yard.request(tasks=tasks)


@pytest.mark.parametrize("duration", ["soon", "10", -1, -0.001, 86_401, 2**63 - 1, True])
def test_a_duration_that_no_robot_can_take_is_refused_when_it_is_asked_for(yard, duration):
    tasks = [TaskCreate(station="press-1"), TaskCreate(kind="wait", parameters={"duration_s": duration})]
    with pytest.raises(
        Invalid, match=r"Task 1 \(wait\) has the duration_s .*; give a number of seconds from 0 to 86400"
    ):
        yard.request(tasks=tasks)


@pytest.mark.parametrize("duration", [0, 0.0, 2.5, 86_400])
def test_a_duration_in_seconds_is_kept(yard, duration):
    yard.request(tasks=[TaskCreate(kind="wait", parameters={"duration_s": duration})])
    yard.assign("amr-01")
    (parcel,) = yard.begin()
    assert parcel.order.tasks[0].parameters == {"duration_s": duration}
