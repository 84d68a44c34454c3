"""An order that another gateway may have begun: what the robot's own state says of it, with what the platform was told (pure)."""

from fleet.adapter import Unknown
from fleet.adapters.vda5050.runs import shape_of
from fleet.adapters.vda5050.wire import State
from fleet.push import Inheritance


def doubt_of(state: State | None, said: Inheritance) -> Unknown | None:
    """Why it is not certain that an order never came to a robot that does not show it; None when it is.

    A state shows the last order that the robot took until it takes another, or is started anew and shows none.
    """
    shown = state.order_id if state is not None else None
    if said.is_begun:
        return Unknown(why="the robot had it from another gateway and does not show it now; what it did is not known")
    if shown and any(shape_of(shown, key) for key in said.earlier):
        return None  # the one before it is still the last one
    if shown == "" and not said.has_worked:
        return None
    words = f"order {shown!r}, which is none of ours before it" if shown else "no order, as after a restart"
    return Unknown(why=f"another gateway may have sent it, and the robot's state shows {words}")
