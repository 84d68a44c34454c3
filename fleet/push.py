"""The seam for robots that a gateway reaches: push links (ROS 2, VDA 5050), which speak up by themselves.

The same orders, outcomes and reports as in `fleet.adapter`; besides, what a robot exposes and how well it is heard. A push
adapter runs inside the gateway only. What it must not forget it keeps in the gateway's journal, before it sends.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Literal, Protocol

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from fleet.adapter import (
    Capabilities,
    CommandOutcome,
    DiscoveredRobot,
    Frozen,
    Happening,
    Observation,
    Order,
    OrderReport,
    Reported,
    SubmitOutcome,
    Unknown,
)
from fleet.errors import Invalid, complaints
from fleet.journal import Journal


class Hearing(StrEnum):
    """How well a robot is heard, as the gateway near it sees it; that a gateway is away is seen by the platform."""

    well = "well"
    silent = "silent"  # the network is fine, others are heard, this robot is not
    trouble = "trouble"  # nobody is heard, or the broker or the bridge is away


class Endpoint(Frozen):
    """One topic, service or action that a robot exposes."""

    name: str
    kind: Literal["publisher", "subscriber", "service", "action"]
    type: str = Field(description="as the robot's own world writes it, such as nav2_msgs/action/NavigateToPose")
    nodes: tuple[str, ...] = ()
    qos: Mapping[str, str] = Field(default_factory=dict)
    type_hash: str = ""
    complaint: str = Field(default="", description="why we cannot use it, in a sentence; empty when we can")


class Exposure(Frozen):
    """What a robot exposes over a link; `digest` changes when, and only when, something of it does."""

    kind: Literal["exposure"] = "exposure"
    serial_number: str
    link: str = Field(description="dds, rosbridge or mqtt")
    endpoints: tuple[Endpoint, ...] = ()
    facts: Mapping[str, str] = Field(default_factory=dict, description="such as distro, DDS vendor, protocol version")
    refusals: tuple[str, ...] = Field(
        default=(), description="why commands would be refused; empty when they would not"
    )

    @property
    def digest(self) -> str:
        """SHA-256 of everything that it says, in a canonical form."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class Heard(Frozen):
    """How well a robot is heard has changed."""

    kind: Literal["heard"] = "heard"
    serial_number: str
    hearing: Hearing
    since: AwareDatetime
    why: str = ""


Told = Reported | Exposure | Heard


class Inheritance(Frozen):
    """What the platform knows of an order that another gateway, or this one with another journal, may have begun."""

    since_s: float = Field(description="how long ago it was first handed to the other")
    done: tuple[int, ...] = Field(default=(), description="positions of the tasks that were told to be done")
    is_begun: bool = Field(default=False, description="whether it was told that the robot has it")
    sequence: int = Field(default=-1, description="of the newest report that was heard of it")
    earlier: tuple[str, ...] = Field(default=(), description="keys of the orders before it on this robot, newest first")
    has_worked: bool = Field(default=False, description="whether the robot had one of those")


class PushAccount(Frozen):
    """What a push adapter needs of an account to open its link; `options` are the adapter's own, see its README."""

    name: str
    url: str = Field(description="such as dds://?domain=42&peers=127.0.0.1, ws://robot:9090 or mqtts://broker:8883")
    credential: str = Field(default="", repr=False)
    options: Mapping[str, object] = Field(default_factory=dict)


class PushAdapter(Protocol):
    """A link to the robots of one account, opened by a gateway. Every method may be called again with the same arguments.

    `serial_number` is the robot's address on this link: a namespace, or `manufacturer/serialNumber`.
    """

    async def hold(self, serial_numbers: frozenset[str]) -> None:
        """From now on these are the robots that this gateway may command and reports of; live orders are taken up again."""
        ...

    def capabilities(self, serial_number: str) -> Capabilities:
        """What can be asked of this robot, by what it exposes now."""
        ...

    async def submit(self, order: Order) -> SubmitOutcome:
        """Send the order; sending one key again does not start it twice."""
        ...

    async def inherit(self, order: Order, said: Inheritance) -> Unknown | None:
        """Go on with an order that another gateway may have begun, at the place that is certain by robot and platform.

        None when the order is known from here on, or when it certainly never came to the robot. Unknown when neither is
        sure; nothing is sent then. Nothing to do for one that is known here.
        """
        ...

    async def query(self, serial_number: str, key: str) -> OrderReport | Unknown:
        """What is known of the order from the robot itself; `not_found` when it certainly never had it."""
        ...

    async def cancel(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """Ask the robot to end the order and stop; for a key that never came it is remembered."""
        ...

    async def pause(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """Ask the robot to hold where it is."""
        ...

    async def resume(self, serial_number: str, key: str, fence: int) -> CommandOutcome:
        """Ask a paused robot to go on."""
        ...

    async def discover(self) -> Sequence[DiscoveredRobot]:
        """The robots that can be seen on this link now, held or not."""
        ...

    async def exposure(self, serial_number: str) -> Exposure:
        """What this robot exposes now.

        Raises:
            NotFound: no such robot is seen on this link; names those that are.
        """
        ...

    def told(self) -> AsyncIterator[Told]:
        """What the held robots say, as it comes, for one reader; observations are conflated to the newest per robot."""
        ...


PushOpener = Callable[[PushAccount, Journal], AbstractAsyncContextManager[PushAdapter]]

_REPORTS: TypeAdapter[list[OrderReport | Observation | Happening]] = TypeAdapter(
    list[OrderReport | Observation | Happening]
)


def to_bytes(reports: Sequence[Reported]) -> bytes:
    """Reports as a gateway sends them and the inbox keeps them."""
    return _REPORTS.dump_json(list(reports))


def events_from(body: bytes) -> Sequence[Reported]:
    """What a gateway's delivery says (pure), the same for every push link.

    Raises:
        Invalid: the bytes are no list of reports; says what is wrong where.
    """
    try:
        return _REPORTS.validate_json(body)
    except ValidationError as error:
        raise Invalid(f"These bytes are no reports of a gateway: {'; '.join(complaints(error)[:3])}.") from None
