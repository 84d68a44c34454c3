"""An order of ours as a route of VDA 5050 nodes and actions (pure), or the reason why this robot cannot do it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from fleet.adapter import Order, OrderTask, TaskKind
from fleet.adapters.vda5050 import outgoing
from fleet.adapters.vda5050.options import Binding, RobotOptions, Value
from fleet.adapters.vda5050.outgoing import Action, Envelope, Node
from fleet.adapters.vda5050.runs import Run, Step, first_report, shaped
from fleet.adapters.vda5050.wire import Factsheet, Place
from fleet.errors import Invalid

# What is tried where neither the options nor the robot's factsheet say how; a robot that cannot do it refuses.
USUAL = {
    TaskKind.wait: Binding(action="wait", parameters={"duration": "$parameters.duration_s|5.0"}, unit=""),
    TaskKind.dock: Binding(action="startCharging", unit=""),
}
ANY = "*"
NEAR_M = 1e-6


@dataclass(frozen=True)
class Ability:
    """What is known of one robot when an order for it is written."""

    envelope: Envelope
    options: RobotOptions
    factsheet: Factsheet | None
    place: Place | None
    last_node_id: str
    shape: tuple[int | None, bool] | None = None  # of ids, where an order at the robot tells it: see `runs.shape_of`

    @property
    def map_id(self) -> str:
        """The map on which nodes are given."""
        return self.options.map_id or (self.place.map_id if self.place else "")

    def id(self, name: str) -> str:
        """An id that follows from a name, within the robot's limits."""
        sheet = self.factsheet
        length, is_numerical = self.shape or ((sheet.id_length, sheet.is_id_numerical) if sheet else (None, False))
        return shaped(name, length=length, is_numerical=is_numerical)


class Unfit(Invalid):
    """The robot cannot do this order; the sentence says why."""


def written(order: Order, ability: Ability, at: datetime, sequence: int) -> Run:
    """The order as it would be sent to this robot, from where it stands.

    Raises:
        Unfit: it cannot be done there; says which task and why.
    """
    if not order.tasks:
        raise Unfit("the order has no tasks")
    nodes, steps = [_start(ability)], []
    for task in order.tasks:
        node, step = _placed(order, task, nodes[-1], ability)
        if node.sequence == nodes[-1].sequence:
            nodes[-1] = node
        else:
            nodes.append(node)
        steps.append(step)
    _within_limits(nodes, ability)
    return Run(
        order_id=ability.id(order.key),
        version=ability.envelope.version,
        route=outgoing.route(nodes, ability.envelope),
        steps=tuple(steps),
        last_sequence=nodes[-1].sequence,
        report=first_report(order, at, sequence),
    )


def tasks_of(options: RobotOptions, factsheet: Factsheet | None) -> frozenset[TaskKind]:
    """The kinds of task that this robot can be asked for."""
    kinds = {TaskKind.go_to, TaskKind.dock}
    for kind in (TaskKind.wait, TaskKind.reading, TaskKind.record_bag):
        binding = options.bound(kind) or USUAL.get(kind)
        if binding is not None and (options.bound(kind) is not None or _is_offered(binding, factsheet)):
            kinds.add(kind)
    if options.action or factsheet is None or _offered_at_nodes(factsheet):
        kinds.add(TaskKind.action)
    return frozenset(kinds)


def _start(ability: Ability) -> Node:
    """The node on which it stands: a temporary one where it is, under the name that it gives to it (6.6.3.1)."""
    place, options = ability.place, ability.options
    if options.is_line_guided or place is None or not place.is_localized:
        if not ability.last_node_id:
            raise Unfit("it has not said where it stands: neither a trusted position nor a last node")
        return Node(ability.last_node_id, 0)
    return Node(
        ability.last_node_id or "start",
        0,
        place.x_m,
        place.y_m,
        place.map_id or ability.map_id,
        deviation_m=options.deviation_m,
    )


def _placed(order: Order, task: OrderTask, last: Node, ability: Ability) -> tuple[Node, Step]:
    node = _target(task, last, ability)
    binding = _binding(task, ability)
    if binding is None or not binding.action:
        return node, Step(position=task.position, sequence=node.sequence)
    parameters = tuple(_filled(binding, order, task))
    action = Action(ability.id(f"{order.key}/{task.position}"), binding.action, parameters, binding.blocking)
    node = replace(node, actions=(*node.actions, action))
    return node, Step(position=task.position, sequence=node.sequence, action_id=action.id, unit=binding.unit)


