"""A recording becomes a dataset of the lake: one Parquet file per topic and definition, then the manifest.

The same recording, robot and converter version give the same files, so a second run changes nothing and a killed one is
simply run again.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date
from itertools import chain
from pathlib import Path

from fleet.errors import Invalid, Unavailable
from fleet.objectstore import ObjectStore, Stored
from ingestion.bags.definitions import Given, definition_sha256
from ingestion.bags.directories import definitions_given, sha256_of, size_of
from ingestion.bags.given import given_sha256
from ingestion.bags.progress import Listener
from ingestion.bags.published import is_whole, remove_superseded, superseded
from ingestion.bags.reading import CONVERTER, Reading, ReadTopic, Source, media_folder, read
from ingestion.bags.recording import Channel, sayable
from ingestion.bags.sources import require_recording
from ingestion.lake import Lake, LakeFile, Manifest, TopicTable, instant
from ingestion.statuses import BagStatus

UNKNOWN_ROBOT = "unknown"
LOCAL = "local"
TEMPORARY = ("bag", "cut", "zip", "zstd", "db3")
ABANDONED_S = 6 * 3600
MOVED_AT_ONCE = 1_000  # files; of more, names alone would take as much memory as the rest


def convert(
    source: Path,
    out: Path,
    *,
    robot: str | None = None,
    definitions: Path | None = None,
    listener: Listener | None = None,
) -> Manifest:
    """Convert the recording `source` into the local folder `out`, laid out as the lake is; gives its manifest.

    What is no recording gives a manifest with status `refused`. The same recording again changes nothing.
    `definitions` is a folder of .msg files for topics that were recorded without; `listener` is told how far it is.

    Raises:
        Invalid: `source` is neither a file nor a folder, or holds `out`; or `definitions` holds none.
        Unavailable: the disk cannot take it.
    """
    require_recording(source)
    if out.resolve().is_relative_to(source.resolve()):
        raise Invalid(
            f"{out} lies in the recording {source} itself; choose a folder outside of it.", source=str(source)
        )
    lake = Lake(ObjectStore(f"file://{out.resolve()}", signing_key=b""), "", LOCAL)
    size = size_of(source) if source.is_dir() else source.stat().st_size
    name = sayable(source.name or source.resolve().name)
    given = definitions_given(definitions) if definitions is not None else ()
    made = Source(source, name, recording_sha256(source), size, sayable(robot or UNKNOWN_ROBOT), given)
    return convert_into(lake, made, listener)


def recording_sha256(path: Path) -> str:
    """The hash that names a recording: of the file, or of the sorted list of a folder's files with their hashes."""
    return sha256_of(path) if path.is_dir() else file_sha256(path)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a local file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def explanation(manifest: Manifest) -> str | None:
    """One sentence for people on why a dataset is not complete; None when it is."""
    told = [manifest.reason] if manifest.reason else []
    told += [f"{topic.name}: {topic.reason}" for topic in manifest.topics if topic.reason]
    told += [f"{manifest.rejected} messages could not be decoded"] if manifest.rejected else []
    told += [lost.reason for lost in manifest.lost[:3]] + manifest.repairs
    return "; ".join(told) or None


def convert_into(lake: Lake, source: Source, listener: Listener | None = None) -> Manifest:
    """Convert into `lake`; a no-op when this converter has already published it for this robot.

    Raises:
        Unavailable: a disk or the object store cannot take it.
    """
    before = lake.manifest(source.sha256)
    if before is not None and is_current(lake, before, source.robot, source.given):
        return before
    with _disk_errors(source), tempfile.TemporaryDirectory(prefix="yardmaster-bag-") as folder:
        remove_abandoned(Path(folder))
        reading = read(source, Path(folder), listener)
        manifest = _publish(lake, source, reading, before)
    if manifest.superseded:
        remove_superseded(lake, manifest)
        manifest = replace(manifest, superseded=[])
        lake.publish(manifest)
    return manifest


def remove_abandoned(folder: Path) -> None:
    """Remove what conversions that were killed long before this `folder` was made have left beside it."""
    begin = folder.stat().st_mtime - ABANDONED_S
    for kind in TEMPORARY:
        for other in folder.parent.glob(f"yardmaster-{kind}-*"):
            with suppress(OSError):  # another one removes it, or it is not ours
                if all(path.lstat().st_mtime < begin for path in chain((other,), other.rglob("*"))):
                    shutil.rmtree(other)


def is_current(lake: Lake, manifest: Manifest, robot: str, given: Given = ()) -> bool:
    """Whether this converter made the dataset for this robot, its files are there, and those of an older one are not."""
    made = (manifest.converter, manifest.robot, manifest.given_sha256)
    is_so = made == (CONVERTER, robot, given_sha256(given)) and not manifest.superseded
    return is_so and is_whole(lake, manifest)


