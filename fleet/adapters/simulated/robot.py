"""One robot: it carries out an order, goes home and charges, wears out and is repaired. Steps of simulated time only."""

from dataclasses import replace
from datetime import datetime

from pydantic import BaseModel

from fleet.adapter import (
    Activity,
    DiscoveredRobot,
    Happening,
    Observation,
    Order,
    OrderReport,
    OrderStatus,
    Reported,
    TaskKind,
)
from fleet.adapters.simulated import battery, wear
from fleet.adapters.simulated.body import ARRIVED_M, Body, driven, standing
from fleet.adapters.simulated.execution import Execution, Point, begun, point_of, resumed, work_s
from fleet.adapters.simulated.hazards import NEAR_M, Hazards
from fleet.adapters.simulated.readings import quantity_of, reading
from fleet.adapters.simulated.samples import Sample
from fleet.adapters.simulated.site_map import Place
from fleet.adapters.simulated.translate import stamp_from

GOES_HOME_AFTER_S = 30.0
STANDS_IN_FAULT_S = 60.0
REPAIR_S = 1800.0
HOUR_S = 3600.0


class Memory(BaseModel):
    """What a robot must not forget when the site is closed and opened again."""

    body: Body
    life: int = 1
    operating_h: float = 0.0
    fence: int = 0
    orders: int = 0
    readings: int = 0
    low_batteries: int = 0
    rest_s: float = 0.0
    repair_s: float = 0.0
    is_charging: bool = False
    is_low: bool = False
    is_told_to_stay: bool = False


