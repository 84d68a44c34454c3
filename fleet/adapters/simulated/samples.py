"""What a robot's sensors show at one instant."""

from dataclasses import dataclass

from fleet.adapters.simulated.body import Body
from fleet.adapters.simulated.wear import Signs


@dataclass(frozen=True)
class Sample:
    """What the sensors of one robot showed at one instant, before noise; `component` names the drive motor."""

    at_ns: int
    body: Body
    operating_h: float
    signs: Signs
    component: str
