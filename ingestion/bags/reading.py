"""A recording read into one local Parquet file per topic and definition, in bounded memory; nothing is published yet."""

from dataclasses import dataclass, field
from pathlib import Path

from fleet.errors import Invalid
from ingestion.bags.columns import columns
from ingestion.bags.definitions import PARSE_ERRORS, Decoder, Undecodable, decoder, definition_sha256
from ingestion.bags.recording import Channel, Findings
from ingestion.bags.sources import reader_of
from ingestion.bags.tables import RejectsFile, TopicFile

CONVERTER = "1"
WAITING_MAX_BYTES = 64 << 20
LOOK_EVERY = 256


@dataclass(frozen=True)
class Source:
    """A recording on this machine, and what is known of it."""

    path: Path
    filename: str
    sha256: str
    size: int
    robot: str


@dataclass(frozen=True)
class ReadTopic:
    """One topic as it was read; with a `reason` it could not be decoded and is kept raw."""

    channel: Channel
    origin: str
    reason: str | None
    file: TopicFile


@dataclass
class Reading:
    """All that reading a recording gave; with a `refusal` it could not be read at all."""

    folder: Path
    rejects: RejectsFile
    format: str = ""
    refusal: str | None = None
    found: Findings = field(default_factory=Findings)
    topics: dict[Channel, ReadTopic] = field(default_factory=dict)

    @property
    def messages(self) -> int:
        """Messages that were read, the rejected ones too."""
        return sum(topic.file.rows for topic in self.topics.values()) + self.rejects.rows

    @property
    def times_ns(self) -> list[int]:
        """First and last time of every topic that has rows."""
        return [
            time
            for topic in self.topics.values()
            for time in (topic.file.first_ns, topic.file.last_ns)
            if time is not None
        ]


def read(source: Source, folder: Path) -> Reading:
    """Read `source` into files below `folder`; what is damaged or undecodable is told in the result, never raised."""
    reading = Reading(folder, RejectsFile(folder / "rejects.parquet"))
    try:
        reading.format, reader = reader_of(source.path)
        for number, message in enumerate(reader(source.path, reading.found)):
            topic = reading.topics.get(message.channel) or _open(reading, message.channel, source)
            topic.file.add(message)
            if number % LOOK_EVERY == 0:
                _bound_memory(reading)
    except Invalid as error:
        reading.refusal = error.message
    for channel in reading.found.channels:
        if channel not in reading.topics:
            _open(reading, channel, source)
    for topic in reading.topics.values():
        topic.file.close()
    reading.rejects.close()
    return reading


def _open(reading: Reading, channel: Channel, source: Source) -> ReadTopic:
    known, reason = _decoder(channel, reading.found.distribution)
    metadata = {
        "topic": channel.topic,
        "type": channel.type,
        "definition_sha256": definition_sha256(channel),
        "definition": channel.definition,
        "bag_sha256": source.sha256,
        "robot": source.robot,
        "converter": CONVERTER,
    }
    file = TopicFile(reading.folder / f"{len(reading.topics)}.parquet", known, metadata, reading.rejects.add)
    reading.topics[channel] = ReadTopic(channel, known.origin if known else "", reason, file)
    return reading.topics[channel]


def _decoder(channel: Channel, distribution: str) -> tuple[Decoder | None, str | None]:
    """The decoder of a channel, or the reason why it has none; tried on no message, so that every column has a type."""
    try:
        known = decoder(channel, distribution or "humble")
        columns(known, [])
    except Undecodable as error:
        return None, error.message
    except PARSE_ERRORS as error:
        return None, f"The definition of {channel.type!r} is not usable: {type(error).__name__} {error}."
    return known, None


def _bound_memory(reading: Reading) -> None:
    files = [topic.file for topic in reading.topics.values()]
    if sum(file.waiting_bytes for file in files) > WAITING_MAX_BYTES:
        max(files, key=lambda file: file.waiting_bytes).write_waiting()
