"""Whatever is asked of the simulated robots in whatever order, what they say stays sane."""

from collections import defaultdict
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.adapter import Accepted, Observation, Order, OrderReport, OrderStatus, OrderTask, TaskKind
from fleet.adapters.simulated import battery, site_map, translate, wear
from fleet.adapters.simulated.body import SPEED_M_S, Body, driven
from fleet.adapters.simulated.journal import Journal
from fleet.adapters.simulated.world import Plan, World

AT = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
IN_MEMORY = Path(":memory:")
SERIALS = ["SIM-0001", "SIM-0002"]
STATIONS = sorted(site_map.PLACES)
OVER = {OrderStatus.succeeded, OrderStatus.failed, OrderStatus.canceled, OrderStatus.rejected}
COORDINATES = st.floats(-50, 50)

TASKS = st.builds(
    OrderTask,
    position=st.just(0),
    kind=st.sampled_from(TaskKind),
    station=st.sampled_from([None, "atlantis", *STATIONS]),
    timeout_s=st.sampled_from([5.0, 600.0]),
)
SUBMITS = st.tuples(
    st.just("submit"),
    st.sampled_from(SERIALS),
    st.integers(1, 6),
    st.integers(1, 3),
    st.lists(TASKS, min_size=1, max_size=3),
)
COMMANDS = st.tuples(
    st.just("command"),
    st.sampled_from(SERIALS),
    st.integers(1, 6),
    st.integers(1, 3),
    st.sampled_from([OrderStatus.canceled, OrderStatus.paused, OrderStatus.running]),
)
LIVES = st.tuples(st.just("live"), st.floats(0.1, 60))
STEPS = st.lists(SUBMITS | COMMANDS | LIVES, max_size=25)


def order(serial_number, number, fence, tasks):
    numbered = tuple(task.model_copy(update={"position": position}) for position, task in enumerate(tasks))
    return Order(key=f"m{number}/1", fence=fence, serial_number=serial_number, mission_id=f"m{number}", tasks=numbered)


def act(world, step):
    """Does one step and gives the key that was accepted, if one was."""
    if step[0] == "live":
        world.advance(world.at + timedelta(seconds=step[1] / world.plan.speed))
        return None
    _, serial_number, number, fence, what = step
    if step[0] == "command":
        world.command(serial_number, f"m{number}/1", what, fence)
        return None
    sent = order(serial_number, number, fence, what)
    return sent.key if isinstance(world.submit(sent), Accepted) else None


def told_by(steps, **plan):
    """Everything a new world says during these steps, and the keys it accepted."""
    with closing(Journal(IN_MEMORY)) as journal:
        world = World(Plan(robots=2, speed=100, history_lives=0, **plan), journal, AT)
        accepted = {key for step in steps if (key := act(world, step))}
        entries = ",".join(one.entry for one in journal.feed_after(0, limit=10_000))
    return translate.events_from(f'{{"entries":[{entries}]}}'.encode()), accepted


def reports_by_key(said):
    found = defaultdict(list)
    for one in said:
        if isinstance(one, OrderReport):
            found[one.key].append(one)
    return found


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_an_order_that_is_over_says_nothing_more(steps):
    said, _ = told_by(steps, failure_rate=0.3, blocked_once=("press-1",))
    for reports in reports_by_key(said).values():
        assert not any(report.status in OVER for report in reports[:-1])


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_the_reports_of_an_order_count_up_and_never_go_back_in_time(steps):
    said, accepted = told_by(steps)
    found = reports_by_key(said)
    assert accepted <= found.keys()
    for reports in found.values():
        assert [report.sequence for report in reports] == list(range(1, len(reports) + 1))
        assert [report.observed_at for report in reports] == sorted(report.observed_at for report in reports)
        assert len({report.serial_number for report in reports}) == 1


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_a_robot_works_on_one_order_at_a_time(steps):
    said, _ = told_by(steps)
    live = defaultdict(set)
    for one in said:
        if isinstance(one, OrderReport):
            (live[one.serial_number].discard if one.status in OVER else live[one.serial_number].add)(one.key)
            assert len(live[one.serial_number]) <= 1
        if isinstance(one, Observation):
            assert one.order_key is None or live[one.serial_number] == {one.order_key}


@settings(max_examples=30, deadline=None)
@given(STEPS)
def test_the_same_steps_give_the_same_night(steps):
    assert told_by(steps, failure_rate=0.3) == told_by(steps, failure_rate=0.3)


@given(x_m=COORDINATES, y_m=COORDINATES, to_x_m=COORDINATES, to_y_m=COORDINATES, seconds=st.floats(0.1, 200))
def test_a_robot_is_never_faster_than_it_can_and_never_overshoots(x_m, y_m, to_x_m, to_y_m, seconds):
    before = Body(x_m, y_m, 0.0, 1.0)
    after = driven(before, to_x_m, to_y_m, seconds=seconds)
    gone_m = before.distance_m(after.x_m, after.y_m)
    assert gone_m <= SPEED_M_S * seconds + 0.02
    assert after.distance_m(to_x_m, to_y_m) <= before.distance_m(to_x_m, to_y_m)
    assert after.odometer_m >= before.odometer_m


@given(st.floats(0, 1), st.floats(0, 1e4), st.floats(0, 1e6))
def test_a_battery_stays_between_empty_and_full(fraction, metres, seconds):
    left = battery.drained(fraction, metres=metres, seconds=seconds)
    assert 0 <= left <= fraction
    assert fraction <= battery.charged(fraction, seconds=seconds) <= 1


@given(st.integers(0, 10**6), st.integers(1, 50), st.floats(0, 1), st.floats(0, 1))
def test_an_older_motor_is_never_less_worn(seed, number, share, other):
    life = wear.life(seed, "SIM-0001", number)
    younger, older = sorted((share * life.length_h, other * life.length_h))
    assert 0 <= life.wear(younger) <= life.wear(older) <= 1
