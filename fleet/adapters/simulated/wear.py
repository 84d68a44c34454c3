"""How a drive motor wears: a hidden health from new (0) to failed (1) that shows in what its sensors say.

Deterministic: the seed, the robot and the number of the life give the same life every time.
"""

import math
from dataclasses import dataclass
from random import Random

COMPONENT = "drive_motor"
SHORTEST_LIFE_H = 30.0
LONGEST_LIFE_H = 75.0
DAY_H = 24.0


@dataclass(frozen=True)
class Signs:
    """What the sensors of the drive motor say."""

    current_a: float
    temperature_degc: float
    vibration_m_s2: float


@dataclass(frozen=True)
class Life:
    """One drive motor from new to failed; `curve` is how late the wear shows (larger: later and steeper)."""

    number: int
    length_h: float
    curve: float
    current_a: float
    temperature_degc: float
    vibration_m_s2: float

    def wear(self, operating_h: float) -> float:
        """0 when new, 1 at failure; it never falls."""
        return math.pow(min(max(operating_h / self.length_h, 0.0), 1.0), self.curve)

    def signs(self, operating_h: float, *, load: float) -> Signs:
        """The sensors without noise at this age; `load` 0 standing, 1 driving."""
        wear = self.wear(operating_h)
        warmth = 2.0 * math.sin(2 * math.pi * operating_h / DAY_H)  # the hall is warmer by day
        return Signs(
            current_a=0.4 + load * (self.current_a + 2.6 * wear),
            temperature_degc=self.temperature_degc + warmth + 8.0 * load + 26.0 * wear,
            vibration_m_s2=0.05 + load * (self.vibration_m_s2 + 2.4 * wear**1.5),
        )


def life(seed: int, serial_number: str, number: int) -> Life:
    """The life with this number (from 1) of a robot's drive motor; operating hours count from its beginning."""
    chance = Random(f"{seed}/{serial_number}/life/{number}")
    return Life(
        number=number,
        length_h=chance.uniform(SHORTEST_LIFE_H, LONGEST_LIFE_H),
        curve=chance.uniform(2.2, 3.6),
        current_a=chance.uniform(2.0, 2.3),
        temperature_degc=chance.uniform(31.0, 34.0),
        vibration_m_s2=chance.uniform(0.35, 0.5),
    )


def age_at_start(seed: int, present: Life, serial_number: str) -> float:
    """How many operating hours the present motor has behind it when the site is first opened."""
    chance = Random(f"{seed}/{serial_number}/age")
    return present.length_h * chance.uniform(0.3, 0.92)
