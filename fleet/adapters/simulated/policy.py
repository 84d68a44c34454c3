"""What a platform wants recorded, as a robot reads it from the platform's answer; what it does not know it ignores."""

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from fleet.adapters.simulated.recorder import NIGHT_EVERY

CONTINUOUS: Literal["continuous"] = "continuous"


class Told(BaseModel):
    """A part of the answer."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Chosen(Told):
    """The topics of a pattern, and how many messages a second at most."""

    pattern: str
    max_rate_hz: float | None = None


class Wanted(Told):
    """Which topics, and how far around what began it."""

    topics: tuple[Chosen, ...]
    before_s: float
    after_s: float


class TriggerWanted(Wanted):
    """What is recorded on a trigger."""

    on: str


class Asked(Wanted):
    """What somebody asks for now; `id` names it for ever."""

    id: str
    kind: str = "request"


class Document(Told):
    """The policy itself."""

    continuous: tuple[Chosen, ...] = ()
    split_s: float = 3600.0
    triggers: tuple[TriggerWanted, ...] = ()


class Policy(Told):
    """The platform's answer; an empty one records nothing."""

    name: str | None = None
    version: int = 0
    policy: Document = Field(default_factory=Document)
    requests: tuple[Asked, ...] = ()

    @property
    def label(self) -> str | None:
        """The policy and its version, as the platform names it."""
        return f"{self.name}@{self.version}" if self.name else None

    @property
    def longest_before_s(self) -> float:
        """For how long what the sensors showed must be kept."""
        return max((trigger.before_s for trigger in self.policy.triggers), default=0.0)

    @property
    def records_by_itself(self) -> bool:
        """Whether anything is recorded that nobody asks for."""
        return bool(self.policy.triggers or self.policy.continuous)

    @property
    def stretch(self) -> Wanted | None:
        """What is recorded all the time, one stretch after the other."""
        document = self.policy
        if not document.continuous:
            return None
        return Wanted(topics=document.continuous, before_s=0.0, after_s=document.split_s)

    def wanted(self, kind: str) -> Wanted | None:
        """What is recorded on this kind of trigger; None: nothing."""
        return next((trigger for trigger in self.policy.triggers if trigger.on == kind), None)


def every_of(topics: tuple[Chosen, ...], tick_s: float) -> Mapping[str, int]:
    """The topics of a robot that are recorded, each with every how manieth sample; the first pattern that fits decides."""
    found: dict[str, int] = {}
    for topic, native in NIGHT_EVERY.items():
        chosen = next((one for one in topics if fnmatchcase(topic, one.pattern)), None)
        if chosen is not None:
            slowest = math.ceil(1.0 / (tick_s * chosen.max_rate_hz)) if chosen.max_rate_hz else 1
            found[topic] = max(native, slowest)
    return found
