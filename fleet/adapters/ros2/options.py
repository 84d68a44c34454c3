"""The options of a ROS 2 account: how its robots' tasks are done, what tells of them; README has the words."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from fleet.adapter import Frozen, TaskKind
from fleet.adapters.ros2.runs import Yields
from fleet.errors import Invalid, complaints

FOLLOW = "nav2_msgs/action/FollowWaypoints"


class ActionBinding(Frozen):
    """A task is one goal; values beginning with `$` are filled in from the task (README)."""

    action: str
    type: str
    goal: dict[str, object] = Field(default_factory=dict)
    value: str = ""
    unit: str = ""
    message: str = ""
    success: str = ""
    stop: "ServiceBinding | None" = Field(default=None, description="called once the order is over, however it ended")

    @property
    def yields(self) -> Yields:
        """Where its answer says what came of it."""
        return Yields(value=self.value, unit=self.unit, message=self.message, success=self.success)


class ServiceBinding(Frozen):
    """A task is one call; `repeatable` says that calling it twice does no harm."""

    service: str
    type: str
    request: dict[str, object] = Field(default_factory=dict)
    repeatable: bool = False
    value: str = ""
    unit: str = ""
    message: str = ""
    success: str = ""
    stop: "ServiceBinding | None" = None

    @property
    def yields(self) -> Yields:
        """Where its answer says what came of it."""
        return Yields(value=self.value, unit=self.unit, message=self.message, success=self.success)


class TopicBinding(Frozen):
    """A reading is a field of a message that the robot publishes, not older than `fresh_s`."""

    topic: str
    type: str
    value: str
    unit: str = ""
    fresh_s: float = Field(default=5.0, gt=0)
    stop: None = None

    @property
    def yields(self) -> Yields:
        """Where the message has the value."""
        return Yields(value=self.value, unit=self.unit)


class TimerBinding(Frozen):
    """The gateway itself waits, for `parameters.duration_s`."""

    timer: bool = True
    stop: None = None


class WaypointsBinding(Frozen):
    """Several `go_to` in a row are one goal of FollowWaypoints."""

    waypoints: str
    type: str = FOLLOW
    stop: None = None


Binding = ActionBinding | ServiceBinding | TopicBinding | TimerBinding | WaypointsBinding
Named = Annotated[dict[str, Binding], Field(description="by parameters.name (action) or quantity (reading); '*' = any")]


class Telemetry(Frozen):
    """One topic that the live view is made of."""

    topic: str
    type: str = ""
    is_map: bool = Field(default=False, description="its poses are of the map frame, whatever their header says")


class TelemetryOptions(Frozen):
    """Which topics tell where the robot is and how it is; empty: those of the usual names and types."""

    pose: Telemetry | None = None
    battery: Telemetry | None = None
    rate_hz: float = Field(default=1.0, gt=0, le=50)
    silent_after_s: float = Field(default=10.0, gt=0)


class Options(Frozen):
    """The options of a ROS 2 account."""

    distro: str = "jazzy"
    definitions: dict[str, str] = Field(default_factory=dict)
    map_frame: str = "map"
    bindings: dict[TaskKind, Binding | Named] = Field(default_factory=dict)
    telemetry: TelemetryOptions = TelemetryOptions()
    answer_s: float = Field(default=5.0, gt=0, description="how long a rosbridge's word on a goal is waited for")
    remembers_s: float = Field(
        default=8.0, gt=0, description="how long the action servers surely remember a goal that has ended"
    )
    exposes: dict[str, str] = Field(
        default_factory=dict, description="name -> type of what a rosbridge without rosapi cannot tell"
    )
    ca: str = Field(default="", description="file of the certificate authority of a wss:// bridge")


_OPTIONS = TypeAdapter(Options)


def options_of(given: Mapping[str, object]) -> Options:
    """The options of an account.

    Raises:
        Invalid: they are not of this form; says where.
    """
    try:
        return _OPTIONS.validate_python(dict(given))
    except ValidationError as error:
        raise Invalid(f"The options of this ROS 2 account are wrong: {'; '.join(complaints(error)[:3])}.") from None