@contextmanager
def _disk_errors(source: Source) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(
            f"{source.filename} could not be converted: {error}. Free space or check permissions, then try again.",
            bag=source.sha256,
        ) from error


def _publish(lake: Lake, source: Source, reading: Reading, before: Manifest | None) -> Manifest:
    times = reading.times_ns
    on = instant(min(times)).date() if times else None
    topics = _store_topics(lake, reading, on)
    rejects = reading.rejects
    manifest = Manifest(
        converter=CONVERTER,
        sha256=source.sha256,
        size=source.size,
        filename=source.filename,
        format=reading.format,
        organisation=lake.organisation,
        robot=source.robot,
        given_sha256=given_sha256(source.given),
        status=_status(reading),
        reason=_refusal(reading),
        messages=reading.messages,
        rejected=rejects.rows,
        recorded_on=on,
        first_ns=min(times, default=None),
        last_ns=max(times, default=None),
        topics=topics,
        repairs=reading.found.repairs,
        lost=reading.found.lost,
        rejects=_store(lake, lake.rejects_path(source.sha256), rejects.path, rejects.rows) if rejects.rows else None,
    )
    manifest = replace(manifest, superseded=superseded(before, manifest))
    lake.publish(manifest)
    return manifest


def _store_topics(lake: Lake, reading: Reading, on: date | None) -> list[TopicTable]:
    topics = list(reading.topics.values())
    tables: dict[str, ReadTopic] = {}
    for topic in topics:
        if on and topic.rows.file.rows:
            folder = lake.folder(robot=reading.source.robot, on=on, topic=topic.channel.topic)
            _store_media(lake, topic, f"{folder}/{media_folder(reading.source, topic.number)}")
            tables[f"{folder}/part-{reading.source.sha256[:16]}-{topic.number}.parquet"] = topic
    files = _store_tables(lake, tables)
    return [_table(topic, [files[topic.channel]] if topic.channel in files else []) for topic in topics]


def _store_media(lake: Lake, topic: ReadTopic, beside: str) -> None:
    if topic.rows.media is None:
        return
    local = topic.rows.file.path.with_suffix("")
    names = sorted(os.listdir(local))
    for start in range(0, len(names), MOVED_AT_ONCE):
        some = names[start : start + MOVED_AT_ONCE]
        lake.objects.put_files({lake.key(f"{beside}/{name}"): local / name for name in some})


def _store_tables(lake: Lake, tables: Mapping[str, ReadTopic]) -> dict[Channel, LakeFile]:
    """Move the tables of topics to their paths."""
    files = {}
    paths = list(tables)
    for start in range(0, len(paths), MOVED_AT_ONCE):
        some = paths[start : start + MOVED_AT_ONCE]
        stored = lake.objects.move_files({lake.key(path): tables[path].rows.file.path for path in some})
        for path, put in zip(some, stored, strict=True):
            rows = tables[path].rows.file.rows
            files[tables[path].channel] = LakeFile(path=path, rows=rows, bytes=put.size, sha256=put.sha256)
    return files


def _table(topic: ReadTopic, files: list[LakeFile]) -> TopicTable:
    rows, media = topic.rows, topic.rows.media
    return TopicTable(
        name=topic.channel.topic,
        type=topic.channel.type,
        definition_sha256=definition_sha256(topic.channel),
        definition=topic.origin,
        rows=rows.file.rows,
        rejected=rows.rejected,
        first_ns=rows.file.first_ns,
        last_ns=rows.file.last_ns,
        reason=topic.reason,
        media=media.files if media else 0,
        media_bytes=media.bytes if media else 0,
        quality=rows.quality.result() if rows.file.rows else None,
        files=files,
    )


def _store(lake: Lake, path: str, local: Path, rows: int) -> LakeFile:
    stored: Stored = lake.objects.put_file(lake.key(path), local)
    return LakeFile(path=path, rows=rows, bytes=stored.size, sha256=stored.sha256)


def _refusal(reading: Reading) -> str | None:
    if reading.refusal is None and reading.found.lost and not reading.messages:
        return f"Nothing in it can be read: {reading.found.lost[0].reason}."
    return reading.refusal


def _status(reading: Reading) -> BagStatus:
    undecodable = any(topic.reason and topic.rows.file.rows for topic in reading.topics.values())
    if _refusal(reading):
        return BagStatus.refused
    if reading.found.lost or reading.rejects.rows or undecodable:
        return BagStatus.partial
    return BagStatus.repaired if reading.found.repairs else BagStatus.complete
