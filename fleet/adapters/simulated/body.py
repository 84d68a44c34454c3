"""Where a robot is and how it moves: straight lines at one speed, in metres and radians of the map frame."""

import math
from dataclasses import dataclass, replace

SPEED_M_S = 1.0
ARRIVED_M = 0.01


@dataclass(frozen=True)
class Body:
    """A robot's place, motion, distance ever driven and battery at one instant."""

    x_m: float
    y_m: float
    yaw_rad: float
    battery_fraction: float
    speed_m_s: float = 0.0
    odometer_m: float = 0.0

    def distance_m(self, x_m: float, y_m: float) -> float:
        """The straight line to that point."""
        return math.hypot(x_m - self.x_m, y_m - self.y_m)


def standing(body: Body) -> Body:
    """The same, not moving."""
    return replace(body, speed_m_s=0.0)


def driven(body: Body, x_m: float, y_m: float, *, seconds: float) -> Body:
    """The body after driving towards that point for `seconds`; it stops there when it arrives earlier."""
    left_m = body.distance_m(x_m, y_m)
    if left_m <= ARRIVED_M:
        return replace(body, x_m=x_m, y_m=y_m, speed_m_s=0.0)
    moved_m = min(SPEED_M_S * seconds, left_m)
    share = moved_m / left_m
    return replace(
        body,
        x_m=body.x_m + share * (x_m - body.x_m),
        y_m=body.y_m + share * (y_m - body.y_m),
        yaw_rad=math.atan2(y_m - body.y_m, x_m - body.x_m),
        speed_m_s=moved_m / seconds,
        odometer_m=body.odometer_m + moved_m,
    )
