"""The words of the simulated manufacturer's cloud, as they stand in its JSON.

It says unit, job, step, epoch and notice; millimetres, compass bearings in degrees, percent, microseconds since 1970.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

LATEST_US = 253_402_300_799_999_999  # the end of the year 9999
StampUs = Annotated[int, Field(ge=0, le=LATEST_US)]
Word = str | float | int | bool


class Wire(BaseModel):
    """camelCase outside; unknown fields are ignored, since a cloud adds some without notice."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore", allow_inf_nan=False
    )


class Op(StrEnum):
    """What a step does."""

    move = "MOVE"
    act = "ACT"
    hold = "HOLD"
    park = "PARK"
    log = "LOG"
    measure = "MEASURE"


class JobWord(StrEnum):
    """How a job stands."""

    queued = "QUEUED"
    executing = "EXECUTING"
    held = "HELD"
    done = "DONE"
    aborted = "ABORTED"
    stopped = "STOPPED"
    declined = "DECLINED"


class StepWord(StrEnum):
    """How a step stands."""

    todo = "TODO"
    busy = "BUSY"
    ok = "OK"
    nok = "NOK"
    skip = "SKIP"


class Mode(StrEnum):
    """What a unit does."""

    standby = "STANDBY"
    executing = "EXECUTING"
    held = "HELD"
    charging = "CHARGING"
    service = "SERVICE"
    fault = "FAULT"
    offline = "OFFLINE"


class Level(StrEnum):
    """How much a notice matters."""

    info = "INFO"
    warn = "WARN"
    fault = "FAULT"


class Verb(StrEnum):
    """What a command asks of a job."""

    stop = "STOP"
    hold = "HOLD"
    proceed = "PROCEED"


class Unit(Wire):
    """A robot in the list of units."""

    unit_sn: str
    label: str
    model: str
    skills: tuple[str, ...] = ()


class Units(Wire):
    """The list of units."""

    units: tuple[Unit, ...]


class Step(Wire):
    """One step of a job."""

    index: int = Field(ge=0)
    op: Op
    place: str | None = None
    x_mm: float | None = None
    y_mm: float | None = None
    args: dict[str, Word] = Field(default_factory=dict)
    limit_ms: float = Field(gt=0)


class Job(Wire):
    """What is sent to a unit; `token` makes sending it twice harmless, `epoch` outdates older holders."""

    token: str = Field(min_length=1, max_length=200)
    epoch: int
    unit_sn: str
    reference: str
    steps: tuple[Step, ...] = Field(min_length=1, max_length=500)


class Ticket(Wire):
    """The cloud's receipt of a job."""

    job_ref: str
    state: JobWord


class CommandBody(Wire):
    """A command to a job."""

    token: str
    verb: Verb
    epoch: int


class Problem(Wire):
    """Why the cloud did not do it."""

    code: str
    cause: str


class Measurement(Wire):
    """A value with the cloud's unit: C, mm/s2."""

    value: float
    unit: str


class StepState(Wire):
    """How one step stands."""

    index: int = Field(ge=0)
    state: StepWord
    begun_us: StampUs | None = None
    ended_us: StampUs | None = None
    measured: Measurement | None = None
    note: str = ""


class JobState(Wire):
    """How a job stands; `revision` rises with every change of it."""

    type: Literal["JOB"] = "JOB"
    token: str
    unit_sn: str
    state: JobWord
    stamp_us: StampUs
    revision: int
    epoch: int
    cause: str = ""
    steps: tuple[StepState, ...] = ()


class UnitState(Wire):
    """How a unit stands; the bearing is clockwise from north."""

    type: Literal["UNIT"] = "UNIT"
    unit_sn: str
    stamp_us: StampUs
    mode: Mode
    charge_pct: float | None = Field(default=None, ge=0, le=100)
    x_mm: float | None = None
    y_mm: float | None = None
    bearing_deg: float | None = None
    job_token: str | None = None


class Notice(Wire):
    """Something that happened; `notice_id` never changes."""

    type: Literal["NOTICE"] = "NOTICE"
    notice_id: str
    code: str
    stamp_us: StampUs
    unit_sn: str | None = None
    level: Level = Level.info
    details: dict[str, Word | None] = Field(default_factory=dict)


Entry = Annotated[JobState | UnitState | Notice, Field(discriminator="type")]


class Batch(Wire):
    """A webhook's body, or the present state of all units."""

    entries: tuple[Entry, ...]


class EventPage(Batch):
    """A page of the history; `next` is where the following page begins, `more` whether there is one already."""

    next: str
    more: bool
