"""A simulated robot as a VDA 5050 vehicle: takes, refuses and follows orders as the standard has it (2.1.0, 6.6).

What it was told is kept in the site's journal, so that the site may be closed and opened again. `Faults` are for tests.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fleet.adapter import OrderReport, OrderStatus, OrderTask, Refused, TaskKind, TaskReport
from fleet.adapters.simulated.execution import LIVE
from fleet.adapters.simulated.journal import Keep
from fleet.adapters.simulated.vda5050_messages import INSTANT, Fault, Identity, Shown
from fleet.adapters.simulated.world import World

Fields = Mapping[str, object]
STATUSES = {
    "pending": "WAITING",
    "running": "RUNNING",
    "succeeded": "FINISHED",
    "failed": "FAILED",
    "skipped": "FAILED",
}
NEAR_M = 1.5  # a start node without a stated deviation


@dataclass
class Faults:
    """What goes wrong on purpose."""

    drop_orders: int = 0  # the next orders are not heard
    drop_instant: int = 0
    is_mute: bool = False  # no states
    lists_instant: bool = True  # whether instant actions are listed in the state
    mode: str = "AUTOMATIC"
    emergency_stop: str = "NONE"
    extra: tuple[Fault, ...] = ()


@dataclass
class Item:
    """A node to come or an action, and the task of the World that stands for it."""

    id: str
    sequence: int
    kind: str  # "node" or an actionType
    task: OrderTask


@dataclass
class Leg:
    """One released part of an order: what one order message added."""

    word: str
    items: list[Item]


@dataclass
class Memory:
    """What it was told."""

    order_id: str = ""
    update_id: int = 0
    start: tuple[str, int] = ("", 0)
    legs: list[Leg] = field(default_factory=list)
    horizon: list[tuple[str, int]] = field(default_factory=list)
    is_cut: bool = False  # cancelled: nodes are gone, actions that were not done have failed
    is_paused: bool = False
    faults: list[Fault] = field(default_factory=list)
    instant: dict[str, tuple[str, str, str]] = field(default_factory=dict)  # id -> type, status, result


class Refusal(Exception):
    """The order is not taken; carries the error to report."""

    def __init__(self, fault: Fault) -> None:
        """See `Fault`."""
        super().__init__(fault.description)
        self.fault = fault


class Vehicle:
    """One robot of the world; the methods are called by whoever carries its messages, in one thread."""

    def __init__(self, world: World, identity: Identity, unit: str) -> None:
        """`unit` is its serial number in the world."""
        self.who, self.faults = identity, Faults()
        self.wants_factsheet = False
        self._world, self._unit = world, unit
        self._fact = f"vda5050/{unit}"
        kept = world.journal.fact(self._fact)
        self.memory = _remembered(json.loads(kept)) if kept else Memory()

    def restart(self, *, forgets: bool) -> None:
        """Begin anew; one that forgets stops and has no order any more."""
        if forgets:
            self._stop()
            self.memory = Memory()
            self._keep()

    def take_order(self, message: Fields) -> None:
        """An order message came."""
        if self.faults.drop_orders > 0:
            self.faults.drop_orders -= 1
            return
        try:
            self._take(message)
        except Refusal as refusal:
            self.memory.faults = [refusal.fault]
        self._keep()

    def take_instant(self, message: Fields) -> None:
        """An instantActions message came."""
        if self.faults.drop_instant > 0:
            self.faults.drop_instant -= 1
            return
        for action in _objects(message.get("actions", message.get("instantActions"))):
            action_id, name = str(action.get("actionId", "")), str(action.get("actionType", ""))
            if action_id not in self.memory.instant:
                status, result = self._instant(action_id, name, action)
                self.memory.instant[action_id] = (name, status, result)
        self._keep()

    def shown(self) -> Shown:
        """What its state tells now."""
        look, memory, faults = self._world.look(self._unit), self.memory, self.faults
        reports = [self._world.given(self._unit, leg.word) for leg in memory.legs]
        self._go_on(reports)
        standing = self._standing(reports)
        body = look.sample.body
        instant = [(key, *said) for key, said in memory.instant.items()] if faults.lists_instant else []
        trouble = self._trouble(reports)
        return Shown(
            order_id=memory.order_id,
            update_id=memory.update_id,
            last_node=self._last_node(standing),
            nodes=self._nodes(standing),
            actions=[
                (item.id, item.kind, _action_status(said, is_cut=memory.is_cut), _result(said))
                for item, said in standing
                if item.kind != "node"
            ],
            instant=instant,
            faults=[*memory.faults, *faults.extra, *trouble],
            place=(body.x_m, body.y_m, body.yaw_rad),
            battery_fraction=body.battery_fraction,
            is_charging=look.seen.activity == "charging",
            is_driving=body.speed_m_s > 0,
            is_paused=memory.is_paused,
            mode=faults.mode,
            emergency_stop=faults.emergency_stop,
        )

    def _take(self, message: Fields) -> None:
        order_id, update_id = message.get("orderId"), message.get("orderUpdateId")
        nodes = _objects(message.get("nodes"))
        if not isinstance(order_id, str) or not isinstance(update_id, int) or not nodes:
            raise Refusal(Fault("validationError", "VALIDATION_FAILURE", description="the order is malformed"))
        about = (("orderId", order_id), ("orderUpdateId", str(update_id)))
        if self.faults.mode != "AUTOMATIC":
            raise Refusal(Fault("orderError", "MOBILE_ROBOT_NOT_AVAILABLE", "WARNING", self.faults.mode, about))
        if order_id != self.memory.order_id:
            self._take_new(order_id, update_id, nodes, about)
        elif update_id < self.memory.update_id:
            raise Refusal(Fault("orderUpdateError", "OUTDATED_ORDER_UPDATE", "WARNING", "deprecated", about))
        elif update_id > self.memory.update_id:
            self._extend(update_id, nodes, about)

    def _take_new(
        self, order_id: str, update_id: int, nodes: Sequence[Fields], about: tuple[tuple[str, str], ...]
    ) -> None:
        if self._has_work():
            words = f"still working on {self.memory.order_id}"
            raise Refusal(Fault("orderError", "OTHER_ORDER_ACTIVE", "WARNING", words, about))
        if not self._is_near(nodes[0]):
            words = "the first node is not where this robot stands"
            raise Refusal(Fault("noRouteError", "START_NODE_OUT_OF_RANGE", "WARNING", words, about))
        leg = self._leg(f"vda5050/{order_id}", nodes, 0, about)
        start = (str(nodes[0].get("nodeId", "")), 0)
        self._give(leg, about)
        kept = self.memory.instant
        self.memory = Memory(order_id, update_id, start, [leg], _horizon(nodes), instant=kept)

    def _extend(self, update_id: int, nodes: Sequence[Fields], about: tuple[tuple[str, str], ...]) -> None:
        last = self._last_of_base()
        if self.memory.is_cut or (nodes[0].get("nodeId"), nodes[0].get("sequenceId")) != last:
            raise Refusal(
                Fault("orderUpdateError", "INVALID_ORDER", "WARNING", f"the update does not begin at {last}", about)
            )
        leg = self._leg(f"vda5050/{self.memory.order_id}/{update_id}", nodes[1:], last[1] + 2, about)
        self.memory.legs.append(leg)
        self.memory.update_id, self.memory.horizon, self.memory.faults = update_id, _horizon(nodes), []

    def _leg(self, word: str, nodes: Sequence[Fields], first: int, about: tuple[tuple[str, str], ...]) -> Leg:
        items: list[Item] = []
        for node in nodes:
            sequence = node.get("sequenceId")
            if not node.get("released") or not isinstance(sequence, int):
                break
            if sequence > 0:
                items.append(Item(str(node.get("nodeId", "")), sequence, "node", _drive(node, len(items))))
            for action in _objects(node.get("actions")):
                task = _work(action, len(items))
                if task is None:
                    words = f"this robot cannot do {action.get('actionType')!r}"
                    raise Refusal(Fault("orderError", "INVALID_ORDER_ACTION", "WARNING", words, about))
                items.append(Item(str(action.get("actionId", "")), sequence, str(action.get("actionType")), task))
        return Leg(word, items)

    def _give(self, leg: Leg, about: tuple[tuple[str, str], ...]) -> None:
        if not leg.items:
            return
        tasks = [item.task for item in leg.items]
        mission_id = next((str(task.parameters["mission_id"]) for task in tasks if "mission_id" in task.parameters), "")
        taken = self._world.give(self._unit, leg.word, tasks, mission_id=mission_id)
        if isinstance(taken, Refused) and self._world.given(self._unit, leg.word) is None:
            raise Refusal(Fault("orderError", "INVALID_ORDER", "WARNING", taken.reason, about))
        said = self._world.given(self._unit, leg.word)
        if said is not None and said.status is OrderStatus.rejected:
            raise Refusal(Fault("orderError", "INVALID_ORDER", "WARNING", said.reason, about))

    def _go_on(self, reports: Sequence[OrderReport | None]) -> None:
        """Begin the next leg when the one before it is done."""
        for index, report in enumerate(reports):
            if report is None and self.memory.legs[index].items and not self.memory.is_cut:
                before = reports[index - 1] if index else None
                if index == 0 or before is None or before.status is OrderStatus.succeeded:
                    self._give(self.memory.legs[index], ())
                return

    def _instant(self, action_id: str, name: str, action: Fields) -> tuple[str, str]:
        if name == "cancelOrder":
            return self._cancel(action_id, action)
        if name in {"startPause", "stopPause"}:
            self.memory.is_paused = name == "startPause"
            self._turn(OrderStatus.paused if self.memory.is_paused else OrderStatus.running)
        elif name == "factsheetRequest":
            self.wants_factsheet = True
        elif name not in INSTANT:
            self._blame(Fault("instantActionError", "INVALID_INSTANT_ACTION", references=(("actionId", action_id),)))
            return "FAILED", f"this robot cannot do {name!r}"
        return "FINISHED", ""

    def _cancel(self, action_id: str, action: Fields) -> tuple[str, str]:
        given = {one.get("key"): one.get("value") for one in _objects(action.get("actionParameters"))}
        wanted = given.get("orderId", self.memory.order_id)
        if not self._has_work() or wanted != self.memory.order_id:
            self._blame(Fault("noOrderToCancel", "NO_ORDER_TO_CANCEL", references=(("actionId", action_id),)))
            return "FAILED", "there is no order to cancel"
        self._stop()
        return "FINISHED", ""

    def _stop(self) -> None:
        self._turn(OrderStatus.canceled)
        self.memory.is_cut, self.memory.horizon = True, []

    def _turn(self, wanted: OrderStatus) -> None:
        for leg in self.memory.legs:
            said = self._world.given(self._unit, leg.word)
            if said is not None and said.status in LIVE:
                self._world.turn(self._unit, leg.word, wanted)

    def _blame(self, fault: Fault) -> None:
        self.memory.faults = [*self.memory.faults[-4:], fault]

    def _has_work(self) -> bool:
        shown = self.shown()
        return bool(shown.nodes) or any(status not in {"FINISHED", "FAILED"} for _, _, status, _ in shown.actions)

    def _standing(self, reports: Sequence[OrderReport | None]) -> list[tuple[Item, TaskReport | None]]:
        pairs: list[tuple[Item, TaskReport | None]] = []
        for leg, report in zip(self.memory.legs, reports, strict=True):
            said = {task.position: task for task in report.tasks} if report else {}
            pairs += [(item, said.get(item.task.position)) for item in leg.items]
        return pairs

    def _nodes(self, standing: Sequence[tuple[Item, TaskReport | None]]) -> list[tuple[str, int, bool]]:
        if self.memory.is_cut:
            return []
        left = [
            (item.id, item.sequence, True)
            for item, said in standing
            if item.kind == "node" and (said is None or said.status != "succeeded")
        ]
        return left + [(name, sequence, False) for name, sequence in self.memory.horizon]

    def _last_node(self, standing: Sequence[tuple[Item, TaskReport | None]]) -> tuple[str, int]:
        done = [item for item, said in standing if item.kind == "node" and said and said.status == "succeeded"]
        return (done[-1].id, done[-1].sequence) if done else self.memory.start

    def _last_of_base(self) -> tuple[str, int]:
        nodes = [item for leg in self.memory.legs for item in leg.items if item.kind == "node"]
        return (nodes[-1].id, nodes[-1].sequence) if nodes else self.memory.start

    def _trouble(self, reports: Sequence[OrderReport | None]) -> list[Fault]:
        failed = next((said for said in reports if said is not None and said.status is OrderStatus.failed), None)
        if failed is None or self.memory.is_cut:
            return []
        about = (("orderId", self.memory.order_id),)
        return [Fault("executionError", "EXECUTION_ERROR", "FATAL", failed.reason, about)]

    def _is_near(self, node: Fields) -> bool:
        said = node.get("nodePosition")
        if not isinstance(said, dict):
            return True
        body = self._world.look(self._unit).sample.body
        given = said.get("allowedDeviationXY", NEAR_M)
        radius = given.get("a", NEAR_M) if isinstance(given, dict) else given
        return bool(math.dist((said["x"], said["y"]), (body.x_m, body.y_m)) <= max(radius, 0.1))

    def _keep(self) -> None:
        self._world.journal.keep(Keep(facts=[(self._fact, json.dumps(_dumped(self.memory)))]))


def _objects(found: object) -> list[Fields]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _horizon(nodes: Sequence[Fields]) -> list[tuple[str, int]]:
    return [(str(node.get("nodeId")), int(str(node.get("sequenceId")))) for node in nodes if not node.get("released")]


def _drive(node: Fields, position: int) -> OrderTask:
    said = node.get("nodePosition")
    place = {"x_m": float(said["x"]), "y_m": float(said["y"])} if isinstance(said, dict) else {}
    return OrderTask(position=position, kind=TaskKind.go_to, station=str(node.get("nodeId")), timeout_s=7200.0, **place)


def _work(action: Fields, position: int) -> OrderTask | None:
    given = {str(one.get("key")): one.get("value") for one in _objects(action.get("actionParameters"))}
    duration = given.get("duration")
    length = {"duration_s": float(duration)} if isinstance(duration, int | float) else {}
    name = action.get("actionType")
    kinds = {
        "wait": TaskKind.wait,
        "perform": TaskKind.action,
        "recordRun": TaskKind.record_bag,
        "takeReading": TaskKind.reading,
        "startCharging": TaskKind.wait,
    }
    if name not in kinds:
        return None
    parameters: dict[str, str | float | int | bool] = {**length}
    if name == "takeReading":
        parameters["quantity"] = str(given.get("quantity", "temperature"))
    if name == "recordRun":
        parameters["mission_id"] = str(given.get("missionId", ""))
    if name == "startCharging":
        parameters["duration_s"] = 0.0
    return OrderTask(position=position, kind=kinds[str(name)], parameters=parameters, timeout_s=7200.0)


def _action_status(said: TaskReport | None, *, is_cut: bool) -> str:
    status = STATUSES[said.status] if said else "WAITING"
    return "FAILED" if is_cut and status != "FINISHED" else status


def _result(said: TaskReport | None) -> str:
    if said is None:
        return ""
    return f"{said.value:g} {said.unit or ''}".strip() if said.value is not None else said.message


def _dumped(memory: Memory) -> Fields:
    legs = [
        [leg.word, [[i.id, i.sequence, i.kind, i.task.model_dump(mode="json")] for i in leg.items]]
        for leg in memory.legs
    ]
    return {
        "order_id": memory.order_id,
        "update_id": memory.update_id,
        "start": memory.start,
        "legs": legs,
        "horizon": memory.horizon,
        "is_cut": memory.is_cut,
        "is_paused": memory.is_paused,
        "instant": memory.instant,
    }


def _remembered(kept: dict[str, object]) -> Memory:
    """What was kept; errors of before are not."""
    legs: object = kept["legs"]
    read = [
        Leg(word, [Item(name, sequence, kind, OrderTask.model_validate(task)) for name, sequence, kind, task in items])
        for word, items in legs  # type: ignore[attr-defined]
    ]
    instant = {key: tuple(said) for key, said in dict(kept["instant"]).items()}  # type: ignore[call-overload]
    start, horizon = kept["start"], kept["horizon"]
    return Memory(
        order_id=str(kept["order_id"]),
        update_id=int(str(kept["update_id"])),
        start=(start[0], start[1]),  # type: ignore[index]
        legs=read,
        horizon=[(name, sequence) for name, sequence in horizon],  # type: ignore[attr-defined]
        is_cut=bool(kept["is_cut"]),
        is_paused=bool(kept["is_paused"]),
        instant=instant,
    )
