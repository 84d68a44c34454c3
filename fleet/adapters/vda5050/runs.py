"""One order at a robot: what was sent of it and how far it is known to be, as a value. The journal keeps a run as JSON."""

from collections.abc import Sequence
from datetime import datetime
from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic import ConfigDict, Field

from fleet.adapter import Frozen, Order, OrderReport, OrderStatus, TaskReport

NAMESPACE = uuid5(NAMESPACE_URL, "https://yardmaster/vda5050")
TELLING = 8  # characters of an id: fewer may agree by chance
OVER = frozenset({OrderStatus.succeeded, OrderStatus.failed, OrderStatus.canceled, OrderStatus.rejected})


class Step(Frozen):
    """Where a task is in the route: its node, and its action when it has one."""

    position: int
    sequence: int
    action_id: str = ""
    unit: str = ""


class Run(Frozen):
    """An order at a robot, sent or about to be."""

    model_config = ConfigDict(extra="ignore")  # a journal of another release has fields of its own

    order_id: str
    version: str = Field(description="of the protocol in which the route is written")
    route: dict[str, object]
    steps: tuple[Step, ...]
    last_sequence: int
    idles: int = Field(
        0, description="states that showed the order without work before one showed it with work; -1: it did"
    )
    report: OrderReport
    sends: int = 0
    is_confirmed: bool = False
    is_withdrawn: bool = Field(
        False, description="said to be not found and not sent on by itself; it is followed should it come up"
    )
    is_cancel_asked: bool = False
    cut_reason: str = Field("", description="why the rest is cancelled by us although nobody asked: it ends as failed")
    cancels: int = Field(0, description="cancelOrder actions that the robot answered with FAILED, or not at all")
    cancel_sends: int = 0
    is_pause_asked: bool | None = None
    pauses: int = 0
    troubles_before: tuple[str, ...] = Field(
        (), description="order errors that stood before it was sent, or its update"
    )
    stood_at: tuple[str, int | None] | None = Field(None, description="last node and sequence before it was sent")
    ahead: int = Field(
        -1, description="sequenceId of the first node that was still to come when a state last listed any"
    )
    update_id: int = Field(0, description="orderUpdateId of what was sent last, or is about to be")
    stitch: int = Field(0, description="sequenceId of the node with which that begins")
    is_stitch_bare: bool = Field(False, description="the actions of that node are left out: they are done")
    base_end: int | None = Field(None, description="sequenceId of the last node that it releases; None: the very last")
    has_shown_horizon: bool = Field(False, description="a state has listed nodes that are not released")

    @property
    def is_over(self) -> bool:
        """Whether nothing can become of it any more."""
        return self.report.status in OVER

    @property
    def released_to(self) -> int:
        """sequenceId of the decision point: the last node that is released, as far as was sent."""
        return self.last_sequence if self.base_end is None else self.base_end

    @property
    def is_whole(self) -> bool:
        """Whether all of it is released."""
        return self.released_to >= self.last_sequence

    def is_at(self, sequence: int, last_node_id: str, last_sequence: int | None) -> bool:
        """Whether a robot that says these stands on this node; robots that do not keep lastNodeSequenceId say 0."""
        names = self._names
        here = names.get(sequence, "")
        if last_node_id and last_node_id != here:
            return False
        if last_sequence or not last_node_id:
            return last_sequence == sequence
        # Of two stops at one place it may be on either, or cut short between them.
        return last_sequence == sequence or list(names.values()).count(here) == 1

    def may_be_at(self, sequence: int, last_node_id: str) -> bool:
        """Whether a robot whose last node is this may stand on this node, as far as the name tells."""
        return last_node_id in {"", self._names.get(sequence, "")}

    @property
    def _names(self) -> dict[int, str]:
        nodes = self.route.get("nodes")
        listed: Sequence[dict[str, object]] = nodes if isinstance(nodes, list) else ()
        return {int(str(node["sequenceId"])): str(node["nodeId"]) for node in listed}

    def instant_id(self, name: str, count: int) -> str:
        """The id of an instant action about this order; the same for the same count."""
        return str(uuid5(NAMESPACE, f"{self.order_id}/{name}/{count}"))


def unknown_to_cancel(order_id: str, version: str, report: OrderReport) -> Run:
    """An order that another gateway sent and that is to be cancelled: nothing is known of its route."""
    return Run(
        order_id=order_id,
        version=version,
        route={},
        steps=(),
        last_sequence=-1,
        idles=-1,
        report=report,
        is_confirmed=True,
        is_cancel_asked=True,
    )


def shaped(name: str, *, length: int | None, is_numerical: bool) -> str:
    """An id that follows from a name, within the limits of the robot's factsheet."""
    found = uuid5(NAMESPACE, name)
    text = str(found.int) if is_numerical else str(found)
    if length is None or length <= 0 or len(text) <= length:
        return text
    return (text if is_numerical else UUID(text).hex)[:length]


def shape_of(order_id: str | None, key: str) -> tuple[int | None, bool] | None:
    """The limits (length, numerical) under which this orderId follows from the key; None when it does not.

    A gateway may have to know an order again before it has heard the factsheet by which another gateway shaped its id.
    """
    if not order_id or len(order_id) < TELLING:
        return None
    for is_numerical in (False, True):
        for length in (None, len(order_id)):
            if shaped(key, length=length, is_numerical=is_numerical) == order_id:
                return length, is_numerical
    return None


def order_id(key: str) -> str:
    """The orderId of an attempt at a robot whose factsheet does not limit ids."""
    return shaped(key, length=None, is_numerical=False)


def first_report(order: Order, at: datetime, sequence: int) -> OrderReport:
    """What is said of an order before the robot has said anything; it is not told."""
    tasks = tuple(TaskReport(position=task.position, status="pending") for task in order.tasks)
    return OrderReport(
        key=order.key,
        serial_number=order.serial_number,
        status=OrderStatus.not_found,
        observed_at=at,
        sequence=sequence,
        fence=order.fence,
        tasks=tasks,
    )
