"""The words of VDA 5050 that robots say (2.0, 2.1 and 3.0), read into one form; nothing here says what it means for us.

Section numbers are of VDA 5050 2.1.0. Whatever version a robot claims, the names of all versions are understood.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from fleet.adapters.vda5050.reading import Reader, ids, parsed

VERSIONS = ("2.0.0", "2.1.0", "3.0.0")
ORDER, INSTANT_ACTIONS, STATE, CONNECTION = "order", "instantActions", "state", "connection"
FACTSHEET, VISUALIZATION, RESPONSES, ZONE_SET = "factsheet", "visualization", "responses", "zoneSet"

# Before 3.0 they stand among the order's own actions.
INSTANT_ONLY = frozenset(
    {"cancelOrder", "startPause", "stopPause", "stateRequest", "factsheetRequest", "logReport", "initPosition"}
)
DONE = frozenset({"FINISHED", "FAILED"})
HEADER = frozenset({"headerId", "timestamp", "version", "manufacturer", "serialNumber"})
STATE_FIELDS = HEADER | {
    "maps",
    "zoneSets",
    "orderId",
    "orderUpdateId",
    "zoneSetId",
    "lastNodeId",
    "lastNodeSequenceId",
    "nodeStates",
    "edgeStates",
    "plannedPath",
    "intermediatePath",
    "agvPosition",
    "mobileRobotPosition",
    "velocity",
    "loads",
    "driving",
    "paused",
    "newBaseRequest",
    "zoneRequests",
    "edgeRequests",
    "distanceSinceLastNode",
    "actionStates",
    "instantActionStates",
    "zoneActionStates",
    "batteryState",
    "powerSupply",
    "operatingMode",
    "errors",
    "information",
    "safetyState",
}


@dataclass(frozen=True, slots=True)
class Header:
    """What every message begins with; None where it was not told."""

    number: int | None
    at: datetime | None
    version: str


@dataclass(frozen=True, slots=True)
class ActionSaid:
    """How one action stands."""

    status: str
    result: str = ""
    is_instant: bool = False


@dataclass(frozen=True, slots=True)
class Trouble:
    """One entry of the errors."""

    type: str
    level: str
    description: str
    references: tuple[tuple[str, str], ...] = ()

    def of(self, key: str) -> str | None:
        """What it refers to under this key."""
        return next((value for name, value in self.references if name.lower() == key.lower()), None)

    @property
    def words(self) -> str:
        """The robot's own words."""
        return f"{self.type}: {self.description}" if self.description else self.type


@dataclass(frozen=True, slots=True)
class Place:
    """Where it stands, metres and radians on a map; `is_localized` False: not to be trusted."""

    x_m: float
    y_m: float
    theta_rad: float
    map_id: str
    is_localized: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """What a 3.0 robot wants to be allowed (a zone, a corridor)."""

    request_id: str
    wanted: str
    status: str


@dataclass(frozen=True, slots=True)
class State:
    """One state message; None where a field was not told or cannot be read."""

    header: Header
    order_id: str | None
    update_id: int | None
    last_node_id: str
    last_sequence: int | None
    nodes: tuple[int, ...] | None
    edges: tuple[int, ...] | None
    actions: Mapping[str, ActionSaid]
    is_driving: bool
    is_paused: bool
    place: Place | None
    battery_fraction: float | None
    is_charging: bool
    mode: str
    troubles: tuple[Trouble, ...]
    emergency_stop: str
    asks: tuple[Ask, ...] = ()
    horizon: frozenset[int] = frozenset()  # of `nodes`, those that are not released
    is_base_wanted: bool = False  # newBaseRequest
    lists_actions: bool = True  # whether actionStates were told at all

    @property
    def has_work(self) -> bool:
        """Whether it still carries out an order (6.6.2): nodes or actions left, other than instant ones."""
        is_acting = any(said.status not in DONE and not said.is_instant for said in self.actions.values())
        return bool(self.nodes) or bool(self.edges) or is_acting


