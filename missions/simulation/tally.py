"""What came of a night: everything that must never be is counted, from the robots' own histories and from the database."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime

from sqlmodel import Session, select

from fleet.adapter import OrderStatus
from fleet.robots import RobotLease
from missions.models import MISSION_TERMINAL, Mission, OutboxMessage, OutboxStatus
from missions.scripted import Execution, ScriptedRobots
from missions.simulation import books


@dataclass(frozen=True)
class Tally:
    """What came of one or more nights. All counts of the second part must be 0."""

    nights: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    crashes: Counter[str] = field(default_factory=Counter)
    happened: Counter[str] = field(default_factory=Counter)
    repeated: int = 0  # orders sent again to a robot that had lost its memory: nobody could know

    doubled: int = 0  # a mission begun again while it ran elsewhere, or after it was done
    overlapping: int = 0  # two orders under way on one robot
    disagreeing: int = 0  # the books say done and no robot did it, or the other way round
    unfinished: int = 0
    straying: int = 0  # robots that go on with an order of which the books think that it has ended
    illegal: int = 0  # histories that do not replay to where the row is
    leases: int = 0  # robots held when nothing runs any more
    unsent: int = 0  # messages of the outbox that still wait when nothing runs any more
    disobeyed: int = 0  # commands that were accepted and not followed
    misfired: int = 0  # occurrences of a schedule without a decision, or started and without exactly one mission
    gaps: int = 0  # positions missing in the feed of changes
    violations: int = 0  # plans that break a rule of the validator

    @property
    def wrongs(self) -> dict[str, int]:
        """What must never be, and was."""
        names = [each.name for each in fields(self)]
        counts = {name: int(getattr(self, name)) for name in names[names.index("doubled") :]}
        return {name: count for name, count in counts.items() if count}

    @property
    def is_sound(self) -> bool:
        """Whether nothing happened that must never be."""
        return not self.wrongs

    @property
    def told(self) -> dict[str, object]:
        """All of it, as JSON takes it."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            **values,
            "statuses": dict(self.statuses),
            "crashes": dict(self.crashes),
            "happened": dict(self.happened),
            "is_sound": self.is_sound,
        }

    def __add__(self, other: "Tally") -> "Tally":
        """The tally of both."""
        return Tally(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)})


def judge(session: Session, robots: ScriptedRobots, *, disobeyed: int, violations: int) -> Tally:
    """The tally of a night that is over."""
    missions = {mission.id: mission for mission in session.exec(select(Mission)).all()}
    begun = [run for run in robots.history if run.started_at is not None and run.order.key not in robots.forgotten]
    return Tally(
        nights=1,
        statuses=Counter(mission.status.value for mission in missions.values()),
        happened=books.happened(session),
        repeated=_repeated(robots.history),
        doubled=doubled(begun),
        overlapping=overlapping(begun),
        disagreeing=books.disagreeing(session, missions.values(), robots),
        unfinished=sum(mission.status not in MISSION_TERMINAL for mission in missions.values()),
        straying=sum(run.order.mission_id != "" for robot in robots.robots.values() for run in robot.live),
        illegal=books.illegal(session, missions.values()),
        leases=len(session.exec(select(RobotLease)).all()),
        unsent=len(session.exec(select(OutboxMessage).where(OutboxMessage.status == OutboxStatus.pending)).all()),
        disobeyed=disobeyed + books.disobeyed(session, missions.values(), robots.history),
        misfired=books.misfired(session),
        gaps=books.gaps(session),
        violations=violations,
    )


def _repeated(history: Iterable[Execution]) -> int:
    return sum(count - 1 for count in Counter(run.order.key for run in history).values())


def doubled(begun: Sequence[Execution]) -> int:
    """How often a mission was begun while it was under way, or after it was done."""
    return sum(
        _is_again(before, later)
        for runs in _by(begun, lambda run: run.order.mission_id)
        for number, before in enumerate(runs)
        for later in runs[number + 1 :]
    )


def _is_again(before: Execution, later: Execution) -> bool:
    return before.status is OrderStatus.succeeded or _at_once(before, later)


def overlapping(begun: Sequence[Execution]) -> int:
    """How often two orders were under way on one robot."""
    return sum(
        _at_once(before, later)
        for runs in _by(begun, lambda run: run.order.serial_number)
        for number, before in enumerate(runs)
        for later in runs[number + 1 :]
    )


def _by(begun: Sequence[Execution], key: Callable[[Execution], str]) -> list[list[Execution]]:
    found: dict[str, list[Execution]] = {}
    for run in begun:
        found.setdefault(key(run), []).append(run)
    return [sorted(runs, key=_started_at) for runs in found.values()]


def _started_at(run: Execution) -> datetime:
    assert run.started_at is not None
    return run.started_at


def _at_once(before: Execution, later: Execution) -> bool:
    return before.ended_at is None or before.ended_at > _started_at(later)
