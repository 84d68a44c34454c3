"""The options of an account of VDA 5050 robots, and those of one robot in it; every key has a default."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fleet.adapter import TaskKind
from fleet.adapters.vda5050.wire import VERSIONS
from fleet.errors import Invalid, complaints
from fleet.mqtt_address import TlsFiles

Value = str | float | int | bool
# What an account may say for all its robots.
COMMON = (
    "version",
    "instant_actions_key",
    "map_id",
    "nodes",
    "is_line_guided",
    "deviation_m",
    "horizon",
    "stitching_actions",
)


class Binding(BaseModel):
    """How a kind of task is done: the action at the node, and what its parameters are filled with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: str = Field(description="actionType as the robot's factsheet has it; empty: only drive there.")
    parameters: dict[str, Value] = Field(
        default_factory=dict,
        description="key -> value; $station, $x_m, $y_m, $mission_id, $key, $parameters.NAME or $parameters.NAME|default.",
    )
    blocking: Literal["NONE", "SOFT", "SINGLE", "HARD"] = "HARD"
    unit: str = Field("", description="Unit of a reading whose result is a bare number.")


class RobotOptions(BaseModel):
    """What may differ from robot to robot."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str = Field("", description="Protocol version that is spoken to it; empty: the one that it speaks itself.")
    instant_actions_key: Literal["", "actions", "instantActions"] = Field(
        "", description="instantActions: the array is sent under both names; empty: so to robots of 2.0."
    )
    map_id: str = Field("", description="Its name of the map; empty: the map on which it says that it stands.")
    nodes: dict[str, str] = Field(default_factory=dict, description="Our station -> its nodeId, where they differ.")
    is_line_guided: bool = Field(False, description="Nodes are sent without positions; it knows them by name.")
    deviation_m: float = Field(0.5, ge=0, description="How near it must come to a node, and stand to the first.")
    horizon: int | None = Field(
        None, ge=1, description="How many tasks ahead are released; the rest is sent as horizon. Empty: all at once."
    )
    stitching_actions: Literal["", "again", "left_out"] = Field(
        "", description="Actions of the node with which an update begins; empty: again in 3.0, left out (done) in 2.x."
    )
    wait: Binding | None = None
    reading: Binding | None = None
    dock: Binding | None = None
    record_bag: Binding | None = None
    action: dict[str, Binding] = Field(default_factory=dict, description="parameters.name or * -> binding.")

    def bound(self, kind: TaskKind) -> Binding | None:
        """The binding of a kind of task other than go_to and action."""
        found: Binding | None = getattr(self, kind.value, None)
        return found


class Options(BaseModel):
    """All options of an account."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    interface: str = Field("uagv", min_length=1, description="First level of the topics.")
    version: str = Field("", description="Like a robot's, for all.")
    bindings: dict[str, object] = Field(default_factory=dict, description="wait, reading, dock, record_bag, action.")
    robots: dict[str, dict[str, object]] = Field(default_factory=dict, description="manufacturer/serialNumber -> own.")
    instant_actions_key: Literal["", "actions", "instantActions"] = ""
    stitching_actions: Literal["", "again", "left_out"] = ""
    map_id: str = ""
    nodes: dict[str, str] = Field(default_factory=dict)
    is_line_guided: bool = False
    deviation_m: float = Field(0.5, ge=0)
    horizon: int | None = Field(None, ge=1, description="Like a robot's, for all.")
    tls: TlsFiles = Field(default_factory=lambda: TlsFiles(ca="", cert="", key=""))
    confirm_s: float = Field(5.0, gt=0, description="How long a submit waits for the robot's state to show the order.")
    resend_s: float = Field(1.0, gt=0, description="How often what is not confirmed is sent again.")
    resend_for_s: float = Field(60.0, gt=0, description="After that an unconfirmed order is not sent again by itself.")
    quiet_after_s: float = Field(10.0, gt=0, description="Without a state for so long one is asked for.")
    silent_after_s: float = Field(45.0, gt=0, description="Without a state for so long it counts as silent.")
    zones: dict[str, Literal["grant", "reject"]] = Field(
        default_factory=dict,
        description="3.0: zone or edge id (or *) -> answer to its requests; else they are rejected.",
    )
    zone_lease_s: float = Field(60.0, gt=0, description="How long a granted zone or corridor may be used.")

    def of(self, address: str) -> RobotOptions:
        """What holds for this robot: its own before the account's."""
        common = {name: getattr(self, name) for name in COMMON}
        own = dict(self.robots.get(address, {}))
        bindings = {**self.bindings, **_bindings(own.pop("bindings", {}))}
        return RobotOptions.model_validate({**common, **bindings, **own})


def _bindings(found: object) -> dict[str, object]:
    return dict(found) if isinstance(found, Mapping) else {"bindings": found}


def options_from(given: Mapping[str, object]) -> Options:
    """The options as an account has them.

    Raises:
        Invalid: says which key has a value that it cannot have.
    """
    try:
        options = Options.model_validate(dict(given))
        for address in ["", *options.robots]:
            _check(options.of(address))
    except ValidationError as error:
        raise Invalid(f"The options of this account are not right: {'; '.join(complaints(error)[:3])}.") from None
    return options


def _check(own: RobotOptions) -> None:
    if own.version and own.version not in VERSIONS:
        raise Invalid(f"version is {own.version!r}; spoken are {', '.join(VERSIONS)}.", version=own.version)
