"""What the inspection points show: typed readings, the same for the same seed, robot, point and count."""

from random import Random

from fleet.adapter import OrderTask

QUANTITIES = {"temperature": "degC", "thermal": "degC", "vibration": "m/s^2"}
READING_S = 10.0


def quantity_of(task: OrderTask) -> str:
    """What a reading task asks for; temperature unless its parameter `quantity` says otherwise."""
    return str(task.parameters.get("quantity", "temperature"))


def reading(seed: int, station: str, quantity: str, *, reader: str, count: int) -> tuple[float, str]:
    """The value and unit that the robot `reader` takes as its reading number `count`."""
    point = Random(f"{seed}/{station}/{quantity}")
    noise = Random(f"{seed}/{reader}/reading/{count}")
    if QUANTITIES[quantity] == "degC":
        return round(point.uniform(32.0, 68.0) + noise.gauss(0.0, 0.6), 2), "degC"
    return round(max(point.uniform(0.4, 2.4) + noise.gauss(0.0, 0.05), 0.0), 3), "m/s^2"
