"""What a simulated VDA 5050 vehicle was told and remembers over a restart."""

from dataclasses import dataclass, field

from fleet.adapter import OrderTask
from fleet.adapters.simulated.vda5050_messages import Fault


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


@dataclass(frozen=True)
class Ahead:
    """One node of the horizon: announced, not released."""

    id: str
    sequence: int
    actions: tuple[tuple[str, str], ...] = ()  # id, type


@dataclass
class Memory:
    """What it was told."""

    order_id: str = ""
    update_id: int = 0
    start: tuple[str, int] = ("", 0)
    legs: list[Leg] = field(default_factory=list)
    horizon: list[Ahead] = field(default_factory=list)
    is_cut: bool = False  # cancelled: nodes are gone, actions that were not done have failed
    is_paused: bool = False
    faults: list[Fault] = field(default_factory=list)
    instant: dict[str, tuple[str, str, str]] = field(default_factory=dict)  # id -> type, status, result


def dumped(memory: Memory) -> dict[str, object]:
    """As it is kept."""
    legs = [
        [leg.word, [[i.id, i.sequence, i.kind, i.task.model_dump(mode="json")] for i in leg.items]]
        for leg in memory.legs
    ]
    return {
        "order_id": memory.order_id,
        "update_id": memory.update_id,
        "start": memory.start,
        "legs": legs,
        "horizon": [[one.id, one.sequence, one.actions] for one in memory.horizon],
        "is_cut": memory.is_cut,
        "is_paused": memory.is_paused,
        "instant": memory.instant,
    }


def remembered(kept: dict[str, object]) -> Memory:
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
        horizon=[
            Ahead(name, sequence, tuple((key, kind) for key, kind in actions))
            for name, sequence, actions in horizon  # type: ignore[attr-defined]
        ],
        is_cut=bool(kept["is_cut"]),
        is_paused=bool(kept["is_paused"]),
        instant=instant,
    )
