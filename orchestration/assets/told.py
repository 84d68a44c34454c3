"""What Dagster shows of datasets."""

from collections.abc import Mapping, Sequence

from dagster import MetadataValue

from ingestion.lake import Manifest


def told(manifests: Sequence[Manifest]) -> Mapping[str, MetadataValue]:
    """What Dagster shows of these datasets."""
    lines = [
        f"| {manifest.filename} | {manifest.robot} | {manifest.status} | {topic.name} | {topic.type} | {topic.rows} |"
        for manifest in manifests
        for topic in manifest.topics
    ]
    head = ["| bag | robot | status | topic | type | rows |", "|---|---|---|---|---|---|"]
    return {
        "dagster/row_count": MetadataValue.int(sum(topic.rows for one in manifests for topic in one.topics)),
        "messages": MetadataValue.int(sum(manifest.messages for manifest in manifests)),
        "rejected": MetadataValue.int(sum(manifest.rejected for manifest in manifests)),
        "bags": MetadataValue.int(len(manifests)),
        "topics": MetadataValue.md("\n".join(head + lines[:500])),
    }
