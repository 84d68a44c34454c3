"""What a fleet report says, as values: no query above, no layout below."""

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from functools import cached_property
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, Field

from fleet.adapter import Frozen
from missions.models import MISSION_TERMINAL, MissionStatus

CARE_NOW_HOURS = 8.0  # one shift of operation
CARE_SOON_HOURS = 24.0  # one day of operation


class MissionLine(Frozen):
    """One mission; instants are UTC, `is_on_time` is None when it has no deadline or is not yet due."""

    id: UUID
    name: str
    status: MissionStatus
    robot: str | None
    round: str | None
    requested_by: str
    created_at: AwareDatetime
    not_after_at: AwareDatetime | None
    started_at: AwareDatetime | None
    finished_at: AwareDatetime | None
    attempts: int = Field(ge=0)
    is_on_time: bool | None
    reason: str

    @property
    def duration_s(self) -> float | None:
        """Seconds from the first start to the end."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


class WorkSpan(Frozen):
    """One attempt on the time line, cut to the period."""

    robot: str
    status: str
    begins_at: AwareDatetime
    ends_at: AwareDatetime


class RobotLine(Frozen):
    """What one robot did in the period, and its newest state."""

    name: str
    model: str
    executing_hours: float
    utilisation_fraction: float = Field(ge=0, le=1)
    succeeded: int
    failed_attempts: int
    activity: str | None
    battery_fraction: float | None
    observed_at: AwareDatetime | None
    battery_low_events: int


class FailureLine(Frozen):
    """Why something did not work out, and how often."""

    what: str
    reason: str
    count: int
    robots: tuple[str, ...]


class HappeningLine(Frozen):
    """Something that happened to a robot."""

    occurred_at: AwareDatetime
    robot: str | None
    kind: str
    severity: str


class Care(StrEnum):
    """What the expected remaining life asks for."""

    now = "care now"
    soon = "plan care"
    later = "good"


class CareLine(Frozen):
    """How many operating hours a drive is expected to go on, with its 90 % interval."""

    robot: str
    rul_hours: float
    rul_lower_hours: float
    rul_upper_hours: float
    as_of: AwareDatetime
    model: str

    @property
    def care(self) -> Care:
        """Now if it is expected to fail within a shift, soon if it may within a day of operation."""
        if self.rul_hours < CARE_NOW_HOURS:
            return Care.now
        return Care.soon if self.rul_lower_hours < CARE_SOON_HOURS else Care.later


class FleetReport(Frozen):
    """One site over one period; lists are in the order in which they are shown."""

    organisation: str
    site: str
    timezone: str
    period_from: AwareDatetime
    period_to: AwareDatetime
    generated_at: AwareDatetime
    missions: tuple[MissionLine, ...]
    work: tuple[WorkSpan, ...]
    robots: tuple[RobotLine, ...]
    failures: tuple[FailureLine, ...]
    happenings: tuple[HappeningLine, ...]
    happenings_total: int
    care: tuple[CareLine, ...]

    @property
    def zone(self) -> ZoneInfo:
        """The time zone in which times are shown."""
        return ZoneInfo(self.timezone)

    @cached_property
    def by_status(self) -> dict[MissionStatus, int]:
        """Missions by status, in the order of a mission's life; statuses of none are left out."""
        counts = Counter(line.status for line in self.missions)
        return {status: counts[status] for status in MissionStatus if counts[status]}

    @property
    def ended(self) -> int:
        """Missions that came to an end in the period."""
        return sum(count for status, count in self.by_status.items() if status in MISSION_TERMINAL)

    @property
    def succeeded(self) -> int:
        """Missions that were done."""
        return self.by_status.get(MissionStatus.succeeded, 0)

    @property
    def success_fraction(self) -> float | None:
        """Done of all that ended; None when none ended."""
        return _share(self.succeeded, self.ended)

    @property
    def on_time_fraction(self) -> float | None:
        """Started before their deadline, of those that had one; None when none had."""
        known = [line.is_on_time for line in self.missions if line.is_on_time is not None]
        return _share(sum(known), len(known))

    @property
    def utilisation_fraction(self) -> float | None:
        """The mean of the robots; None without robots."""
        return _share(sum(robot.utilisation_fraction for robot in self.robots), len(self.robots))

    def in_need(self) -> Sequence[CareLine]:
        """The drives that want care now or soon."""
        return [line for line in self.care if line.care is not Care.later]


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
