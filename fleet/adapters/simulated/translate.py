"""Between the cloud's words and ours, both ways, without I/O.

Ours are metres, radians counter-clockwise from east (REP-103), fractions, hours and aware UTC; see wire for theirs.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from pydantic import ValidationError

from fleet.adapter import (
    Activity,
    DiscoveredRobot,
    Happening,
    Observation,
    Order,
    OrderReport,
    OrderStatus,
    OrderTask,
    Reported,
    TaskKind,
    TaskReport,
)
from fleet.adapters.simulated import wire
from fleet.errors import Invalid

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
Form = TypeVar("Form", bound=wire.Wire)

OPS = {
    TaskKind.go_to: wire.Op.move,
    TaskKind.action: wire.Op.act,
    TaskKind.wait: wire.Op.hold,
    TaskKind.dock: wire.Op.park,
    TaskKind.record_bag: wire.Op.log,
    TaskKind.reading: wire.Op.measure,
}
JOB_WORDS = {
    OrderStatus.accepted: wire.JobWord.queued,
    OrderStatus.running: wire.JobWord.executing,
    OrderStatus.paused: wire.JobWord.held,
    OrderStatus.succeeded: wire.JobWord.done,
    OrderStatus.failed: wire.JobWord.aborted,
    OrderStatus.canceled: wire.JobWord.stopped,
    OrderStatus.rejected: wire.JobWord.declined,
}
STEP_WORDS = {
    "pending": wire.StepWord.todo,
    "running": wire.StepWord.busy,
    "succeeded": wire.StepWord.ok,
    "failed": wire.StepWord.nok,
    "skipped": wire.StepWord.skip,
}
MODES = {
    Activity.idle: wire.Mode.standby,
    Activity.executing: wire.Mode.executing,
    Activity.paused: wire.Mode.held,
    Activity.charging: wire.Mode.charging,
    Activity.maintenance: wire.Mode.service,
    Activity.error: wire.Mode.fault,
    Activity.offline: wire.Mode.offline,
}
LEVELS = {"info": wire.Level.info, "warning": wire.Level.warn, "error": wire.Level.fault}
CODES = {
    "component_failed": "COMPONENT_FAULT",
    "component_replaced": "COMPONENT_SWAPPED",
    "battery_low": "LOW_CHARGE",
    "mission_failed": "JOB_ABORTED",
}
# Their unit of measurement -> ours, and what one of theirs is in ours.
UNITS = {"C": ("degC", 1.0), "mm/s2": ("m/s^2", 0.001)}
# Their detail of a notice -> ours, and what one of theirs is in ours.
DETAILS = {
    "operatingMin": ("operating_hours", 1 / 60),
    "chargePct": ("battery_fraction", 0.01),
    "jobToken": ("order_key", None),
}

_TASKS = {word: kind for kind, word in OPS.items()}
_STATUSES = {word: status for status, word in JOB_WORDS.items()}
_STEPS = {word: status for status, word in STEP_WORDS.items()}
_ACTIVITIES = {word: activity for activity, word in MODES.items()}
_SEVERITIES = {word: severity for severity, word in LEVELS.items()}
_KINDS = {code: kind for kind, code in CODES.items()}
_UNITS = {ours: (theirs, factor) for theirs, (ours, factor) in UNITS.items()}
_DETAILS = {ours: (theirs, factor) for theirs, (ours, factor) in DETAILS.items()}


def events_from(body: bytes) -> list[Reported]:
    """What a webhook's body, a page of history or the state of all units says, in its order.

    Raises:
        Invalid: it is not this manufacturer's form; says what is wrong where.
    """
    batch = parsed(wire.Batch, body)
    try:
        return [_reported(entry) for entry in batch.entries]
    except ValidationError as error:
        raise Invalid(f"An entry cannot be understood: {_first_fault(error)}") from error


def parsed(form: type[Form], body: bytes) -> Form:
    """`body` as this form.

    Raises:
        Invalid: it is not of this form; says what is wrong where.
    """
    try:
        return form.model_validate_json(body)
    except ValidationError as error:
        raise Invalid(f"These {len(body)} bytes are no {form.__name__} of this cloud: {_first_fault(error)}") from error


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(step) for step in fault["loc"]) or "the whole text"
    return f"{fault['msg']} at {place} ({error.error_count()} faults)."


def _reported(entry: wire.Entry) -> Reported:
    if isinstance(entry, wire.JobState):
        return report_from(entry)
    if isinstance(entry, wire.UnitState):
        return observation_from(entry)
    return happening_from(entry)


def entry_from(said: Reported) -> wire.Entry:
    """The cloud's entry for a report of ours; `not_found` has no word there.

    Raises:
        Invalid: a report that the cloud cannot say.
    """
    if isinstance(said, OrderReport):
        return job_state_from(said)
    if isinstance(said, Observation):
        return unit_state_from(said)
    return notice_from(said)


def job_from(order: Order) -> wire.Job:
    """Our order in the cloud's words."""
    return wire.Job(
        token=order.key,
        epoch=order.fence,
        unit_sn=order.serial_number,
        reference=order.mission_id,
        steps=tuple(_step_from(task) for task in order.tasks),
    )