@dataclass(frozen=True, slots=True)
class ActionOffered:
    """One action that a factsheet offers."""

    name: str
    scopes: frozenset[str]
    blocking: tuple[str, ...]
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Factsheet:
    """What a robot says it is and can do; empty where it said nothing."""

    header: Header
    series: str = ""
    kind: str = ""
    actions: Mapping[str, ActionOffered] = field(default_factory=dict)
    id_length: int | None = None
    is_id_numerical: bool = False
    nodes_max: int | None = None
    message_length: int | None = None
    order_interval_s: float = 0.0
    state_interval_s: float | None = None


def read_connection(payload: bytes, complaints: list[str]) -> tuple[Header, str] | None:
    """Header and connectionState, written as 3.0 has it (CONNECTION_BROKEN)."""
    reader = parsed(payload, CONNECTION, complaints)
    if reader is None:
        return None
    said = (reader.text("connectionState", needed=True) or "").upper()
    return _header(reader), "CONNECTION_BROKEN" if said == "CONNECTIONBROKEN" else said


def read_state(payload: bytes, complaints: list[str]) -> State | None:
    """A state message, whatever of it can be taken; None when it is no object."""
    reader = parsed(payload, STATE, complaints)
    if reader is None:
        return None
    reader.known_only(STATE_FIELDS)
    battery, is_charging = _battery(reader)
    nodes = reader.each("nodeStates", needed=True)
    return State(
        header=_header(reader),
        order_id=reader.text("orderId", needed=True),
        update_id=reader.whole("orderUpdateId", needed=True),
        last_node_id=reader.text("lastNodeId", needed=True) or "",
        last_sequence=reader.whole("lastNodeSequenceId", needed=True),
        nodes=ids(nodes, "sequenceId"),
        edges=ids(reader.each("edgeStates", needed=True), "sequenceId"),
        actions=_actions(reader),
        is_driving=bool(reader.flag("driving", needed=True)),
        is_paused=bool(reader.flag("paused")),
        place=read_place(reader),
        battery_fraction=battery,
        is_charging=is_charging,
        mode=(reader.text("operatingMode", needed=True) or "").upper().replace("TEACHIN", "TEACH_IN"),
        troubles=tuple(_trouble(one) for one in reader.each("errors", needed=True) or ()),
        emergency_stop=_emergency_stop(reader),
        asks=_asks(reader),
        horizon=frozenset(ids([one for one in nodes or () if one.flag("released") is False], "sequenceId") or ()),
        is_base_wanted=bool(reader.flag("newBaseRequest")),
        lists_actions=reader.has("actionStates"),
    )


def read_visualization(payload: bytes, complaints: list[str]) -> tuple[Header, Place | None] | None:
    """Header and position."""
    reader = parsed(payload, VISUALIZATION, complaints)
    return None if reader is None else (_header(reader), read_place(reader))


def read_factsheet(payload: bytes, complaints: list[str]) -> Factsheet | None:
    """A factsheet of any version."""
    reader = parsed(payload, FACTSHEET, complaints)
    if reader is None:
        return None
    nothing = Reader({}, FACTSHEET, complaints)
    kind = reader.inner("typeSpecification", needed=True) or nothing
    limits = reader.inner("protocolLimits") or nothing
    lengths = limits.inner("maximumStringLengths") or limits.inner("maxStringLens") or nothing
    arrays = limits.inner("maximumArrayLengths") or limits.inner("maxArrayLens") or nothing
    timing = limits.inner("timing") or nothing
    return Factsheet(
        header=_header(reader),
        series=kind.text("seriesName") or "",
        kind=kind.text("mobileRobotClass") or kind.text("agvClass") or "",
        actions=_offered(reader),
        id_length=lengths.whole("maximumIdLength") or lengths.whole("idLen"),
        is_id_numerical=bool(lengths.flag("idNumericalOnly")),
        nodes_max=arrays.whole("order.nodes"),
        message_length=lengths.whole("maximumMessageLength") or lengths.whole("msgLen"),
        order_interval_s=timing.number("minimumOrderInterval") or timing.number("minOrderInterval") or 0.0,
        state_interval_s=timing.number("defaultStateInterval"),
    )