class SimulatedRobot:
    """A robot that lives in `tick`s; it says what changed and keeps no clock of its own."""

    def __init__(self, identity: DiscoveredRobot, home: Place, memory: Memory, hazards: Hazards) -> None:
        """`home` is the dock it returns to; `hazards` are shared with the other robots of the site."""
        self.identity = identity
        self.home = home
        self.memory = memory
        self.hazards = hazards
        self.execution: Execution | None = None
        self._happened: list[Happening] = []
        self.life = wear.life(hazards.seed, identity.serial_number, memory.life)

    @property
    def activity(self) -> Activity:
        """What it is doing."""
        if self.memory.repair_s > 0:
            return Activity.error if self.memory.repair_s > REPAIR_S else Activity.maintenance
        if self.execution and self.execution.is_live:
            is_paused = self.execution.report.status is OrderStatus.paused
            return Activity.paused if is_paused else Activity.executing
        return Activity.charging if self.memory.is_charging else Activity.idle

    def observation(self, at: datetime) -> Observation:
        """What it says of itself at this instant."""
        body, execution = self.memory.body, self.execution
        return Observation(
            serial_number=self.identity.serial_number,
            observed_at=at,
            activity=self.activity,
            battery_fraction=body.battery_fraction,
            x_m=body.x_m,
            y_m=body.y_m,
            yaw_rad=body.yaw_rad,
            order_key=execution.order.key if execution and execution.is_live else None,
        )

    def sample(self, at: datetime) -> Sample:
        """What its sensors show at this instant."""
        memory, is_driving = self.memory, self.memory.body.speed_m_s > 0
        return Sample(
            at_ns=stamp_from(at) * 1000,
            body=memory.body,
            operating_h=memory.operating_h,
            signs=self.life.signs(memory.operating_h, load=1.0 if is_driving else 0.0),
            component=f"{self.identity.serial_number}/{wear.COMPONENT}/{memory.life}",
        )

    def begin(self, order: Order, at: datetime) -> list[Reported]:
        """Take the order; the caller has made sure that it may."""
        self.execution = begun(order, at)
        self.memory.orders += 1
        self.memory.rest_s, self.memory.is_charging, self.memory.is_told_to_stay = 0.0, False, False
        return self._news(at)

    def take_up(self, order: Order, report: OrderReport) -> None:
        """Go on with an order after the site was closed and opened again."""
        self.execution = resumed(order, report)

    def obey(self, status: OrderStatus, at: datetime, reason: str = "canceled on request") -> list[Reported]:
        """Cancel (with a reason), pause or go on with the order at hand; it stops where it is. Twice changes nothing."""
        execution = self.execution
        if execution is None or not execution.is_live or execution.report.status is status:
            return []
        if status is OrderStatus.running and execution.report.status is not OrderStatus.paused:
            return []
        execution.turn(status, at, reason if status is OrderStatus.canceled else "")
        self.memory.body = standing(self.memory.body)
        self.memory.is_told_to_stay = status is OrderStatus.canceled
        return self._news(at)

    def tick(self, seconds: float, at: datetime) -> list[Reported]:
        """Live for `seconds` until `at`; what changed meanwhile, oldest first."""
        before = self.activity
        if self.memory.repair_s > 0:
            self._be_repaired(seconds, at)
        elif self.execution and self.execution.is_live:
            self._work(self.execution, seconds, at)
        else:
            self._rest(seconds)
        self._watch_battery(at)
        if not (self._happened or (self.execution and self.execution.changes)) and self.activity is before:
            return []
        return self._news(at)

    def _news(self, at: datetime) -> list[Reported]:
        reports = self.execution.told() if self.execution else []
        happened, self._happened = self._happened, []
        return [*reports, *happened, self.observation(at)]

    def _work(self, execution: Execution, seconds: float, at: datetime) -> None:
        if execution.report.status is OrderStatus.paused:
            self._stand(seconds)
            return
        if execution.report.status is OrderStatus.accepted:
            execution.turn(OrderStatus.running, at)
        execution.begin_task(at)
        execution.task_s += seconds
        self.memory.operating_h += seconds / HOUR_S
        reason = self._trouble(execution)
        if self.memory.operating_h >= self.life.length_h:
            self._break_down(at)
        elif reason:
            self._fail(execution, reason, at)
        else:
            self._go_on(execution, seconds, at)

    def _trouble(self, execution: Execution) -> str | None:
        task, station = execution.task, execution.task.station
        if execution.task_s > task.timeout_s:
            return f"task {task.position} took longer than {task.timeout_s:g} s"
        if self.memory.body.battery_fraction < battery.EMPTY:
            return "battery empty"
        target = self._target(execution)
        if target and self.memory.body.distance_m(*target) <= NEAR_M and self.hazards.blocks(station):
            return f"path blocked at {station}"
        serial_number = self.identity.serial_number
        fault = self.hazards.fault(serial_number, self.memory.orders, len(execution.order.tasks))
        return fault[1] if fault and fault[0] == execution.current else None

    def _target(self, execution: Execution) -> Point | None:
        point = point_of(execution.task)
        return self._home if point is None and execution.task.kind is TaskKind.dock else point

    @property
    def _home(self) -> Point:
        return self.home.x_m, self.home.y_m

    def _go_on(self, execution: Execution, seconds: float, at: datetime) -> None:
        target = self._target(execution)
        if target and self.memory.body.distance_m(*target) > ARRIVED_M:
            self._drive(target, seconds)
            return
        self._stand(seconds)
        execution.work_s += seconds
        if execution.work_s < work_s(execution.task):
            return
        value, unit = self._reading(execution) if execution.task.kind is TaskKind.reading else (None, None)
        execution.finish_task(at, value=value, unit=unit)

    def _reading(self, execution: Execution) -> tuple[float, str]:
        self.memory.readings += 1
        return reading(
            self.hazards.seed,
            execution.task.station or "here",
            quantity_of(execution.task),
            reader=self.identity.serial_number,
            count=self.memory.readings,
        )

    def _fail(self, execution: Execution, reason: str, at: datetime) -> None:
        execution.turn(OrderStatus.failed, at, reason)
        self.memory.body = standing(self.memory.body)
        key = execution.order.key
        self._tell("mission_failed", f"{key}/failed", at, "warning", {"order_key": key, "reason": reason})

    def _break_down(self, at: datetime) -> None:
        if self.execution and self.execution.is_live:
            self._fail(self.execution, f"{wear.COMPONENT} failed", at)
        self.memory.repair_s = STANDS_IN_FAULT_S + REPAIR_S
        self._tell("component_failed", self._life_key("failed"), at, "error", self._component())

    def _be_repaired(self, seconds: float, at: datetime) -> None:
        self.memory.repair_s = max(self.memory.repair_s - seconds, 0.0)
        if self.memory.repair_s == 0:
            self._tell("component_replaced", self._life_key("replaced"), at, "info", self._component())
            self.memory.life, self.memory.operating_h = self.memory.life + 1, 0.0
            self.life = wear.life(self.hazards.seed, self.identity.serial_number, self.memory.life)

    def _life_key(self, what: str) -> str:
        return life_key(self.identity.serial_number, self.memory.life, what)

    def _component(self) -> dict[str, str | float | int | bool | None]:
        return {"component": wear.COMPONENT, "operating_hours": self.memory.operating_h, "life": self.memory.life}

    def _rest(self, seconds: float) -> None:
        memory = self.memory
        memory.rest_s += seconds
        needs_charge = memory.body.battery_fraction < battery.MUST_CHARGE
        if memory.body.distance_m(*self._home) <= ARRIVED_M:
            self._charge(seconds)
        elif needs_charge or (memory.rest_s > GOES_HOME_AFTER_S and not memory.is_told_to_stay):
            self._drive(self._home, seconds)
        else:
            self._stand(seconds)

    def _charge(self, seconds: float) -> None:
        fraction = battery.charged(self.memory.body.battery_fraction, seconds=seconds)
        self.memory.body = replace(standing(self.memory.body), battery_fraction=fraction)
        needs = battery.CHARGED_ENOUGH if self.memory.is_charging else battery.MUST_CHARGE
        self.memory.is_charging = fraction < needs

    def _drive(self, target: Point, seconds: float) -> None:
        before = self.memory.body
        after = driven(before, *target, seconds=seconds)
        metres = after.odometer_m - before.odometer_m
        left = battery.drained(before.battery_fraction, metres=metres, seconds=seconds)
        self.memory.body = replace(after, battery_fraction=left)

    def _stand(self, seconds: float) -> None:
        left = battery.drained(self.memory.body.battery_fraction, metres=0.0, seconds=seconds)
        self.memory.body = replace(standing(self.memory.body), battery_fraction=left)

    def _watch_battery(self, at: datetime) -> None:
        memory, fraction = self.memory, self.memory.body.battery_fraction
        if fraction < battery.LOW and not memory.is_low:
            memory.is_low, memory.low_batteries = True, memory.low_batteries + 1
            key = f"{self.identity.serial_number}/battery_low/{memory.low_batteries}"
            self._tell("battery_low", key, at, "warning", {"battery_fraction": fraction})
        elif fraction > battery.MUST_CHARGE:
            memory.is_low = False

    def _tell(
        self, kind: str, key: str, at: datetime, severity: str, fields: dict[str, str | float | int | bool | None]
    ) -> None:
        serial_number = self.identity.serial_number
        said = {"key": key, "kind": kind, "occurred_at": at, "serial_number": serial_number, "severity": severity}
        self._happened.append(Happening.model_validate({**said, "fields": fields}))


def life_key(serial_number: str, life: int, what: str) -> str:
    """The key under which the end of one life of a drive motor is told, `what` being failed or replaced."""
    return f"{serial_number}/{wear.COMPONENT}/{life}/{what}"
