"""Orders given at a robot itself, over ROS 2 or VDA 5050: the manufacturer's cloud knows nothing of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.adapter import Happening, Observation, OrderReport, Reported
from fleet.adapters.simulated.samples import Sample

PREFIX = "local/"
VDA5050 = "vda5050/"  # before the orderId of an order that came so; a word without it is the UUID of a ROS 2 goal
FORGOTTEN = "the robot was started anew and has forgotten it"


@dataclass(frozen=True)
class Look:
    """What can be seen at a robot: its sensors, what it does, and its newest order if that was given at the robot itself."""

    sample: Sample
    seen: Observation
    report: OrderReport | None

    @property
    def word(self) -> str | None:
        """The word under which that order was given."""
        return None if self.report is None else word_of(self.report.key)


def key_of(word: str) -> str:
    """The key of the order that was given under this word: a goal's UUID, an orderId."""
    return f"{PREFIX}{word}"


def word_of(key: str) -> str:
    """The word of a key that was made by `key_of`."""
    return key.removeprefix(PREFIX)


def is_local(key: object) -> bool:
    """Whether an order of this key was given at the robot itself."""
    return isinstance(key, str) and key.startswith(PREFIX)


def known_to_cloud(said: Sequence[Reported]) -> list[Reported]:
    """Of what robots say, what their cloud hears: that one works, but not on what, when the order is not the cloud's."""
    return [_without_order(one) for one in said if not _is_of_local_order(one)]


def _is_of_local_order(said: Reported) -> bool:
    if isinstance(said, OrderReport):
        return is_local(said.key)
    return isinstance(said, Happening) and is_local(said.fields.get("order_key"))


def _without_order(said: Reported) -> Reported:
    if isinstance(said, Observation) and is_local(said.order_key):
        return said.model_copy(update={"order_key": None})
    return said