def read_place(reader: Reader) -> Place | None:
    """The position of a state or a visualization."""
    said = reader.inner("mobileRobotPosition") or reader.inner("agvPosition")
    if said is None:
        return None
    x_m, y_m, theta = said.number("x", needed=True), said.number("y", needed=True), said.number("theta")
    if x_m is None or y_m is None:
        return None
    localized = said.flag("localized") if said.has("localized") else said.flag("positionInitialized", needed=True)
    return Place(x_m, y_m, theta or 0.0, said.text("mapId") or "", localized is not False)


def _header(reader: Reader) -> Header:
    return Header(reader.whole("headerId"), reader.instant("timestamp"), reader.text("version") or "")


def _actions(reader: Reader) -> dict[str, ActionSaid]:
    said = {}
    for list_name in ("actionStates", "instantActionStates"):
        is_needed = list_name == "actionStates"
        for one in reader.each(list_name, needed=is_needed) or ():
            name = one.text("actionId", needed=True)
            if name is not None:
                status = (one.text("actionStatus", needed=True) or "").upper()
                result = one.text("resultDescription") or one.text("actionResult") or ""
                is_instant = not is_needed or one.text("actionType") in INSTANT_ONLY
                said[name] = ActionSaid(status, result, is_instant)
    return said


def _battery(reader: Reader) -> tuple[float | None, bool]:
    said = reader.inner("powerSupply") or reader.inner("batteryState", needed=True)
    if said is None:
        return None, False
    percent = said.number("stateOfCharge") if said.has("stateOfCharge") else said.number("batteryCharge", needed=True)
    if percent is not None and not 0.0 <= percent <= 100.0:
        said.complain(f"a charge of {percent:g} percent")
        percent = min(max(percent, 0.0), 100.0)
    return None if percent is None else percent / 100.0, bool(said.flag("charging"))


def _trouble(one: Reader) -> Trouble:
    references = tuple(
        (key, value)
        for each in one.each("errorReferences") or ()
        if (key := each.text("referenceKey")) is not None and (value := each.text("referenceValue")) is not None
    )
    return Trouble(
        type=one.text("errorType", needed=True) or "unnamed",
        level=(one.text("errorLevel", needed=True) or "WARNING").upper(),
        description=one.text("errorDescription") or "",
        references=references,
    )


def _emergency_stop(reader: Reader) -> str:
    said = reader.inner("safetyState", needed=True)
    if said is None:
        return "NONE"
    return (said.text("activeEmergencyStop") or said.text("eStop") or "NONE").upper()


def _asks(reader: Reader) -> tuple[Ask, ...]:
    found = []
    for list_name, wanted in (("zoneRequests", "zoneId"), ("edgeRequests", "edgeId")):
        for one in (reader.each(list_name) or ()) if reader.has(list_name) else ():
            request_id = one.text("requestId", needed=True)
            if request_id is not None:
                found.append(Ask(request_id, one.text(wanted) or "", (one.text("requestStatus") or "").upper()))
    return tuple(found)


def _offered(reader: Reader) -> dict[str, ActionOffered]:
    features = reader.inner("protocolFeatures")
    if features is None:
        return {}
    listed = features.each("mobileRobotActions") or features.each("agvActions") or ()
    found = {}
    for one in listed:
        name = one.text("actionType", needed=True)
        if name:
            parameters = tuple(key for each in one.each("actionParameters") or () if (key := each.text("key")))
            scopes = frozenset(scope.upper() for scope in one.texts("actionScopes"))
            found[name] = ActionOffered(name, scopes, one.texts("blockingTypes"), parameters)
    return found
