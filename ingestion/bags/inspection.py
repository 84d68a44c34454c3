"""What is in a recording, told without converting it: its bytes are read once, no message is decoded, nothing is kept."""

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from fleet.errors import Invalid
from fleet.timepieces import Clock, SystemClock
from ingestion.bags.reading import program_of
from ingestion.bags.recording import Batch, Channel, Findings
from ingestion.bags.rejects import LAST_TIME_NS
from ingestion.bags.sources import reader_of, require_recording
from ingestion.lake import Lost
from ingestion.statuses import BagStatus

WITHIN_S = 60.0


class InspectedTopic(BaseModel):
    """A topic of a recording; with a `reason` its messages would be kept raw."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: str
    messages: int
    doubtful: int = Field(0, description="Messages whose checksum is wrong: they would be rejected.")
    bytes: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    rate_hz: float | None = Field(None, description="Messages in the mean from the first to the last.")
    definition: str = Field("", description="Where it comes from: recorded, or assumed from a distribution.")
    reason: str | None = None


class Inspection(BaseModel):
    """What is in a recording. `status` is what a conversion can be at best; nothing of it is exact unless `is_whole`."""

    model_config = ConfigDict(frozen=True)

    filename: str
    format: str = ""
    size: int
    status: BagStatus
    is_whole: bool = Field(True, description="False: the time was over before its end; counts are of what was seen.")
    reason: str | None = Field(None, description="Why nothing in it can be read.")
    messages: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    duration_s: float | None = None
    topics: list[InspectedTopic] = Field(default_factory=list)
    repairs: list[str] = Field(default_factory=list)
    lost: list[Lost] = Field(default_factory=list)


@dataclass
class _Seen:
    messages: int = 0
    doubtful: int = 0
    bytes: int = 0
    first_ns: int | None = None
    last_ns: int | None = None

    def add(self, batch: Batch) -> None:
        self.messages += len(batch.starts)
        self.doubtful += len(batch.starts) if batch.doubt else 0
        self.bytes += int(batch.lengths.sum())
        times = batch.log_time[batch.log_time <= LAST_TIME_NS]
        if batch.doubt is None and len(times):
            first, last = int(times.min()), int(times.max())
            self.first_ns = first if self.first_ns is None else min(self.first_ns, first)
            self.last_ns = last if self.last_ns is None else max(self.last_ns, last)


@dataclass
class _Look:
    """One reading of a recording's bytes."""

    found: Findings = field(default_factory=Findings)
    seen: dict[Channel, _Seen] = field(default_factory=dict)
    format: str = ""
    refusal: str | None = None
    is_whole: bool = True


def inspect(source: Path, *, within_s: float = WITHIN_S, clock: Clock | None = None) -> Inspection:
    """What is in the recording `source`; looks no longer than `within_s` and holds one chunk of it at a time.

    Raises:
        Invalid: `source` is neither a file nor a folder.
    """
    require_recording(source)
    look = _look(source, within_s, clock or SystemClock())
    topics = [_topic(channel, seen, look.found) for channel, seen in look.seen.items()]
    first, last = _span(topics)
    return Inspection(
        filename=source.name,
        format=look.format,
        size=_size(source),
        status=_status(look, topics),
        is_whole=look.is_whole,
        reason=look.refusal,
        messages=sum(topic.messages for topic in topics),
        first_ns=first,
        last_ns=last,
        duration_s=None if first is None or last is None else (last - first) / 1e9,
        topics=sorted(topics, key=lambda topic: topic.name),
        repairs=look.found.repairs,
        lost=look.found.lost,
    )


def _look(source: Path, within_s: float, clock: Clock) -> _Look:
    look, end = _Look(), clock.monotonic() + within_s
    try:
        look.format, batches = reader_of(source)
        for batch in batches(source, look.found):
            look.seen.setdefault(batch.channel, _Seen()).add(batch)
            if clock.monotonic() > end:
                look.is_whole = False
                break
    except Invalid as error:
        look.refusal = error.message
    for channel in look.found.channels:
        look.seen.setdefault(channel, _Seen())
    if not look.refusal and look.found.lost and not any(seen.messages for seen in look.seen.values()):
        look.refusal = f"Nothing in it can be read: {look.found.lost[0].reason}."
    return look


def _topic(channel: Channel, seen: _Seen, found: Findings) -> InspectedTopic:
    _, known, reason = program_of(channel, found)
    first, last = seen.first_ns, seen.last_ns
    spans = seen.messages - seen.doubtful - 1
    return InspectedTopic(
        name=channel.topic,
        type=channel.type,
        messages=seen.messages,
        doubtful=seen.doubtful,
        bytes=seen.bytes,
        first_ns=first,
        last_ns=last,
        rate_hz=spans * 1e9 / (last - first) if first is not None and last is not None and last > first else None,
        definition=known.origin if known else "",
        reason=reason,
    )


def _span(topics: list[InspectedTopic]) -> tuple[int | None, int | None]:
    firsts = [topic.first_ns for topic in topics if topic.first_ns is not None]
    lasts = [topic.last_ns for topic in topics if topic.last_ns is not None]
    return min(firsts, default=None), max(lasts, default=None)


def _size(source: Path) -> int:
    if source.is_dir():
        return sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    return source.stat().st_size


def _status(look: _Look, topics: list[InspectedTopic]) -> BagStatus:
    if look.refusal:
        return BagStatus.refused
    if look.found.lost or any(topic.doubtful or (topic.reason and topic.messages) for topic in topics):
        return BagStatus.partial
    return BagStatus.repaired if look.found.repairs else BagStatus.complete
