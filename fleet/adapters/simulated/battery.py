"""A battery that drains with distance and time and charges at a dock; fractions of full."""

from random import Random

DRAIN_PER_M = 0.0008
DRAIN_PER_S = 0.00002
CHARGE_PER_S = 0.0006
LOW = 0.2
MUST_CHARGE = 0.4
CHARGED_ENOUGH = 0.9
EMPTY = 0.05
VOLTAGE_EMPTY_V = 22.0
VOLTAGE_FULL_V = 29.0
CAPACITY_AH = 40.0


def drained(fraction: float, *, metres: float, seconds: float) -> float:
    """What is left after driving `metres` within `seconds`; never below 0."""
    return max(fraction - DRAIN_PER_M * metres - DRAIN_PER_S * seconds, 0.0)


def charged(fraction: float, *, seconds: float) -> float:
    """What there is after `seconds` at a dock; never above 1."""
    return min(fraction + CHARGE_PER_S * seconds, 1.0)


def voltage_v(fraction: float) -> float:
    """Open-circuit voltage of a 24 V pack, linear between empty and full."""
    return VOLTAGE_EMPTY_V + (VOLTAGE_FULL_V - VOLTAGE_EMPTY_V) * fraction


def fraction_at_start(seed: int, serial_number: str) -> float:
    """How full it is when the site is first opened."""
    return Random(f"{seed}/{serial_number}/battery").uniform(0.75, 0.98)
