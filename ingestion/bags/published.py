"""The files of a published dataset, each table, picture and cloud: whether all are there, and the removal of older ones."""

import pyarrow as pa

from fleet.errors import NotFound
from ingestion.lake import Lake, LakeFile, Manifest, TopicTable, media_beside


def is_whole(lake: Lake, manifest: Manifest) -> bool:
    """Whether every file is there with the size that is told of it; what is in it is for `verify` to compare."""
    try:
        return all(lake.objects.size(lake.key(file.path)) == file.bytes for file in manifest.files) and all(
            _media(lake, file) == lake.objects.sizes(lake.key(media_beside(file)))
            for table in _with_media(manifest)
            for file in table.files
        )
    except (NotFound, pa.ArrowException):
        return False


def superseded(before: Manifest | None, now: Manifest) -> list[str]:
    """The tables of an earlier dataset that are not of this one, or beside which files may lie that are not."""
    if before is None:
        return []
    kept = {file.path for file in now.files}
    old = [file.path for table in before.topics for file in table.files if table.media or file.path not in kept]
    old += [before.rejects.path] if before.rejects and now.rejects is None else []
    return sorted({*old, *before.superseded})


def remove_superseded(lake: Lake, now: Manifest) -> None:
    """Remove the files that this dataset has superseded; run again, it goes on."""
    kept = {lake.key(file.path) for file in now.files}
    for table in _with_media(now):
        for file in table.files:
            kept.update(_media(lake, file))
    for path in now.superseded:
        beside = media_beside(LakeFile(path=path, rows=0, bytes=0, sha256=""))
        for key in (*lake.objects.list(lake.key(beside)), lake.key(path)):
            if key not in kept:
                lake.objects.delete(key)


def _with_media(manifest: Manifest) -> list[TopicTable]:
    return [table for table in manifest.topics if table.media]


def _media(lake: Lake, table: LakeFile) -> dict[str, int]:
    """The files that the rows of a table name, by key, with their sizes."""
    # A recording without pictures and clouds does not wait for what reads them.
    import pyarrow.parquet as pq  # noqa: PLC0415  see above

    from ingestion.bags.blobs import blob_names  # noqa: PLC0415  see above

    folder = lake.key(table.path.rpartition("/")[0])
    sizes: dict[str, int] = {}
    with lake.objects.open(lake.key(table.path)) as source, pq.ParquetFile(source) as file:
        for name in blob_names(file.schema_arrow.names):
            for rows in file.iter_batches(columns=[f"{name}.path", f"{name}.size"]):
                paths, bytes_ = (column.to_pylist() for column in rows.columns)
                sizes |= {f"{folder}/{path}": size for path, size in zip(paths, bytes_, strict=True)}
    return sizes
