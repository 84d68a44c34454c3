"""What an operator fills in, and the keys that make a run harmless when it is carried out twice."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from inspect import signature
from typing import Annotated, Any, get_type_hints
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, create_model, field_validator

from fleet import errors
from fleet.adapter import TaskKind
from fleet.organisations import Station, StationKind
from missions.models import MissionCreate, TaskCreate, Text
from missions.schedules.models import Recurrence


def _no_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank; write what others can read")
    return text


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_no_blank)]
Reason = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_no_blank)]
RuleText = Annotated[str, Field(max_length=1000)]
TaskNumber = Annotated[int, Field(ge=0, lt=200)]


class MissionForm(MissionCreate):
    """A mission as an operator asks for it."""

    key: str = Field("", max_length=200, description="Leave empty. A key of your own makes asking twice harmless.")

    @field_validator("name")
    @classmethod
    def _is_readable(cls, name: str) -> str:
        return _no_blank(name)


class RoundTemplate(StrEnum):
    """Where the missions of a round come from."""

    listed = "listed missions"
    inspection = "one mission for every inspection point"


class MissionCommand(StrEnum):
    """What may be told to a mission."""

    pause = "pause"
    resume = "resume"
    cancel = "cancel"
    approve = "approve"
    retry = "retry"
    skip = "skip"
    abandon = "abandon"


class RoundCommand(StrEnum):
    """What may be told to all missions of a round that are left."""

    pause = "pause"
    resume = "resume"
    cancel = "cancel"


class ScheduleCommand(StrEnum):
    """What may be told to a schedule."""

    pause = "pause"
    resume = "resume"
    revise = "revise"
    end = "end"


class RecurrenceForm(Recurrence):
    """When a schedule recurs, as an operator fills it in."""

    rule: Text = Field(
        min_length=1,
        max_length=1000,
        description="An RRULE such as FREQ=WEEKLY;BYDAY=MO,TH;BYHOUR=6;BYMINUTE=0 or a cron such as 0 6 * * 1-5.",
    )
    begins: Text = Field(
        "", description="Local time from which it counts, such as 2026-03-01T06:00:00; empty: the minute of this run."
    )
    timezone: Text = Field("", description="Such as Europe/Berlin; empty: the site's own.")


def complaints(function: Callable[..., object], parameters: Mapping[str, object]) -> list[str]:
    """What is wrong with the parameters of a run, one sentence for each field with its value; empty when all is well.

    Prefect's server lets through what only our own rules refuse, so a run is checked again before its first line; this
    says what Prefect's own words leave out: the value.
    """
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints.get(name, Any), ... if given.default is given.empty else given.default)
        for name, given in signature(function).parameters.items()
    }
    try:
        create_model("Form", __config__=ConfigDict(extra="forbid"), **fields).model_validate(dict(parameters))
    except ValidationError as error:
        return errors.complaints(error)
    return []


def with_key(wanted: MissionForm, run_id: UUID | str, index: int) -> MissionCreate:
    """`wanted` with its own key, or `<flow run>/<index>` when it has none."""
    return MissionCreate.model_validate({**wanted.model_dump(), "key": key_of(wanted.key, run_id, index)})


def key_of(given: str, run_id: UUID | str, index: int) -> str:
    """The mission's key: as given, or from the flow run."""
    return given or f"{run_id}/{index}"


def inspection_missions(stations: Sequence[Station]) -> list[MissionForm]:
    """One mission for every inspection point, by name: drive there and take the readings."""
    points = sorted(station.name for station in stations if station.kind is StationKind.inspection_point)
    return [
        MissionForm(
            name=f"Inspect {point}",
            tasks=[
                TaskCreate(kind=TaskKind.go_to, station=point),
                TaskCreate(kind=TaskKind.reading, station=point),
            ],
        )
        for point in points
    ]
