"""What happened to the robots before the site was opened: whole lives of their drive motors, as bags and happenings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleet.adapter import DiscoveredRobot, Happening
from fleet.adapters.simulated.body import SPEED_M_S, Body
from fleet.adapters.simulated.recorder import HISTORY_EVERY, Recording
from fleet.adapters.simulated.robot import life_key
from fleet.adapters.simulated.samples import Sample
from fleet.adapters.simulated.translate import stamp_from
from fleet.adapters.simulated.wear import COMPONENT, Life, age_at_start, life

MINUTE_H = 1 / 60
REPLACED_AFTER = timedelta(hours=2)
ENDS_BEFORE_OPENING = timedelta(minutes=5)
LAP_M = 60.0
LAP_RADIUS_M = LAP_M / (2 * math.pi)
SHIFT_H = 6.0


@dataclass(frozen=True)
class PastLife:
    """A drive motor in the past, worked without a break; the present one (`has_failed` False) up to the opening."""

    robot: DiscoveredRobot
    life: Life
    started_at: datetime
    hours: float
    has_failed: bool

    @property
    def ended_at(self) -> datetime:
        """When it failed, or when the record of the present motor ends."""
        return self.started_at + timedelta(hours=self.hours)


def past_lives(seed: int, robot: DiscoveredRobot, *, lives: int, opened_at: datetime) -> list[PastLife]:
    """The `lives` failed motors of a robot and then the present one, oldest first, up to just before `opened_at`."""
    present = life(seed, robot.serial_number, lives + 1)
    hours = age_at_start(seed, present, robot.serial_number)
    started_at = opened_at - ENDS_BEFORE_OPENING - timedelta(hours=hours)
    past = [PastLife(robot, present, started_at, hours, has_failed=False)]
    for number in range(lives, 0, -1):
        motor = life(seed, robot.serial_number, number)
        started_at -= REPLACED_AFTER + timedelta(hours=motor.length_h)
        past.append(PastLife(robot, motor, started_at, motor.length_h, has_failed=True))
    return past[::-1]


def happenings(past: Sequence[PastLife]) -> list[Happening]:
    """The failures and replacements of these lives, in order of time."""
    told: list[Happening] = []
    for ended in past:
        if ended.has_failed:
            told.append(_happening(ended, "failed", ended.ended_at))
            told.append(_happening(ended, "replaced", ended.ended_at + REPLACED_AFTER))
    return sorted(told, key=lambda one: one.occurred_at)


def _happening(ended: PastLife, what: str, at: datetime) -> Happening:
    return Happening(
        key=life_key(ended.robot.serial_number, ended.life.number, what),
        kind=f"component_{what}",
        occurred_at=at,
        serial_number=ended.robot.serial_number,
        severity="error" if what == "failed" else "info",
        fields={"component": COMPONENT, "operating_hours": ended.hours, "life": ended.life.number},
    )


def recording(seed: int, past: PastLife) -> Recording:
    """One sample a minute of operating time, over the whole life."""
    name = name_of(past)
    return Recording(
        name=name,
        robot=past.robot.name,
        samples=[_sample(past, minute) for minute in range(1, int(past.hours / MINUTE_H) + 1)],
        every=HISTORY_EVERY,
        noise=f"{seed}/{name}",
    )


def name_of(past: PastLife) -> str:
    """The name of its bag."""
    return f"{past.robot.name}-life-{past.life.number}"


def _sample(past: PastLife, minute: int) -> Sample:
    hours = minute * MINUTE_H
    return Sample(
        at_ns=stamp_from(past.started_at + timedelta(minutes=minute)) * 1000,
        body=_body(hours),
        operating_h=hours,
        signs=past.life.signs(hours, load=1.0),
        component=f"{past.robot.serial_number}/{COMPONENT}/{past.life.number}",
    )


def _body(hours: float) -> Body:
    """On a round of 60 m, again and again; the battery is full at the beginning of each shift of six hours."""
    driven_m = hours * 3600 * SPEED_M_S
    angle = 2 * math.pi * (driven_m % LAP_M) / LAP_M
    return Body(
        x_m=20 + LAP_RADIUS_M * math.cos(angle),
        y_m=15 + LAP_RADIUS_M * math.sin(angle),
        yaw_rad=math.remainder(angle + math.pi / 2, 2 * math.pi),
        battery_fraction=1.0 - 0.7 * (hours % SHIFT_H) / SHIFT_H,
        speed_m_s=SPEED_M_S,
        odometer_m=driven_m,
    )
