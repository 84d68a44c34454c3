"""What robots shall record by themselves: a document of topics and triggers, checked when it is written. Pure values.

A topic pattern is a topic's name in which `*` stands for anything, slashes included: `/camera/*`. A rate limit is in
messages a second; between two messages of a topic that are kept lies at least its inverse.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from fleet.errors import Invalid, complaints
from ingestion.statuses import TriggerKind

BEFORE_S, AFTER_S = 300.0, 120.0
LONGEST_SPAN_S = 1800.0
LOW_RATE_HZ = 10.0
MOST_PATTERNS = 100
MOST_NAMES = 1000

Plain = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Pattern = Annotated[str, StringConstraints(max_length=200, pattern=r"^(\*|/[A-Za-z0-9_/*~]*)$")]
Before = Annotated[float, Field(ge=0, le=LONGEST_SPAN_S, description="Seconds kept from before it.")]
After = Annotated[float, Field(ge=0, le=LONGEST_SPAN_S, description="Seconds recorded after it.")]


def _once(names: Sequence[str], told: str) -> None:
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise ValueError(told.format(repr(twice)))


class Part(BaseModel):
    """A part of the document: nothing unknown in it, nothing changed after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Topics(Part):
    """The topics of a pattern, at full rate unless that is limited."""

    pattern: Pattern = Field(description="A topic, or many by `*`: /odom, /camera/*, *")
    max_rate_hz: float | None = Field(None, gt=0, le=10_000, description="Messages a second at most; null: all.")


class LowRateTopics(Part):
    """Topics that are recorded all the time, so their rate has a limit."""

    pattern: Pattern = Field(description="A topic, or many by `*`: /odom, /camera/*, *")
    max_rate_hz: float = Field(gt=0, le=LOW_RATE_HZ, description="Messages a second at most.")


EVERY_TOPIC = (Topics(pattern="*", max_rate_hz=None),)
Chosen = Annotated[tuple[Topics, ...], Field(min_length=1, max_length=MOST_PATTERNS)]


class Trigger(Part):
    """On what a robot records by itself, which topics, and how far around it."""

    on: TriggerKind
    topics: Chosen = Field(EVERY_TOPIC, description="The first pattern that fits a topic decides its rate.")
    before_s: Before = BEFORE_S
    after_s: After = AFTER_S

    @model_validator(mode="after")
    def _spans_something(self) -> Self:
        if self.before_s + self.after_s <= 0:
            raise ValueError("before_s and after_s are both 0; nothing would be recorded")
        return self


class Applies(Part):
    """For which robots a policy is: the most specific one decides, a robot before its site before the organisation."""

    everywhere: bool = Field(False, description="For every robot of the organisation that no other policy names.")
    sites: tuple[Plain, ...] = Field((), max_length=MOST_NAMES, description="For the robots of these sites.")
    robots: tuple[Plain, ...] = Field((), max_length=MOST_NAMES, description="For the robots of these names.")


class RecordingPolicy(Part):
    """One version of a policy: for whom, what is recorded all the time, and what on a trigger."""

    applies_to: Applies = Applies(everywhere=False)
    continuous: tuple[LowRateTopics, ...] = Field((), max_length=MOST_PATTERNS, description="Recorded all the time.")
    split_s: float = Field(3600.0, ge=60, le=86_400, description="A continuous recording is closed so often.")
    triggers: tuple[Trigger, ...] = Field((), max_length=len(TriggerKind), description="One of each kind at most.")

    @model_validator(mode="after")
    def _says_each_thing_once(self) -> Self:
        _once([trigger.on.value for trigger in self.triggers], "triggers: {} is there twice; join them")
        _once(self.applies_to.sites, "applies_to: the site {} is named twice")
        _once(self.applies_to.robots, "applies_to: the robot {} is named twice")
        return self

    def trigger(self, kind: TriggerKind) -> Trigger | None:
        """What is recorded on this kind of trigger; None: nothing."""
        return next((trigger for trigger in self.triggers if trigger.on is kind), None)


NOTHING = RecordingPolicy(split_s=3600.0)


def parsed(text: str | bytes) -> RecordingPolicy:
    """The policy that a JSON text tells.

    Raises:
        Invalid: it is none; says what is wrong where, with the value.
    """
    try:
        return RecordingPolicy.model_validate_json(text)
    except ValidationError as error:
        raise Invalid(f"This is no recording policy: {'; '.join(complaints(error)[:10])}.") from error
