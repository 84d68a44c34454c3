"""A recording read into one local Parquet file per topic and definition, in bounded memory; nothing is published yet."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from fleet.errors import Invalid
from ingestion.bags.bodies import free_spare_blocks
from ingestion.bags.definitions import PARSE_ERRORS, Decoder, Given, Undecodable, decoder, definition_sha256
from ingestion.bags.layout import Program, program
from ingestion.bags.progress import Listener, Teller
from ingestion.bags.recording import Channel, Findings, sayable
from ingestion.bags.rejects import RejectsFile
from ingestion.bags.sources import reader_of
from ingestion.bags.topics import TopicFile
from ingestion.bags.units import units

if TYPE_CHECKING:
    from ingestion.bags.media import MediaFiles

CONVERTER = "3"
HELD_MAX_BYTES = 16 << 20
BLOB = pa.binary()


@dataclass(frozen=True)
class Source:
    """A recording on this machine, and what is known of it."""

    path: Path
    filename: str
    sha256: str
    size: int
    robot: str
    given: Given = ()  # definitions, for topics that were recorded without


@dataclass(frozen=True)
class ReadTopic:
    """One topic as it was read; with a `reason` it could not be decoded and is kept raw.

    `number` tells definitions of one topic apart, in the order of their first messages.
    """

    channel: Channel
    number: int
    origin: str
    reason: str | None
    rows: TopicFile


@dataclass
class Reading:
    """All that reading a recording gave; with a `refusal` it could not be read at all."""

    source: Source
    folder: Path
    rejects: RejectsFile
    format: str = ""
    refusal: str | None = None
    found: Findings = field(default_factory=Findings)
    topics: dict[Channel, ReadTopic] = field(default_factory=dict)
    numbers: Counter[str] = field(default_factory=Counter)
    held_bytes: int = 0

    @property
    def messages(self) -> int:
        """Messages that were read, the rejected ones too."""
        return sum(topic.rows.file.rows for topic in self.topics.values()) + self.rejects.rows

    @property
    def times_ns(self) -> list[int]:
        """First and last time of every topic that has rows."""
        return [
            time
            for topic in self.topics.values()
            for time in (topic.rows.file.first_ns, topic.rows.file.last_ns)
            if time is not None
        ]


def read(source: Source, folder: Path, listener: Listener | None = None) -> Reading:
    """Read `source` into files below `folder`; what is damaged or undecodable is told in the result, never raised."""
    reading = Reading(source, folder, RejectsFile(folder / "rejects.parquet"), found=Findings(given=source.given))
    teller = Teller(listener, "read", source.size)
    try:
        reading.format, batches = reader_of(source.path)
        for batch in batches(source.path, reading.found):
            rows = (reading.topics.get(batch.channel) or _open(reading, batch.channel)).rows
            before = rows.held_bytes
            rows.add(batch)
            reading.held_bytes += rows.held_bytes - before
            if reading.held_bytes > HELD_MAX_BYTES:
                _release_largest(reading)
            teller.reached(reading.found.part)
    except Invalid as error:
        reading.refusal = sayable(error.message)
    for channel in reading.found.channels:
        if channel not in reading.topics:
            _open(reading, channel)
    for topic in reading.topics.values():
        topic.rows.close()
    reading.rejects.close()
    free_spare_blocks()
    teller.reached(1.0)
    return reading


def _open(reading: Reading, channel: Channel) -> ReadTopic:
    steps, known, reason = program_of(channel, reading.found)
    name, number = str(len(reading.topics)), reading.numbers[channel.topic]
    reading.numbers[channel.topic] += 1
    rows = TopicFile(
        reading.folder / f"{name}.parquet",
        channel,
        steps,
        metadata=_metadata(reading, channel, known, steps),
        rejects=reading.rejects,
        media=_media_files(channel, steps, reading.folder / name, media_folder(reading.source, number)),
    )
    reading.topics[channel] = ReadTopic(channel, number, known.origin if known else "", reason, rows)
    return reading.topics[channel]


def _media_files(channel: Channel, steps: Program | None, folder: Path, prefix: str) -> "MediaFiles | None":
    """Where the pictures and clouds of a topic go, None when it has none."""
    if steps is None or not any(name.split(".")[-1] == "data" and kind == BLOB for name, kind in steps.columns):
        return None
    # A recording without either does not wait for what writes them.
    from ingestion.bags.media import MediaFiles, kind_of  # noqa: PLC0415  see above

    kind = kind_of(channel.type, steps.columns)
    return MediaFiles(kind, folder, prefix) if kind else None


def media_folder(source: Source, number: int) -> str:
    """The folder of a topic's media files, relative to that of its Parquet file."""
    return f"media-{source.sha256[:16]}-{number}"


def _metadata(reading: Reading, channel: Channel, known: Decoder | None, steps: Program | None) -> dict[str, str]:
    told = {
        "topic": channel.topic,
        "type": channel.type,
        "definition_sha256": definition_sha256(channel),
        "definition": channel.definition,
        "bag_sha256": reading.source.sha256,
        "robot": reading.source.robot,
        "converter": CONVERTER,
    }
    if known is not None and steps is not None:
        told["units"] = json.dumps(
            units(known, channel.definition, (name for name, _ in steps.columns)), sort_keys=True
        )
    return told


def program_of(channel: Channel, found: Findings) -> tuple[Program | None, Decoder | None, str | None]:
    """How the messages of a channel are decoded, or the reason why they cannot be."""
    try:
        known = decoder(channel, found.distribution or "humble", found.given)
        return program(known), known, None
    except Undecodable as error:
        return None, None, error.message
    except PARSE_ERRORS as error:
        return None, None, f"The definition of {channel.type!r} is not usable: {type(error).__name__} {error}."


def _release_largest(reading: Reading) -> None:
    """Free half of what may be held at once, so that the topics are looked through now and then only."""
    files = sorted((topic.rows for topic in reading.topics.values()), key=lambda rows: -rows.held_bytes)
    for rows in files:
        if reading.held_bytes <= HELD_MAX_BYTES // 2:
            return
        reading.held_bytes -= rows.held_bytes
        rows.release()
        reading.held_bytes += rows.held_bytes
