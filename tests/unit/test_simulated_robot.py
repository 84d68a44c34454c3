"""One simulated robot, lived tick by tick."""

from datetime import UTC, datetime, timedelta

import pytest

from fleet.adapter import Activity, Happening, Observation, Order, OrderReport, OrderStatus, OrderTask, TaskKind
from fleet.adapters.simulated import battery, site_map
from fleet.adapters.simulated.body import Body
from fleet.adapters.simulated.execution import unfit_reason
from fleet.adapters.simulated.hazards import Hazards
from fleet.adapters.simulated.robot import REPAIR_S, STANDS_IN_FAULT_S, Memory, SimulatedRobot

AT = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
TICK_S = 0.5
HOME = site_map.home_of(0)


class Bench:
    """A robot and its simulated time."""

    def __init__(self, hazards=None, **memory):
        battery_fraction = memory.pop("battery_fraction", 0.9)
        body = Body(HOME.x_m, HOME.y_m, yaw_rad=0.0, battery_fraction=battery_fraction)
        remembered = Memory(body=body, **memory)
        self.robot = SimulatedRobot(site_map.robots(1)[0], HOME, remembered, hazards or Hazards(seed=7))
        self.at = AT
        self.said = []

    def begin(self, *tasks, key="m/1"):
        order = Order(key=key, fence=1, serial_number="SIM-0001", mission_id="m", tasks=tasks)
        self.said += self.robot.begin(order, self.at)

    def live(self, seconds):
        for _ in range(int(seconds / TICK_S)):
            self.at += timedelta(seconds=TICK_S)
            self.said += self.robot.tick(TICK_S, self.at)

    @property
    def report(self):
        return self.robot.execution.report

    @property
    def happened(self):
        return [said for said in self.said if isinstance(said, Happening)]


def task(kind, station=None, position=0, timeout_s=600.0, **parameters):
    return OrderTask(position=position, kind=kind, station=station, parameters=parameters, timeout_s=timeout_s)


def test_it_drives_to_the_station_at_one_metre_a_second():
    bench = Bench()
    bench.begin(task(TaskKind.go_to, "dock-4"))
    bench.live(5.5)
    assert bench.report.status is OrderStatus.running
    bench.live(2)
    assert bench.report.status is OrderStatus.succeeded
    assert (bench.robot.memory.body.x_m, bench.robot.memory.body.y_m) == (7.0, 1.0)
    assert bench.robot.memory.body.odometer_m == pytest.approx(6.0)


def test_a_reading_is_taken_at_the_point_and_carries_its_unit():
    bench = Bench()
    bench.begin(task(TaskKind.reading, "press-1", quantity="vibration"))
    bench.live(30)
    (told,) = bench.report.tasks
    assert told.status == "succeeded"
    assert told.unit == "m/s^2"
    assert 0 < told.value < 5
    assert told.finished_at - told.started_at > timedelta(seconds=10)


def test_the_same_point_read_by_two_robots_of_one_seed_differs_only_by_noise():
    values = []
    for _ in range(2):
        bench = Bench()
        bench.begin(task(TaskKind.reading, "press-1"), task(TaskKind.reading, "press-1", 1))
        bench.live(60)
        values.append([told.value for told in bench.report.tasks])
    assert values[0] == values[1]
    assert values[0][0] != values[0][1]
    assert values[0][0] == pytest.approx(values[0][1], abs=5)


def test_the_battery_drains_with_the_way_and_an_idle_robot_goes_home_and_charges():
    bench = Bench()
    bench.begin(task(TaskKind.go_to, "transformer-1"))
    bench.live(60)
    after_drive = bench.robot.memory.body.battery_fraction
    assert after_drive < 0.9 - 40 * battery.DRAIN_PER_M
    bench.live(120)
    assert bench.robot.memory.body.distance_m(HOME.x_m, HOME.y_m) < 0.02
    bench.live(600)
    assert bench.robot.memory.body.battery_fraction > after_drive


def test_a_robot_that_must_charge_says_charging_until_it_has_enough():
    bench = Bench(battery_fraction=0.3)
    bench.live(1)
    assert bench.robot.activity is Activity.charging
    bench.live((0.9 - 0.3) / battery.CHARGE_PER_S + 1)
    assert bench.robot.activity is Activity.idle


def test_a_docked_robot_with_enough_charge_is_idle_and_may_be_given_work():
    bench = Bench(battery_fraction=0.8)
    bench.live(10)
    assert bench.robot.activity is Activity.idle


def test_a_canceled_robot_stops_at_once_and_stays_where_it_is():
    bench = Bench()
    bench.begin(task(TaskKind.go_to, "transformer-1"))
    bench.live(10)
    bench.said += bench.robot.obey(OrderStatus.canceled, bench.at)
    where = bench.robot.memory.body
    assert where.speed_m_s == 0
    bench.live(300)
    assert (bench.robot.memory.body.x_m, bench.robot.memory.body.y_m) == (where.x_m, where.y_m)
    assert bench.report.status is OrderStatus.canceled
    assert [told.status for told in bench.report.tasks] == ["skipped"]


def test_a_paused_robot_holds_and_goes_on_when_told():
    bench = Bench()
    bench.begin(task(TaskKind.go_to, "transformer-1"))
    bench.live(5)
    bench.robot.obey(OrderStatus.paused, bench.at)
    where = bench.robot.memory.body.x_m
    bench.live(30)
    assert bench.robot.memory.body.x_m == where
    assert bench.robot.activity is Activity.paused
    bench.robot.obey(OrderStatus.running, bench.at)
    bench.live(60)
    assert bench.report.status is OrderStatus.succeeded


