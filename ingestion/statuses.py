"""Words that recordings are told by, for those too who must not wait for the models that use them."""

from enum import StrEnum


class BagStatus(StrEnum):
    """How far a bag is on its way to Parquet."""

    stored = "stored"
    complete = "complete"
    repaired = "repaired"
    partial = "partial"
    refused = "refused"


class TriggerKind(StrEnum):
    """What makes a robot keep what its sensors just showed."""

    error = "error"
    anomaly = "anomaly"
    request = "request"
    poor_performance = "poor_performance"
