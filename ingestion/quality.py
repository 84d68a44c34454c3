"""Whether a published dataset still is what its manifest says."""

import pyarrow as pa
import pyarrow.parquet as pq

from fleet.errors import NotFound
from ingestion.lake import Lake, LakeFile, Manifest, TopicTable, media_beside


def differences(lake: Lake, manifest: Manifest) -> list[str]:
    """How the files differ from their manifest, empty when they do not.

    Of tables the footers alone are read, media files are counted.
    """
    told = [
        f"{table.name}: {table.rows} rows are told, its files are said to hold {sum(file.rows for file in table.files)}"
        for table in manifest.topics
        if table.rows != sum(file.rows for file in table.files)
    ]
    counted = sum(table.rows for table in manifest.topics) + manifest.rejected
    if counted != manifest.messages:
        told.append(f"{manifest.messages} messages are told, {counted} are in the tables and rejects")
    told += [difference for table in manifest.topics if (difference := _media_difference(lake, table))]
    return told + [difference for file in manifest.files if (difference := _difference(lake, file))]


def _media_difference(lake: Lake, table: TopicTable) -> str | None:
    if not table.media:
        return None
    found = sum(len(lake.objects.list(lake.key(media_beside(file)))) for file in table.files)
    return None if found == table.media else f"{table.name}: {table.media} media files are told, {found} are there"


def _difference(lake: Lake, file: LakeFile) -> str | None:
    try:
        with lake.objects.open(lake.key(file.path)) as source:
            rows = pq.read_metadata(source).num_rows
    except NotFound:
        return f"{file.path} is missing"
    except pa.ArrowInvalid as error:
        return f"{file.path} is no Parquet file: {error}"
    return None if rows == file.rows else f"{file.path} holds {rows} rows, the manifest says {file.rows}"