def _step_from(task: OrderTask) -> wire.Step:
    return wire.Step(
        index=task.position,
        op=OPS[task.kind],
        place=task.station,
        x_mm=_scaled(task.x_m, 1000),
        y_mm=_scaled(task.y_m, 1000),
        args=task.parameters,
        limit_ms=task.timeout_s * 1000,
    )


def order_from(job: wire.Job) -> Order:
    """The cloud's job as an order of ours."""
    return Order(
        key=job.token,
        fence=job.epoch,
        serial_number=job.unit_sn,
        mission_id=job.reference,
        tasks=tuple(_task_from(step) for step in job.steps),
    )


def _task_from(step: wire.Step) -> OrderTask:
    return OrderTask(
        position=step.index,
        kind=_TASKS[step.op],
        station=step.place,
        x_m=_scaled(step.x_mm, 0.001),
        y_m=_scaled(step.y_mm, 0.001),
        parameters=dict(step.args),
        timeout_s=step.limit_ms / 1000,
    )


def report_from(job: wire.JobState) -> OrderReport:
    """What the cloud says of a job, as a report on our order."""
    return OrderReport(
        key=job.token,
        serial_number=job.unit_sn,
        status=_STATUSES[job.state],
        observed_at=instant_from(job.stamp_us),
        sequence=job.revision,
        fence=job.epoch,
        reason=job.cause,
        tasks=tuple(_task_report_from(step) for step in job.steps),
    )


def _task_report_from(step: wire.StepState) -> TaskReport:
    value, unit = (None, None) if step.measured is None else _ours(step.measured)
    return TaskReport(
        position=step.index,
        status=_STEPS[step.state],
        started_at=None if step.begun_us is None else instant_from(step.begun_us),
        finished_at=None if step.ended_us is None else instant_from(step.ended_us),
        value=value,
        unit=unit,
        message=step.note,
    )


def job_state_from(report: OrderReport) -> wire.JobState:
    """A report on an order in the cloud's words.

    Raises:
        Invalid: `not_found` has no word there; the cloud answers 404.
    """
    if report.status is OrderStatus.not_found:
        raise Invalid(f"The cloud has no word for {report.status}; it answers 404.", key=report.key)
    return wire.JobState(
        token=report.key,
        unit_sn=report.serial_number,
        state=JOB_WORDS[report.status],
        stamp_us=stamp_from(report.observed_at),
        revision=report.sequence,
        epoch=report.fence,
        cause=report.reason,
        steps=tuple(_step_state_from(task) for task in report.tasks),
    )


def _step_state_from(task: TaskReport) -> wire.StepState:
    return wire.StepState(
        index=task.position,
        state=STEP_WORDS[task.status],
        begun_us=None if task.started_at is None else stamp_from(task.started_at),
        ended_us=None if task.finished_at is None else stamp_from(task.finished_at),
        measured=None if task.value is None else _theirs(task.value, task.unit or ""),
        note=task.message,
    )


