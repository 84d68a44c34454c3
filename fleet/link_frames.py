"""What platform and gateway say to each other over /v1/link: JSON texts, the same classes at both ends.

The gateway says hello first; every command is answered by its id, every telling is acknowledged by its key. What is said
twice is harmless: commands are idempotent by their key, tellings by theirs.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from fleet.adapter import (
    Accepted,
    Acknowledged,
    DiscoveredRobot,
    Frozen,
    Order,
    OrderReport,
    Refused,
    Unknown,
    Unsupported,
)
from fleet.errors import Invalid, complaints
from fleet.push import Exposure, Heard, Inheritance

PROTOCOL = 1
FRAME_MAX_BYTES = 1_000_000
TO_GATEWAY_MAX_BYTES = 8_000_000  # the largest mission as an order, or the definitions of many accounts
BATCH_MAX_BYTES = 250_000  # of reports in one frame; as a text within JSON they may be twice as long
BREATH_S = 3.0  # how often a gateway says that it is there
SILENCE_S = 10.0  # a side that heard nothing for so long takes the line for dead

# Codes with which the platform closes a line, beside those of RFC 6455; the reason goes with it.
NONSENSE = 4400
SHUT_OUT = 4403
DISPLACED = 4409
TOO_SLOW = 4413
AWAY = 4503


class Discovered(Frozen):
    """The robots that can be seen on an account's link now."""

    kind: Literal["discovered"] = "discovered"
    robots: tuple[DiscoveredRobot, ...] = ()


class Missing(Frozen):
    """What was asked about is not there."""

    kind: Literal["missing"] = "missing"
    why: str


Outcome = Annotated[
    Accepted | Refused | Unknown | Acknowledged | Unsupported | OrderReport | Exposure | Discovered | Missing,
    Field(discriminator="kind"),
]
OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Outcome)


class Hello(Frozen):
    """The gateway's first word."""

    kind: Literal["hello"] = "hello"
    protocol: int
    journal: str = Field(
        min_length=1, max_length=64, description="Id of its journal, which begins the keys of reports."
    )
    version: str = Field(default="", max_length=64)


class ServedAccount(Frozen):
    """An account whose robots the gateway serves."""

    id: str
    name: str
    manufacturer: str
    url: str
    credential: str = Field(default="", repr=False)
    options: Mapping[str, object] = Field(default_factory=dict)
    is_shared: bool = Field(default=False, description="Whether another gateway serves it too.")


class HeldRobot(Frozen):
    """A robot that the gateway holds."""

    account: str
    address: str
    epoch: int
    digest: str = Field(default="", description="Of what the platform knows that it exposes.")


class Welcome(Frozen):
    """Whom the gateway serves; comes after the hello, and again when an account has changed."""

    kind: Literal["welcome"] = "welcome"
    protocol: int = PROTOCOL
    gateway: str = Field(description="Its name.")
    accounts: tuple[ServedAccount, ...]


class Hold(Frozen):
    """All the robots it holds now, for `lease_s` from when it said the ping of this number (0: from now)."""

    kind: Literal["hold"] = "hold"
    number: int = 0
    lease_s: float
    robots: tuple[HeldRobot, ...]


class Pong(Frozen):
    """The answer to a ping: what it holds is renewed, and has not changed."""

    kind: Literal["pong"] = "pong"
    number: int
    lease_s: float


class Command(Frozen):
    """Something to do within `within_s`; when it waited longer, nobody wants it any more."""

    kind: Literal["command"] = "command"
    id: str
    what: Literal["submit", "query", "cancel", "pause", "resume", "exposure", "discover"]
    account: str
    address: str = ""
    key: str = ""
    fence: int = 0
    order: Order | None = None
    inheritance: Inheritance | None = Field(default=None, description="Given when another may have begun the order.")
    within_s: float


class Ack(Frozen):
    """What was told under this key is stored."""

    kind: Literal["ack"] = "ack"
    key: str


class Answer(Frozen):
    """What came of a command."""

    kind: Literal["answer"] = "answer"
    id: str = Field(max_length=64)
    outcome: Outcome


class Tell(Frozen):
    """Reports of an account's robots, as `fleet.push.to_bytes` makes them; the key is unique within the journal."""

    kind: Literal["tell"] = "tell"
    key: str = Field(min_length=1, max_length=100)
    account: str
    reports: str


class TellHeard(Frozen):
    """How well robots of an account are heard."""

    kind: Literal["tell_heard"] = "tell_heard"
    key: str = Field(min_length=1, max_length=100)
    account: str
    heard: tuple[Heard, ...]


class TellExposure(Frozen):
    """What a robot exposes has changed."""

    kind: Literal["tell_exposure"] = "tell_exposure"
    key: str = Field(min_length=1, max_length=100)
    account: str
    exposure: Exposure


class Ping(Frozen):
    """The gateway is there and asks for its leases to be renewed."""

    kind: Literal["ping"] = "ping"
    number: int


class Bye(Frozen):
    """The gateway ends in good order: its robots are free for others at once."""

    kind: Literal["bye"] = "bye"


FromGateway = Hello | Answer | Tell | TellHeard | TellExposure | Ping | Bye
Said = TypeVar("Said")
FromPlatform = Welcome | Hold | Pong | Command | Ack
_FROM_GATEWAY: TypeAdapter[FromGateway] = TypeAdapter(Annotated[FromGateway, Field(discriminator="kind")])
_FROM_PLATFORM: TypeAdapter[FromPlatform] = TypeAdapter(Annotated[FromPlatform, Field(discriminator="kind")])


def from_gateway(text: str | bytes) -> FromGateway:
    """What a gateway said.

    Raises:
        Invalid: it is no frame of this protocol; says what is wrong where.
    """
    return _read(_FROM_GATEWAY, text, FRAME_MAX_BYTES)


def from_platform(text: str | bytes) -> FromPlatform:
    """What the platform said.

    Raises:
        Invalid: it is no frame of this protocol; says what is wrong where.
    """
    return _read(_FROM_PLATFORM, text, TO_GATEWAY_MAX_BYTES)


def _read(adapter: TypeAdapter[Said], text: str | bytes, most: int) -> Said:
    if len(text) > most:
        raise Invalid(f"A frame of {len(text)} bytes is larger than {most}; say less at once.")
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        raise Invalid(f"That is no frame of the link: {'; '.join(complaints(error)[:3])}.") from None


def batches(told: Sequence[tuple[str, bytes]]) -> tuple[str, bytes, int]:
    """The first of what is to be told that go together: account, reports as one list, how many of `told` they are.

    `told` is not empty; each is a list of reports as JSON, of which those of one account follow each other.
    """
    account, size = told[0][0], 0
    parts: list[bytes] = []
    for of, body in told:
        size += len(body)
        if of != account or (parts and size > BATCH_MAX_BYTES):
            break
        parts.append(body.strip())
    inner = [part[1:-1] for part in parts]
    return account, b"[" + b",".join(one for one in inner if one.strip()) + b"]", len(parts)
