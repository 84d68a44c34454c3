"""Recordings that a robot makes by itself, as its recording policy says: a ring of what it just showed, and triggers.

A trigger is in the journal together with what is told of its event, with the samples of the ring; what follows is added
whenever the site saves. So a recording that has begun comes, whoever is killed; only samples since the last save are lost.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from fleet.adapter import Happening, Reported
from fleet.adapters.simulated.policy import CONTINUOUS, Chosen, Policy, Wanted, every_of
from fleet.adapters.simulated.recorder import Recording, thinned
from fleet.adapters.simulated.robot import SimulatedRobot
from fleet.adapters.simulated.samples import Sample

SHAKES_M_S2 = 1.8  # above it the drive shakes as a sound one never does; told once a life of the drive


class Cause(BaseModel):
    """What began a recording; `id` is once for each trigger of this robot, however often it is told."""

    model_config = ConfigDict(frozen=True)

    id: str
    kind: str
    at: datetime
    event: str | None = None
    policy: str | None = None


class Capture(BaseModel):
    """A recording under way: it is closed after so many more `ticks`. It follows the policy of when it began.

    A recording of slow topics takes every `stride`-th sample only.
    """

    model_config = ConfigDict(frozen=True)

    cause: Cause
    robot: str
    serial_number: str
    topics: tuple[Chosen, ...]
    ticks: int
    stride: int = 1
    mission_id: str | None = None


@dataclass(frozen=True)
class Progress:
    """What the journal is told of a capture: how it stands, and the samples since it was told last."""

    capture: Capture
    samples: list[Sample]
    is_over: bool = False


@dataclass
class _Watch:
    """One robot: its policy, its ring, and what is recorded with the samples that are not in the journal yet."""

    policy: Policy = field(default_factory=Policy)
    ring: deque[Sample] = field(default_factory=lambda: deque(maxlen=0))
    captures: dict[str, Capture] = field(default_factory=dict)
    fresh: dict[str, list[Sample]] = field(default_factory=dict)
    shaken: set[str] = field(default_factory=set)


class Captures:
    """The recordings by policy of all robots of a site."""

    def __init__(self, tick_s: float, going_on: Iterable[Capture], is_known: Callable[[str, str], bool]) -> None:
        """`going_on` had begun when the site was closed; `is_known` tells whether a robot had this trigger ever before.

        A tick lasts `tick_s` of simulated time, as every second of a policy.
        """
        self._tick_s, self._is_known = tick_s, is_known
        self._robots: dict[str, _Watch] = {}
        for capture in going_on:
            watch = self._watch(capture.serial_number)
            watch.captures[capture.cause.id], watch.fresh[capture.cause.id] = capture, []

    def _watch(self, serial_number: str) -> _Watch:
        return self._robots.setdefault(serial_number, _Watch())

    def follow(self, serial_number: str, policy: Policy) -> None:
        """From now on this robot's policy is this one; what a trigger began ends as it began."""
        watch = self._watch(serial_number)
        watch.policy = policy
        watch.ring = deque(watch.ring, maxlen=self._ticks(policy.longest_before_s))
        for key, capture in watch.captures.items():
            if capture.cause.kind == CONTINUOUS and capture.cause.policy != policy.label:
                watch.captures[key] = capture.model_copy(update={"ticks": 0})

    def _ticks(self, seconds: float) -> int:
        return round(seconds / self._tick_s)

    def tick(self, robot: SimulatedRobot, at: datetime, said: Sequence[Reported]) -> list[Progress]:
        """Look at the robot once a tick, with what it said; gives what must be in the journal together with that."""
        watch = self._robots.get(robot.identity.serial_number)
        if watch is None or not (watch.policy.records_by_itself or watch.captures):
            return []
        sample = robot.sample(at)
        _add(watch, sample)
        causes = [*_events(said, watch.policy.label), *self._shaking(watch, robot, sample, at)]
        chosen = [(cause, wanted) for cause in causes if (wanted := watch.policy.wanted(cause.kind))]
        begun = [self._begin(watch, robot, *one) for one in [*chosen, *self._stretch(watch, robot, at)]]
        return [*(one for one in begun if one), *_ended(watch)]

    def _shaking(self, watch: _Watch, robot: SimulatedRobot, sample: Sample, at: datetime) -> list[Cause]:
        if sample.signs.vibration_m_s2 <= SHAKES_M_S2 or sample.component in watch.shaken:
            return []
        watch.shaken.add(sample.component)
        return [Cause(id=f"anomaly/{sample.component}/vibration", kind="anomaly", at=at, policy=watch.policy.label)]

    def _stretch(self, watch: _Watch, robot: SimulatedRobot, at: datetime) -> list[tuple[Cause, Wanted]]:
        wanted = watch.policy.stretch
        if wanted is None or any(one.cause.kind == CONTINUOUS for one in watch.captures.values()):
            return []
        name = f"{CONTINUOUS}/{at:%Y%m%dT%H%M%S.%f}"
        return [(Cause(id=name, kind=CONTINUOUS, at=at, policy=watch.policy.label), wanted)]

    def _begin(self, watch: _Watch, robot: SimulatedRobot, cause: Cause, wanted: Wanted) -> Progress | None:
        """The beginning of a recording; None when there was one of this trigger ever before."""
        if cause.id in watch.captures or self._is_known(robot.identity.serial_number, cause.id):
            return None
        work, before = robot.execution, self._ticks(wanted.before_s)
        slowest = min(every_of(wanted.topics, self._tick_s).values(), default=1)
        capture = Capture(
            cause=cause,
            robot=robot.identity.name,
            serial_number=robot.identity.serial_number,
            topics=wanted.topics,
            ticks=self._ticks(wanted.after_s),
            stride=slowest if cause.kind == CONTINUOUS else 1,
            mission_id=(work.order.mission_id or None) if work and work.is_live else None,
        )
        watch.captures[cause.id], watch.fresh[cause.id] = capture, []
        return Progress(capture, list(watch.ring)[-before:] if before else [])

    def ask(self, robot: SimulatedRobot, cause: Cause, wanted: Wanted) -> Progress | None:
        """Begin what somebody asked for; None when that was begun before."""
        return self._begin(self._watch(robot.identity.serial_number), robot, cause, wanted)

    def unsaved(self) -> list[Progress]:
        """What the journal does not have yet of the recordings under way; it is told once."""
        return [
            Progress(capture, _taken(watch, key))
            for watch in self._robots.values()
            for key, capture in watch.captures.items()
            if watch.fresh[key]
        ]

    def recording(self, capture: Capture, samples: list[Sample], seed: int) -> Recording:
        """The finished recording, to be written; the same every time, its name too."""
        name = f"{capture.robot}-{capture.cause.kind}-{_digest(f'{capture.serial_number}/{capture.cause.id}')}"
        every = every_of(capture.topics, self._tick_s)
        return Recording(
            name=name,
            robot=capture.robot,
            samples=_fitting(samples),
            every={topic: -(-nth // capture.stride) for topic, nth in every.items()},
            noise=f"{seed}/{name}",
            mission_id=capture.mission_id,
            trigger=None if capture.cause.kind == CONTINUOUS else capture.cause.model_dump_json(),
            capture=(capture.serial_number, capture.cause.id),
        )


def _add(watch: _Watch, sample: Sample) -> None:
    watch.ring.append(sample)
    for key, capture in watch.captures.items():
        if capture.ticks % capture.stride == 0:
            watch.fresh[key].append(sample)
        watch.captures[key] = capture.model_copy(update={"ticks": capture.ticks - 1})


def _events(said: Sequence[Reported], label: str | None) -> list[Cause]:
    return [
        Cause(id=f"event/{seen.key}", kind=kind_of(seen), at=seen.occurred_at, event=seen.key, policy=label)
        for seen in said
        if isinstance(seen, Happening) and seen.severity != "info"
    ]


def kind_of(seen: Happening) -> str:
    """Which trigger an event is: what failed is an error, another warning is poor performance."""
    return "error" if seen.severity == "error" or seen.kind == "mission_failed" else "poor_performance"


def _ended(watch: _Watch) -> list[Progress]:
    over = [key for key, capture in watch.captures.items() if capture.ticks <= 0]
    return [Progress(watch.captures.pop(key), watch.fresh.pop(key), is_over=True) for key in over]


def _taken(watch: _Watch, key: str) -> list[Sample]:
    fresh, watch.fresh[key] = watch.fresh[key], []
    return fresh


def _fitting(samples: list[Sample]) -> list[Sample]:
    """The samples of a long stretch, thinned until they fit into memory."""
    while (fewer := thinned(samples)) is not samples:
        samples = fewer
    return samples


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
