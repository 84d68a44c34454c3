"""The site of the simulated manufacturer: one hall of about 40 by 30 metres, and the robots that work in it."""

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.adapter import DiscoveredRobot
from fleet.organisations import StationKind

SITE_NAME = "north-plant"
SITE_TIMEZONE = "Europe/Berlin"
MODEL = "Simulated AMR 200"
CAPABILITIES = ("drive", "inspect_thermal", "inspect_vibration")
HOME_SPACING_M = 0.8


@dataclass(frozen=True)
class Place:
    """A named place in metres of the map frame (x east, y north)."""

    name: str
    kind: StationKind
    x_m: float
    y_m: float


SITE_MAP = (
    Place("dock-1", StationKind.dock, 1.0, 1.0),
    Place("dock-2", StationKind.dock, 3.0, 1.0),
    Place("dock-3", StationKind.dock, 5.0, 1.0),
    Place("dock-4", StationKind.dock, 7.0, 1.0),
    Place("gate", StationKind.station, 20.0, 2.0),
    Place("workshop", StationKind.station, 38.0, 3.0),
    Place("press-1", StationKind.inspection_point, 8.0, 10.0),
    Place("press-2", StationKind.inspection_point, 14.0, 10.0),
    Place("pump-1", StationKind.inspection_point, 4.0, 20.0),
    Place("pump-2", StationKind.inspection_point, 10.0, 22.0),
    Place("boiler-1", StationKind.inspection_point, 18.0, 27.0),
    Place("fan-1", StationKind.inspection_point, 24.0, 20.0),
    Place("compressor-1", StationKind.inspection_point, 30.0, 26.0),
    Place("conveyor-1", StationKind.inspection_point, 26.0, 10.0),
    Place("conveyor-2", StationKind.inspection_point, 33.0, 12.0),
    Place("transformer-1", StationKind.inspection_point, 37.0, 22.0),
)
PLACES = {place.name: place for place in SITE_MAP}
DOCKS = tuple(place for place in SITE_MAP if place.kind is StationKind.dock)


def robots(count: int) -> list[DiscoveredRobot]:
    """The first `count` robots: amr-01 with serial number SIM-0001, and so on; the same ones every time."""
    return [
        DiscoveredRobot(
            serial_number=f"SIM-{number:04d}", name=f"amr-{number:02d}", model=MODEL, capabilities=CAPABILITIES
        )
        for number in range(1, count + 1)
    ]


def vehicles(fleet: Sequence[DiscoveredRobot], mqtt_url: str) -> tuple[DiscoveredRobot, ...]:
    """Those that speak VDA 5050 and not ROS 2: the last one, where there is a broker and it is not the only one."""
    return tuple(fleet[-1:]) if mqtt_url and len(fleet) > 1 else ()


def home_of(index: int) -> Place:
    """Where the robot with this index (from 0) docks; beyond four robots a dock is shared, side by side."""
    dock = DOCKS[index % len(DOCKS)]
    return Place(dock.name, dock.kind, dock.x_m, dock.y_m + HOME_SPACING_M * (index // len(DOCKS)))
