"""Quality of service as DDS endpoints offer and request it, and which offers meet which requests (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

FOREVER = 2**63 - 1  # DDS' infinite duration, in nanoseconds
DURABILITIES = ("volatile", "transient local", "transient", "persistent")
LIVELINESSES = ("automatic", "manual by participant", "manual by topic")
ORDERS = ("by reception", "by source")


@dataclass(frozen=True)
class Profile:
    """The policies of one endpoint that matter to others; durations in nanoseconds."""

    is_reliable: bool = True
    durability: str = "volatile"
    depth: int = 10  # 0: all
    deadline_ns: int = FOREVER
    latency_ns: int = 0
    liveliness: str = "automatic"
    lease_ns: int = FOREVER
    is_exclusive: bool = False
    order: str = "by reception"
    is_xcdr1: bool = True  # written in, or able to read, the plain CDR of ROS
    partitions: tuple[str, ...] = ()

    def described(self) -> Mapping[str, str]:
        """The same for people; only what differs from the usual, beside reliability, durability and history."""
        said = {
            "reliability": _reliability(self),
            "durability": self.durability,
            "history": f"keep last {self.depth}" if self.depth else "keep all",
        }
        usual = Profile()
        if self.deadline_ns != usual.deadline_ns:
            said["deadline"] = _seconds(self.deadline_ns)
        if (self.liveliness, self.lease_ns) != (usual.liveliness, usual.lease_ns):
            said["liveliness"] = f"{self.liveliness}, {_seconds(self.lease_ns)}"
        if self.is_exclusive:
            said["ownership"] = "exclusive"
        return said


SERVICE = Profile(depth=10)
STATUS = Profile(durability="transient local", depth=1)
FEEDBACK = Profile(depth=10)
SENSOR = Profile(is_reliable=False, depth=16)
LATCHED = Profile(durability="transient local", depth=16)
GRAPH = Profile(durability="transient local", depth=1)


def fitting_reader(offers: list[Profile]) -> Profile:
    """What to request of these publishers: the last message kept for latecomers where all of them keep one, else anything."""
    if offers and all(offer.is_reliable and offer.durability != "volatile" for offer in offers):
        return LATCHED
    return replace(SENSOR, partitions=offers[0].partitions if offers else ())


def mismatch(offered: Profile, requested: Profile) -> str:
    """Which policy keeps these two apart, in words; empty when they meet (DDS 1.4, table of requested/offered policies)."""
    checks = {
        "reliability": (offered.is_reliable >= requested.is_reliable, _reliability(offered), _reliability(requested)),
        "durability": (
            DURABILITIES.index(offered.durability) >= DURABILITIES.index(requested.durability),
            offered.durability,
            requested.durability,
        ),
        "deadline": (
            offered.deadline_ns <= requested.deadline_ns,
            _seconds(offered.deadline_ns),
            _seconds(requested.deadline_ns),
        ),
        "latency budget": (
            offered.latency_ns <= requested.latency_ns,
            _seconds(offered.latency_ns),
            _seconds(requested.latency_ns),
        ),
        "liveliness": (
            LIVELINESSES.index(offered.liveliness) >= LIVELINESSES.index(requested.liveliness)
            and offered.lease_ns <= requested.lease_ns,
            f"{offered.liveliness}, {_seconds(offered.lease_ns)}",
            f"{requested.liveliness}, {_seconds(requested.lease_ns)}",
        ),
        "ownership": (
            offered.is_exclusive == requested.is_exclusive,
            _ownership(offered),
            _ownership(requested),
        ),
        "destination order": (
            ORDERS.index(offered.order) >= ORDERS.index(requested.order),
            offered.order,
            requested.order,
        ),
        "data representation": (
            offered.is_xcdr1 == requested.is_xcdr1,
            _representation(offered),
            _representation(requested),
        ),
        "partition": (offered.partitions == requested.partitions, _names(offered), _names(requested)),
    }
    return "; ".join(
        f"{policy}: offered {offer}, requested {request}"
        for policy, (fits, offer, request) in checks.items()
        if not fits
    )


def _reliability(profile: Profile) -> str:
    return "reliable" if profile.is_reliable else "best effort"


def _ownership(profile: Profile) -> str:
    return "exclusive" if profile.is_exclusive else "shared"


def _representation(profile: Profile) -> str:
    return "XCDR1" if profile.is_xcdr1 else "XCDR2"


def _names(profile: Profile) -> str:
    return ", ".join(profile.partitions) or "none"


def _seconds(duration_ns: int) -> str:
    return "infinite" if duration_ns >= FOREVER else f"{duration_ns / 1e9:g} s"