def _target(task: OrderTask, last: Node, ability: Ability) -> Node:
    options = ability.options
    if task.x_m is None or task.y_m is None:
        named = options.nodes.get(task.station or "")
        if named is not None or (options.is_line_guided and task.station):
            return Node(named or str(task.station), last.sequence + 2)
        if task.kind is TaskKind.go_to or task.station:
            raise Unfit(
                f"task {task.position}: no place is given for station {task.station!r}, nor a node in the options"
            )
        return last
    if not (math.isfinite(task.x_m) and math.isfinite(task.y_m)):
        raise Unfit(f"task {task.position}: its place is no place ({task.x_m}, {task.y_m})")
    if task.kind is not TaskKind.go_to and _is_there(task, last):
        return last
    name = options.nodes.get(task.station or "", task.station or f"n{last.sequence + 2}")
    if options.is_line_guided:
        return Node(name, last.sequence + 2)
    if not ability.map_id:
        raise Unfit("it has not said on which map it stands; give map_id in the account's options")
    yaw = task.parameters.get("yaw_rad")
    return Node(
        name,
        last.sequence + 2,
        task.x_m,
        task.y_m,
        ability.map_id,
        math.remainder(yaw, math.tau) if isinstance(yaw, int | float) and math.isfinite(yaw) else None,
        options.deviation_m,
    )


def _is_there(task: OrderTask, last: Node) -> bool:
    return (
        last.x_m is not None
        and last.y_m is not None
        and abs(last.x_m - (task.x_m or 0.0)) < NEAR_M
        and abs(last.y_m - (task.y_m or 0.0)) < NEAR_M
        and last.sequence > 0
    )


def _binding(task: OrderTask, ability: Ability) -> Binding | None:
    if task.kind is TaskKind.go_to:
        return None
    if task.kind is TaskKind.action:
        return _binding_of_action(task, ability)
    bound = ability.options.bound(task.kind)
    if bound is not None:
        return _offered(task, bound, ability.factsheet)
    usual = USUAL.get(task.kind)
    if task.kind is TaskKind.dock:
        is_charger = ability.factsheet is not None and "startCharging" in ability.factsheet.actions
        return usual if is_charger else None
    if usual is None:
        raise Unfit(f"task {task.position} ({task.kind}): the account's options bind no action to it{_list(ability)}")
    return _offered(task, usual, ability.factsheet)


def _binding_of_action(task: OrderTask, ability: Ability) -> Binding:
    name = str(task.parameters.get("name", ""))
    bound = ability.options.action.get(name) or ability.options.action.get(ANY)
    if bound is None:
        if not name:
            raise Unfit(
                f"task {task.position} (action): parameters.name is missing; it names the action{_list(ability)}"
            )
        given = {key: f"$parameters.{key}" for key in task.parameters if key != "name"}
        bound = Binding(action=name, parameters=dict(given), unit="")
    return _offered(task, bound, ability.factsheet)


def _offered(task: OrderTask, binding: Binding, factsheet: Factsheet | None) -> Binding:
    if not _is_offered(binding, factsheet):
        names = ", ".join(sorted(_offered_at_nodes(factsheet))) if factsheet else ""
        raise Unfit(
            f"task {task.position} ({task.kind}): it offers no action {binding.action!r} at nodes, only {names}"
        )
    allowed = factsheet.actions[binding.action].blocking if factsheet and binding.action in factsheet.actions else ()
    if allowed and binding.blocking not in allowed:
        return binding.model_copy(update={"blocking": allowed[-1]})
    return binding


def _is_offered(binding: Binding, factsheet: Factsheet | None) -> bool:
    offered = _offered_at_nodes(factsheet) if factsheet else frozenset()
    return not offered or not binding.action or binding.action in offered


def _offered_at_nodes(factsheet: Factsheet) -> frozenset[str]:
    return frozenset(name for name, one in factsheet.actions.items() if not one.scopes or "NODE" in one.scopes)


def _list(ability: Ability) -> str:
    names = sorted(_offered_at_nodes(ability.factsheet)) if ability.factsheet else []
    return f"; it offers {', '.join(names)}" if names else ""


def _filled(binding: Binding, order: Order, task: OrderTask) -> Sequence[tuple[str, Value]]:
    """The parameters with values in place of what begins with $; one that is absent without a default is left out."""
    own: Mapping[str, Value | None] = {
        "$station": task.station,
        "$x_m": task.x_m,
        "$y_m": task.y_m,
        "$mission_id": order.mission_id,
        "$key": order.key,
    }
    filled: list[tuple[str, Value]] = []
    for key, value in binding.parameters.items():
        found: Value | None = value
        if isinstance(value, str) and value.startswith("$"):
            name, _, default = value.partition("|")
            found = task.parameters.get(name.removeprefix("$parameters.")) if "." in name else own.get(name)
            found = _plain(default) if found is None else found
        if found is not None:
            filled.append((key, found))
    return filled


def _plain(default: str) -> Value | None:
    if not default:
        return None
    try:
        return float(default)
    except ValueError:
        return default


def _within_limits(nodes: Sequence[Node], ability: Ability) -> None:
    sheet = ability.factsheet
    if sheet is None:
        return
    if sheet.nodes_max and len(nodes) > sheet.nodes_max:
        raise Unfit(f"the order has {len(nodes)} nodes, it takes at most {sheet.nodes_max}; make shorter missions")
    long = [node.id for node in nodes if sheet.id_length and len(node.id) > sheet.id_length]
    if long:
        raise Unfit(f"the node {long[0]!r} has a longer name than {sheet.id_length}; give it another in the options")
    if sheet.is_id_numerical and not all(node.id.isdecimal() for node in nodes):
        raise Unfit("it takes numbers as node names only; name them in the options (nodes)")
