"""What a simulated robot says over VDA 5050, in the words of each version (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

Message = dict[str, object]
SERIES = "Simulated AMR 200"
MAP = "north-plant"
# actionType -> its parameters
ACTIONS: Mapping[str, Sequence[str]] = {
    "wait": ("duration",),
    "takeReading": ("point", "quantity"),
    "perform": ("name", "duration"),
    "recordRun": ("missionId",),
    "startCharging": (),
}
INSTANT = ("cancelOrder", "startPause", "stopPause", "stateRequest", "factsheetRequest")


@dataclass(frozen=True)
class Identity:
    """Who says it, in which version."""

    manufacturer: str
    serial_number: str
    version: str

    @property
    def is_3(self) -> bool:
        """Whether the words of 3.0 are used."""
        return self.version.startswith("3")


@dataclass(frozen=True)
class Fault:
    """One entry of the errors; the type is given in 2.x's and 3.0's spelling."""

    type_2: str
    type_3: str
    level: str = "WARNING"
    description: str = ""
    references: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Shown:
    """Everything that a state tells."""

    order_id: str
    update_id: int
    last_node: tuple[str, int]
    nodes: Sequence[tuple[str, int, bool]]  # id, sequence, released
    actions: Sequence[tuple[str, str, str, str]]  # id, type, status, result
    instant: Sequence[tuple[str, str, str, str]]
    faults: Sequence[Fault]
    place: tuple[float, float, float]
    battery_fraction: float
    is_charging: bool
    is_driving: bool
    is_paused: bool
    is_base_wanted: bool = False
    mode: str = "AUTOMATIC"
    emergency_stop: str = "NONE"


def headed(who: Identity, number: int, at: datetime, body: Message) -> Message:
    """A message with its header."""
    return {
        "headerId": number,
        "timestamp": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 10_000:02d}Z",
        "version": who.version,
        "manufacturer": who.manufacturer,
        "serialNumber": who.serial_number,
    } | body


def connection(who: Identity, said: str) -> Message:
    """The body of a connection message; `said` as 3.0 spells it."""
    return {"connectionState": said if who.is_3 else said.replace("_", "")}


def state(who: Identity, shown: Shown) -> Message:
    """The body of a state."""
    x_m, y_m, theta = shown.place
    place = {"x": x_m, "y": y_m, "theta": theta, "mapId": MAP}
    ordered = [_action(who, one) for one in shown.actions]
    instant = [_action(who, one) for one in shown.instant]
    common: Message = {
        "orderId": shown.order_id,
        "orderUpdateId": shown.update_id,
        "lastNodeId": shown.last_node[0],
        "lastNodeSequenceId": shown.last_node[1],
        "nodeStates": [{"nodeId": name, "sequenceId": at, "released": is_free} for name, at, is_free in shown.nodes],
        "edgeStates": [
            {"edgeId": f"e{at - 1}", "sequenceId": at - 1, "released": is_free} for _, at, is_free in shown.nodes if at
        ],
        "driving": shown.is_driving,
        "paused": shown.is_paused,
        "newBaseRequest": shown.is_base_wanted,
        "operatingMode": shown.mode,
        "errors": [_fault(who, one) for one in shown.faults],
    }
    if who.is_3:
        return common | {
            "actionStates": ordered,
            "instantActionStates": instant,
            "mobileRobotPosition": place | {"localized": True},
            "powerSupply": {"stateOfCharge": _percent(shown), "charging": shown.is_charging},
            "safetyState": {"activeEmergencyStop": shown.emergency_stop, "fieldViolation": False},
        }
    return common | {
        "actionStates": [*ordered, *instant],
        "agvPosition": place | {"positionInitialized": True},
        "batteryState": {"batteryCharge": _percent(shown), "charging": shown.is_charging},
        "safetyState": {"eStop": shown.emergency_stop, "fieldViolation": False},
    }


def factsheet(who: Identity) -> Message:
    """The body of a factsheet."""
    offered = [_offered(who, name, parameters, "NODE") for name, parameters in ACTIONS.items()]
    offered += [_offered(who, name, (), "INSTANT") for name in INSTANT]
    size = {"width": 0.6, "length": 0.9}
    if who.is_3:
        return {
            "typeSpecification": {
                "seriesName": SERIES,
                "mobileRobotKinematics": "DIFFERENTIAL",
                "mobileRobotClass": "CARRIER",
                "maximumLoadMass": 50.0,
                "localizationTypes": ["NATURAL"],
                "navigationTypes": ["AUTONOMOUS"],
            },
            "physicalParameters": {
                "minimumSpeed": 0.0,
                "maximumSpeed": 1.5,
                "maximumAcceleration": 1.0,
                "maximumDeceleration": 1.0,
                "minimumHeight": 1.0,
                "maximumHeight": 1.0,
            }
            | size,
            "protocolLimits": {
                "maximumStringLengths": {},
                "maximumArrayLengths": {},
                "timing": {"minimumOrderInterval": 0.1, "minimumStateInterval": 0.05, "defaultStateInterval": 1.0},
            },
            "protocolFeatures": {"optionalParameters": [], "mobileRobotActions": offered},
            "mobileRobotGeometry": {},
            "loadSpecification": {},
        }
    return {
        "typeSpecification": {
            "seriesName": SERIES,
            "agvKinematic": "DIFF",
            "agvClass": "CARRIER",
            "maxLoadMass": 50.0,
            "localizationTypes": ["NATURAL"],
            "navigationTypes": ["AUTONOMOUS"],
        },
        "physicalParameters": {
            "speedMin": 0.0,
            "speedMax": 1.5,
            "accelerationMax": 1.0,
            "decelerationMax": 1.0,
            "heightMax": 1.0,
        }
        | size,
        "protocolLimits": {
            "maxStringLens": {},
            "maxArrayLens": {},
            "timing": {"minOrderInterval": 0.1, "minStateInterval": 0.05, "defaultStateInterval": 1.0},
        },
        "protocolFeatures": {"optionalParameters": [], "agvActions": offered},
        "agvGeometry": {},
        "loadSpecification": {},
    }


def _percent(shown: Shown) -> float:
    return round(shown.battery_fraction * 100.0, 1)


def _action(who: Identity, said: tuple[str, str, str, str]) -> Message:
    action_id, name, status, result = said
    told: Message = {"actionId": action_id, "actionType": name, "actionStatus": status}
    return told | ({"actionResult" if who.is_3 else "resultDescription": result} if result else {})


def _fault(who: Identity, fault: Fault) -> Message:
    level = fault.level
    if who.is_3 and level == "FATAL":
        level = "CRITICAL"
    return {
        "errorType": fault.type_3 if who.is_3 else fault.type_2,
        "errorLevel": level,
        "errorDescription": fault.description,
        "errorReferences": [{"referenceKey": key, "referenceValue": value} for key, value in fault.references],
    }


def _offered(who: Identity, name: str, parameters: Sequence[str], scope: str) -> Message:
    said: Message = {
        "actionType": name,
        "actionScopes": [scope],
        "actionParameters": [
            {"key": key, "valueDataType": "NUMBER" if key == "duration" else "STRING", "isOptional": True}
            for key in parameters
        ],
    }
    return said | ({"pauseAllowed": True, "cancelAllowed": True} if who.is_3 else {})
