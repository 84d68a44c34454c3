"""Our profiles of service quality as Cyclone's, and back."""

from cyclonedds.qos import Policy, Qos

from fleet.adapters.ros2.qos import FOREVER, Profile

BLOCKING_NS = 100_000_000  # a write holds Python's lock while it waits for room; rmw waits for ever, ours gives up
UNLIMITED = -1


def qos_of(profile: Profile, user_data: bytes, *, is_writer: bool) -> Qos:
    """The policies that rmw_cyclonedds sets for an endpoint of this profile."""
    policies = [
        Policy.Reliability.Reliable(BLOCKING_NS if is_writer else FOREVER)
        if profile.is_reliable
        else Policy.Reliability.BestEffort,
        Policy.Durability.Volatile if profile.durability == "volatile" else Policy.Durability.TransientLocal,
        Policy.History.KeepLast(profile.depth) if profile.depth else Policy.History.KeepAll,
        Policy.DataRepresentation(use_cdrv0_representation=True, use_xcdrv2_representation=False),
        Policy.Userdata(user_data),
    ]
    if profile.partitions:
        policies.append(Policy.Partition(list(profile.partitions)))
    if is_writer:
        policies.append(Policy.WriterDataLifecycle(autodispose=False))
        kept = Policy.History.KeepLast(max(profile.depth, 1))
        if profile.durability != "volatile":
            policies.append(Policy.DurabilityService(0, kept, UNLIMITED, UNLIMITED, UNLIMITED))
    return Qos(*policies)


def profile_of(qos: Qos) -> Profile:
    """What an endpoint on the network offers or requests."""
    by_scope = {type(policy).__name__.partition(".")[0]: policy for policy in qos.policies}
    names = {type(policy).__name__ for policy in qos.policies}
    history, liveliness = by_scope.get("History"), by_scope.get("Liveliness")
    representation, partition = by_scope.get("DataRepresentation"), by_scope.get("Partition")
    return Profile(
        is_reliable="Reliability.Reliable" in names,
        durability=_one_of(names, DURABILITIES, "volatile"),
        depth=getattr(history, "depth", 0),
        deadline_ns=getattr(by_scope.get("Deadline"), "deadline", FOREVER),
        latency_ns=getattr(by_scope.get("LatencyBudget"), "budget", 0),
        liveliness=_one_of(names, LIVELINESSES, "automatic"),
        lease_ns=getattr(liveliness, "lease_duration", FOREVER),
        is_exclusive="Ownership.Exclusive" in names,
        order="by source" if "DestinationOrder.BySourceTimestamp" in names else "by reception",
        is_xcdr1=representation is None or bool(getattr(representation, "use_cdrv0_representation", True)),
        partitions=tuple(getattr(partition, "partitions", ())),
    )


def user_data_of(qos: Qos) -> bytes:
    """The USER_DATA policy."""
    found = next((policy for policy in qos.policies if type(policy).__name__ == "Userdata"), None)
    return bytes(getattr(found, "data", b""))


DURABILITIES = {
    "Durability.TransientLocal": "transient local",
    "Durability.Transient": "transient",
    "Durability.Persistent": "persistent",
}
LIVELINESSES = {
    "Liveliness.ManualByParticipant": "manual by participant",
    "Liveliness.ManualByTopic": "manual by topic",
}


def _one_of(names: set[str], meanings: dict[str, str], usual: str) -> str:
    return next((meaning for name, meaning in meanings.items() if name in names), usual)
