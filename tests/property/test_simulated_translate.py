"""Translating to the cloud's words and back gives the same, for whatever we can say."""

import contextlib
import math
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from fleet.adapter import (
    Activity,
    Happening,
    Observation,
    Order,
    OrderReport,
    OrderStatus,
    OrderTask,
    TaskKind,
    TaskReport,
)
from fleet.adapters.simulated import translate, wire
from fleet.errors import Invalid

WORDS = st.text(min_size=1, max_size=20)
INSTANTS = st.datetimes(
    min_value=datetime(1970, 1, 1), max_value=datetime(9999, 12, 31), timezones=st.just(UTC)
)  # naive bounds, as hypothesis wants them
METRES = st.none() | st.floats(-500, 500)
PARAMETERS = st.dictionaries(WORDS, st.booleans() | st.integers(-1000, 1000) | WORDS, max_size=3)

TASKS = st.builds(
    OrderTask,
    position=st.integers(0, 99),
    kind=st.sampled_from(TaskKind),
    station=st.none() | WORDS,
    x_m=METRES,
    y_m=METRES,
    parameters=PARAMETERS,
    timeout_s=st.floats(0.001, 86_400),
)
ORDERS = st.builds(
    Order,
    key=WORDS,
    fence=st.integers(0, 10**9),
    serial_number=WORDS,
    mission_id=WORDS,
    tasks=st.lists(TASKS, min_size=1, max_size=4).map(tuple),
)
STATUSES = st.sampled_from([status for status in OrderStatus if status is not OrderStatus.not_found])


@st.composite
def task_reports(draw):
    """A report with a reading or without one."""
    value = draw(st.none() | st.floats(-1000, 1000))
    return TaskReport(
        position=draw(st.integers(0, 99)),
        status=draw(st.sampled_from(["pending", "running", "succeeded", "failed", "skipped"])),
        started_at=draw(st.none() | INSTANTS),
        finished_at=draw(st.none() | INSTANTS),
        value=value,
        unit=None if value is None else draw(st.sampled_from(["degC", "m/s^2", "ppm"])),
        message=draw(st.text(max_size=20)),
    )


REPORTS = st.builds(
    OrderReport,
    key=WORDS,
    serial_number=WORDS,
    status=STATUSES,
    observed_at=INSTANTS,
    sequence=st.integers(0, 10**6),
    fence=st.integers(0, 10**9),
    reason=st.text(max_size=20),
    tasks=st.lists(task_reports(), max_size=3).map(tuple),
)
OBSERVATIONS = st.builds(
    Observation,
    serial_number=WORDS,
    observed_at=INSTANTS,
    activity=st.sampled_from(Activity),
    battery_fraction=st.none() | st.floats(0, 1),
    x_m=METRES,
    y_m=METRES,
    yaw_rad=st.none() | st.floats(-math.pi, math.pi),
    order_key=st.none() | WORDS,
)
HAPPENINGS = st.builds(
    Happening,
    key=WORDS,
    kind=st.sampled_from([*translate.CODES, "door_opened"]),
    occurred_at=INSTANTS,
    serial_number=st.none() | WORDS,
    severity=st.sampled_from(["info", "warning", "error"]),
    fields=st.fixed_dictionaries({"component": WORDS, "operating_hours": st.floats(0, 1e5)}),
)


def is_close(one, other):
    """Equal, where floats may differ by rounding and angles by full turns."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            is_same_angle(one[key], other[key]) if key == "yaw_rad" else is_close(one[key], other[key]) for key in one
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(is_close, one, other))
    if isinstance(one, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return one == other


def is_same_angle(one, other):
    if one is None or other is None:
        return one is other
    return abs(math.remainder(one - other, 2 * math.pi)) < 1e-9


def there_and_back(said):
    entry = translate.entry_from(said).model_dump_json(by_alias=True)
    (back,) = translate.events_from(b'{"entries":[%s]}' % entry.encode())
    return back


@given(ORDERS)
def test_an_order_comes_back_as_it_was(order):
    sent = translate.job_from(order).model_dump_json(by_alias=True)
    back = translate.order_from(wire.Job.model_validate_json(sent))
    assert is_close(back.model_dump(), order.model_dump())


@given(REPORTS)
def test_a_report_comes_back_as_it_was(report):
    assert is_close(there_and_back(report).model_dump(), report.model_dump())


@given(OBSERVATIONS)
def test_an_observation_comes_back_as_it_was(seen):
    assert is_close(there_and_back(seen).model_dump(), seen.model_dump())


@given(HAPPENINGS)
def test_a_happening_comes_back_as_it_was(happening):
    assert is_close(there_and_back(happening).model_dump(), happening.model_dump())


@given(OBSERVATIONS)
def test_an_angle_is_given_within_half_a_turn_either_way(seen):
    yaw_rad = there_and_back(seen).yaw_rad
    assert yaw_rad is None or -math.pi < yaw_rad <= math.pi


@given(st.binary(max_size=200))
def test_any_bytes_are_understood_or_invalid_and_nothing_else(body):
    with contextlib.suppress(Invalid):
        assert isinstance(translate.events_from(body), list)
