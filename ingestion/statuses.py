"""How far a recording is on its way to Parquet."""

from enum import StrEnum


class BagStatus(StrEnum):
    """How far a bag is on its way to Parquet."""

    stored = "stored"
    complete = "complete"
    repaired = "repaired"
    partial = "partial"
    refused = "refused"