def observation_from(unit: wire.UnitState) -> Observation:
    """What the cloud says of a unit."""
    return Observation(
        serial_number=unit.unit_sn,
        observed_at=instant_from(unit.stamp_us),
        activity=_ACTIVITIES[unit.mode],
        battery_fraction=_scaled(unit.charge_pct, 0.01),
        x_m=_scaled(unit.x_mm, 0.001),
        y_m=_scaled(unit.y_mm, 0.001),
        yaw_rad=None if unit.bearing_deg is None else _turned(unit.bearing_deg),
        order_key=unit.job_token,
    )


def unit_state_from(seen: Observation) -> wire.UnitState:
    """An observation in the cloud's words."""
    return wire.UnitState(
        unit_sn=seen.serial_number,
        stamp_us=stamp_from(seen.observed_at),
        mode=MODES[seen.activity],
        charge_pct=None if seen.battery_fraction is None else min(seen.battery_fraction * 100, 100.0),
        x_mm=_scaled(seen.x_m, 1000),
        y_mm=_scaled(seen.y_m, 1000),
        bearing_deg=None if seen.yaw_rad is None else (90 - math.degrees(seen.yaw_rad)) % 360,
        job_token=seen.order_key,
    )


def happening_from(notice: wire.Notice) -> Happening:
    """What happened, in our words; a code we do not know keeps its own, in lower case."""
    return Happening(
        key=notice.notice_id,
        kind=_KINDS.get(notice.code, notice.code.lower()),
        occurred_at=instant_from(notice.stamp_us),
        serial_number=notice.unit_sn,
        severity=_SEVERITIES[notice.level],
        fields=_renamed(notice.details, DETAILS, divide=False),
    )


def notice_from(happening: Happening) -> wire.Notice:
    """A happening in the cloud's words."""
    return wire.Notice(
        notice_id=happening.key,
        code=CODES.get(happening.kind, happening.kind.upper()),
        stamp_us=stamp_from(happening.occurred_at),
        unit_sn=happening.serial_number,
        level=LEVELS[happening.severity],
        details=_renamed(happening.fields, _DETAILS, divide=True),
    )


def robot_from(unit: wire.Unit) -> DiscoveredRobot:
    """A unit of the cloud's list as a robot."""
    return DiscoveredRobot(serial_number=unit.unit_sn, name=unit.label, model=unit.model, capabilities=unit.skills)


def unit_from(robot: DiscoveredRobot) -> wire.Unit:
    """A robot as the cloud lists it."""
    return wire.Unit(unit_sn=robot.serial_number, label=robot.name, model=robot.model, skills=robot.capabilities)


def instant_from(stamp_us: int) -> datetime:
    """Microseconds since 1970 as an aware instant."""
    return EPOCH + timedelta(microseconds=stamp_us)


def stamp_from(instant: datetime) -> int:
    """An aware instant in microseconds since 1970."""
    return (instant - EPOCH) // MICROSECOND


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _turned(bearing_deg: float) -> float:
    """Radians in (-pi, pi], counter-clockwise from east."""
    return math.pi - (math.radians(bearing_deg) + math.pi / 2) % (2 * math.pi)


def _ours(measured: wire.Measurement) -> tuple[float, str]:
    unit, factor = UNITS.get(measured.unit, (measured.unit, 1.0))
    return measured.value * factor, unit


def _theirs(value: float, unit: str) -> wire.Measurement:
    name, factor = _UNITS.get(unit, (unit, 1.0))
    return wire.Measurement(value=value / factor, unit=name)


def _renamed(
    fields: Mapping[str, wire.Word | None], table: dict[str, tuple[str, float | None]], *, divide: bool
) -> dict[str, wire.Word | None]:
    renamed: dict[str, wire.Word | None] = {}
    for name, value in fields.items():
        other, factor = table.get(name, (name, None))
        if factor is not None and isinstance(value, int | float):
            value = value / factor if divide else value * factor
        renamed[other] = value
    return renamed
