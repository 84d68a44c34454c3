"""A simulated robot as a VDA 5050 vehicle: takes, refuses and follows orders as the standard has it (2.1.0, 6.6).

What it was told is kept in the site's journal, so that the site may be closed and opened again. `Faults` are for tests.
"""

import json
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import RLock

from fleet.adapter import OrderReport, OrderStatus, OrderTask, TaskKind, TaskReport
from fleet.adapters.simulated.execution import LIVE
from fleet.adapters.simulated.site_map import PLACES
from fleet.adapters.simulated.vda5050_ground import Ground
from fleet.adapters.simulated.vda5050_memory import Ahead, Item, Leg, Memory, dumped, remembered
from fleet.adapters.simulated.vda5050_messages import INSTANT, Fault, Identity, Shown

Fields = Mapping[str, object]
STATUSES = {
    "pending": "WAITING",
    "running": "RUNNING",
    "succeeded": "FINISHED",
    "failed": "FAILED",
    "skipped": "FAILED",
}
PLACES_REMEMBERED = 60  # three seconds of being looked at
NEAR_M = 1.5  # a start node without a stated deviation


@dataclass
class Faults:
    """What goes wrong on purpose."""

    drop_orders: int = 0  # the next orders are not heard
    drop_instant: int = 0
    is_mute: bool = False  # no states
    lists_instant: bool = True  # whether instant actions are listed in the state
    asks_for_base: bool = True  # whether it says newBaseRequest near the end of what is released
    mode: str = "AUTOMATIC"
    emergency_stop: str = "NONE"
    extra: tuple[Fault, ...] = ()


class Refusal(Exception):
    """The order is not taken; carries the error to report."""

    def __init__(self, fault: Fault) -> None:
        """See `Fault`."""
        super().__init__(fault.description)
        self.fault = fault


class Vehicle:
    """One robot; whoever carries its messages calls the methods, from any thread."""

    def __init__(self, ground: Ground, identity: Identity) -> None:
        """What it was told before is remembered."""
        self.who, self.faults = identity, Faults()
        self.wants_factsheet = False
        self._ground, self._lock = ground, RLock()
        self._told: deque[tuple[float, float]] = deque(maxlen=PLACES_REMEMBERED)
        kept = ground.fact()
        self.memory = remembered(json.loads(kept)) if kept else Memory()

    def restart(self, *, forgets: bool) -> None:
        """Begin anew; one that forgets stops and has no order any more."""
        with self._lock:
            if forgets:
                self._stop()
                self.memory = Memory()
                self._keep()

    def take_order(self, message: Fields) -> None:
        """An order message came."""
        if self.faults.drop_orders > 0:
            self.faults.drop_orders -= 1
            return
        with self._lock:
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
        with self._lock:
            for action in _objects(message.get("actions", message.get("instantActions"))):
                action_id, name = str(action.get("actionId", "")), str(action.get("actionType", ""))
                if action_id not in self.memory.instant:
                    status, result = self._instant(action_id, name, action)
                    self.memory.instant[action_id] = (name, status, result)
            self._keep()

    def shown(self) -> Shown:
        """What its state tells now."""
        with self._lock:
            return self._shown()

    def _shown(self) -> Shown:
        memory, faults = self.memory, self.faults
        reports = [self._ground.given(leg.word) for leg in memory.legs]
        if any(report is not None and report.status is OrderStatus.canceled for report in reports):
            memory.is_cut = True  # ended at the robot itself: by a person, or when it was started anew
        self._go_on(reports)
        standing = self._standing(reports)
        body = self._ground.standing()
        self._told.append((body.x_m, body.y_m))
        instant = [(key, *said) for key, said in memory.instant.items()] if faults.lists_instant else []
        trouble = self._trouble(reports)
        nodes = self._nodes(standing)
        return Shown(
            order_id=memory.order_id,
            update_id=memory.update_id,
            last_node=self._last_node(standing),
            nodes=nodes,
            actions=self._actions(standing),
            instant=instant,
            faults=[*memory.faults, *faults.extra, *trouble],
            place=(body.x_m, body.y_m, body.yaw_rad),
            battery_fraction=body.battery_fraction,
            is_charging=body.is_charging,
            is_driving=body.is_driving,
            is_paused=memory.is_paused,
            is_base_wanted=faults.asks_for_base and _runs_short(nodes),
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
        reason = self._ground.give(leg.word, tasks, mission_id)
        if reason:
            raise Refusal(Fault("orderError", "INVALID_ORDER", "WARNING", reason, about))

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
        self.memory.is_cut = True

    def _turn(self, wanted: OrderStatus) -> None:
        for leg in self.memory.legs:
            said = self._ground.given(leg.word)
            if said is not None and said.status in LIVE:
                self._ground.turn(leg.word, wanted)

    def _blame(self, fault: Fault) -> None:
        self.memory.faults = [*self.memory.faults[-4:], fault]

    def _has_work(self) -> bool:
        shown = self._shown()
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
        return left + [(one.id, one.sequence, False) for one in self.memory.horizon]

    def _actions(self, standing: Sequence[tuple[Item, TaskReport | None]]) -> list[tuple[str, str, str, str]]:
        is_cut = self.memory.is_cut
        told = [
            (item.id, item.kind, _action_status(said, is_cut=is_cut), _result(said))
            for item, said in standing
            if item.kind != "node"
        ]
        ahead = [action for one in self.memory.horizon for action in one.actions]
        return told + [(key, kind, _action_status(None, is_cut=is_cut), "") for key, kind in ahead]

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
        body = self._ground.standing()
        # An order is written from a state: where that was told from counts, too, also if it drove home meanwhile.
        places = [(body.x_m, body.y_m), *self._told]
        given = said.get("allowedDeviationXY", NEAR_M)
        radius = given.get("a", NEAR_M) if isinstance(given, dict) else given
        return any(math.dist((said["x"], said["y"]), place) <= max(radius, 0.1) for place in places)

    def _keep(self) -> None:
        self._ground.remember(json.dumps(dumped(self.memory)))


def _objects(found: object) -> list[Fields]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _horizon(nodes: Sequence[Fields]) -> list[Ahead]:
    return [
        Ahead(
            str(node.get("nodeId")),
            int(str(node.get("sequenceId"))),
            tuple((str(one.get("actionId")), str(one.get("actionType"))) for one in _objects(node.get("actions"))),
        )
        for node in nodes
        if not node.get("released")
    ]


def _runs_short(nodes: Sequence[tuple[str, int, bool]]) -> bool:
    """Whether at most one released node is left before a horizon (newBaseRequest)."""
    free = sum(is_free for _, _, is_free in nodes)
    return free <= 1 and len(nodes) > free


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
    point = None
    if name == "takeReading":
        parameters["quantity"] = str(given.get("quantity", "temperature"))
        point = str(given["point"]) if given.get("point") in PLACES else None
    if name == "recordRun":
        parameters["mission_id"] = str(given.get("missionId", ""))
    if name == "startCharging":
        parameters["duration_s"] = 0.0
    kind = kinds[str(name)]
    return OrderTask(position=position, kind=kind, station=point, parameters=parameters, timeout_s=7200.0)


def _action_status(said: TaskReport | None, *, is_cut: bool) -> str:
    status = STATUSES[said.status] if said else "WAITING"
    return "FAILED" if is_cut and status != "FINISHED" else status


def _result(said: TaskReport | None) -> str:
    if said is None:
        return ""
    return f"{said.value:g} {said.unit or ''}".strip() if said.value is not None else said.message