def test_resuming_what_was_not_paused_says_nothing():
    bench = Bench()
    bench.begin(task(TaskKind.wait, duration_s=60.0))
    assert bench.robot.obey(OrderStatus.running, bench.at) == []


def test_the_first_order_to_a_blocked_station_fails_and_the_second_passes():
    bench = Bench(Hazards(seed=7, blocked={"press-1"}))
    bench.begin(task(TaskKind.go_to, "press-1"))
    bench.live(60)
    assert bench.report.status is OrderStatus.failed
    assert bench.report.reason == "path blocked at press-1"
    bench.begin(task(TaskKind.go_to, "press-1"), key="m/2")
    bench.live(60)
    assert bench.report.status is OrderStatus.succeeded


def test_a_failed_order_is_told_once_as_a_happening():
    bench = Bench(Hazards(seed=7, failure_rate=1.0))
    bench.begin(task(TaskKind.go_to, "press-1"))
    bench.live(60)
    (failed,) = bench.happened
    assert (failed.kind, failed.key) == ("mission_failed", "m/1/failed")
    assert failed.fields["reason"] == bench.report.reason


def test_a_task_that_takes_longer_than_its_limit_fails():
    bench = Bench()
    bench.begin(task(TaskKind.wait, timeout_s=5.0, duration_s=60.0))
    bench.live(10)
    assert bench.report.status is OrderStatus.failed
    assert "longer than 5 s" in bench.report.reason


def test_tasks_after_a_failed_one_are_skipped():
    bench = Bench(Hazards(seed=7, blocked={"press-1"}))
    bench.begin(task(TaskKind.wait), task(TaskKind.go_to, "press-1", 1), task(TaskKind.wait, position=2))
    bench.live(60)
    assert [told.status for told in bench.report.tasks] == ["succeeded", "failed", "skipped"]


def test_a_low_battery_is_told_once_until_it_was_charged():
    bench = Bench(battery_fraction=battery.LOW + 0.002)
    bench.begin(task(TaskKind.go_to, "press-1"))
    bench.live(60)
    assert [said.kind for said in bench.happened] == ["battery_low"]
    assert bench.happened[0].severity == "warning"


def test_an_empty_battery_ends_the_order():
    bench = Bench(battery_fraction=battery.EMPTY + 0.001)
    bench.begin(task(TaskKind.go_to, "transformer-1"))
    bench.live(60)
    assert bench.report.reason == "battery empty"


def test_a_motor_at_the_end_of_its_life_fails_is_repaired_and_starts_a_new_life():
    bench = Bench()
    bench.robot.memory.operating_h = bench.robot.life.length_h - 2 / 3600
    bench.begin(task(TaskKind.wait, duration_s=60.0))
    bench.live(5)
    assert bench.robot.activity is Activity.error
    assert [said.kind for said in bench.happened] == ["mission_failed", "component_failed"]
    bench.live(STANDS_IN_FAULT_S)
    assert bench.robot.activity is Activity.maintenance
    bench.live(REPAIR_S)
    assert bench.robot.activity is Activity.idle
    assert bench.happened[-1].kind == "component_replaced"
    assert (bench.robot.memory.life, bench.robot.memory.operating_h) == (2, 0.0)
    assert bench.happened[1].key != bench.happened[2].key


def test_operating_hours_count_only_work():
    bench = Bench()
    bench.live(100)
    assert bench.robot.memory.operating_h == 0
    bench.begin(task(TaskKind.wait, duration_s=36.0))
    bench.live(100)
    assert bench.robot.memory.operating_h == pytest.approx(36 / 3600, rel=0.1)


def test_reports_of_an_order_have_rising_sequences_and_every_change_comes_with_the_robots_state():
    bench = Bench()
    bench.begin(task(TaskKind.go_to, "dock-4"), task(TaskKind.wait, position=1))
    bench.live(30)
    sequences = [said.sequence for said in bench.said if isinstance(said, OrderReport)]
    assert sequences == sorted(set(sequences))
    assert isinstance(bench.said[-1], Observation)
    assert bench.said[-1].activity is Activity.idle
    assert bench.said[-1].order_key is None


def test_nothing_is_said_while_nothing_changes():
    bench = Bench()
    bench.live(10)
    bench.said.clear()
    bench.live(10)
    assert bench.said == []


def test_an_order_is_taken_up_again_at_the_task_that_was_at_hand():
    first = Bench()
    first.begin(task(TaskKind.wait), task(TaskKind.wait, position=1, duration_s=60.0))
    first.live(10)
    second = Bench()
    second.robot.take_up(first.robot.execution.order, first.report)
    second.live(70)
    assert second.report.status is OrderStatus.succeeded
    assert second.report.tasks[0] == first.report.tasks[0]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (task(TaskKind.go_to), "no coordinates"),
        (task(TaskKind.go_to, "atlantis"), "atlantis"),
        (task(TaskKind.reading, "press-1", quantity="gas"), "gas"),
        (task(TaskKind.wait, duration_s=-1.0), "duration_s"),
        (task(TaskKind.wait, duration_s="long"), "duration_s"),
        (task(TaskKind.wait, duration_s=float("nan")), "duration_s"),
    ],
)
def test_a_task_that_it_cannot_do_is_named_with_the_reason(wrong, reason):
    order = Order(key="m/1", fence=1, serial_number="S", mission_id="m", tasks=(wrong,))
    assert reason in unfit_reason(order)


def test_a_task_with_coordinates_needs_no_known_station():
    free = OrderTask(position=0, kind=TaskKind.go_to, station="somewhere", x_m=2.0, y_m=2.0)
    assert unfit_reason(Order(key="m/1", fence=1, serial_number="S", mission_id="m", tasks=(free,))) is None
