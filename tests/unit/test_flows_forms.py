"""What an operator fills in: complaints that name field, reason and value; keys; the inspection template."""

from datetime import datetime
from typing import Annotated
from uuid import uuid4

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from fleet.adapter import TaskKind
from fleet.organisations import Station, StationKind
from missions.models import TaskCreate
from orchestration.flows.forms import MissionForm, Name, Reason, complaints, inspection_missions, key_of, with_key


async def a_flow(
    mission: MissionForm, count: Annotated[int, Field(ge=1, le=9)] = 3, since: datetime | None = None
) -> None:
    """Only its signature is read."""


@pytest.fixture
def mission() -> MissionForm:
    return MissionForm(name="Look at the press", tasks=[TaskCreate(station="press-1")])


@pytest.fixture
def stations() -> list[Station]:
    places = {
        "press-2": StationKind.inspection_point,
        "dock-1": StationKind.dock,
        "press-1": StationKind.inspection_point,
        "gate": StationKind.station,
    }
    organisation_id, site_id = uuid4(), uuid4()
    return [
        Station(organisation_id=organisation_id, site_id=site_id, name=name, kind=kind, x_m=0, y_m=0)
        for name, kind in places.items()
    ]


def test_a_form_that_is_right_gives_no_complaint():
    assert complaints(a_flow, {"mission": {"name": "x", "tasks": [{"station": "gate"}]}}) == []


def test_a_wrong_value_is_named_with_its_field_and_reason():
    found = complaints(a_flow, {"mission": {"name": "x", "tasks": [{"station": "gate"}]}, "count": 12})
    assert found == ["count: Input should be less than or equal to 9 (it is 12)"]


def test_a_wrong_date_deep_in_the_form_is_named_by_its_path():
    wrong = {"name": "x", "tasks": [{"station": "gate"}], "not_after_at": "tomorrow"}
    (found,) = complaints(a_flow, {"mission": wrong})
    assert found.startswith("mission.not_after_at: ")
    assert "'tomorrow'" in found


def test_an_instant_without_a_time_zone_is_refused():
    wrong = {"name": "x", "tasks": [{"station": "gate"}], "not_after_at": "2026-03-01T22:00:00"}
    (found,) = complaints(a_flow, {"mission": wrong})
    assert "not_after_at: Say how far it is from UTC, as in 2026-03-01T06:00:00+01:00" in found


def test_a_field_that_the_form_does_not_have_is_refused():
    (found,) = complaints(a_flow, {"mission": {"name": "x", "tasks": [{"station": "gate"}], "colour": "red"}})
    assert found.startswith("mission.colour: Extra inputs are not permitted")


def test_every_wrong_field_is_named_not_only_the_first():
    found = complaints(a_flow, {"mission": {"name": "", "tasks": []}, "count": 0})
    assert [sentence.partition(":")[0] for sentence in found] == ["mission.name", "mission.tasks", "count"]


def test_a_long_value_is_shortened_in_the_complaint():
    (found,) = complaints(a_flow, {"mission": {"name": "x" * 5000, "tasks": [{"station": "gate"}]}})
    assert len(found) < 250


def test_a_mission_without_a_key_gets_one_from_its_run(mission: MissionForm):
    run_id = uuid4()
    assert with_key(mission, run_id, 4).key == f"{run_id}/4"
    assert with_key(mission, run_id, 4) == with_key(mission, run_id, 4)


def test_a_key_of_ones_own_is_kept(mission: MissionForm):
    assert with_key(mission.model_copy(update={"key": "order 17"}), uuid4(), 0).key == "order 17"
    assert key_of("order 17", uuid4(), 0) == "order 17"


def test_nothing_else_of_the_mission_changes_when_it_gets_its_key(mission: MissionForm):
    wanted = with_key(mission, uuid4(), 0)
    assert wanted.model_dump(exclude={"key"}) == mission.model_dump(exclude={"key"})


def test_the_template_makes_one_mission_for_every_inspection_point_by_name(stations: list[Station]):
    missions = inspection_missions(stations)
    assert [mission.name for mission in missions] == ["Inspect press-1", "Inspect press-2"]


def test_a_template_mission_drives_to_its_point_and_takes_the_readings_there(stations: list[Station]):
    first = inspection_missions(stations)[0]
    assert [(task.kind, task.station) for task in first.tasks] == [
        (TaskKind.go_to, "press-1"),
        (TaskKind.reading, "press-1"),
    ]


def test_a_mission_needs_at_least_one_task():
    with pytest.raises(ValidationError, match="at least 1 item"):
        MissionForm(name="nothing", tasks=[])


@pytest.mark.parametrize("name", [" ", "\t\n", "\u3000"])
def test_a_name_that_nobody_can_read_is_refused(name):
    wrong = {"name": name, "tasks": [{"station": "gate"}]}
    assert complaints(a_flow, {"mission": wrong}) == [
        f"mission.name: Value error, is blank; write what others can read (it is {name!r})"
    ]


@pytest.mark.parametrize("kind", [Name, Reason])
def test_a_blank_is_no_name_and_no_reason(kind):
    with pytest.raises(ValidationError, match="is blank"):
        TypeAdapter(kind).validate_python("  ")
    assert TypeAdapter(kind).validate_python(" Night round") == " Night round"
