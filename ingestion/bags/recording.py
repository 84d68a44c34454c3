"""A recording as its readers give it: channels, messages in file order, and an honest account of what was damaged."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ingestion.lake import Lost

LARGEST_CHUNK_BYTES = 512 << 20


@dataclass(frozen=True)
class Channel:
    """A topic with the definition its messages were recorded with."""

    topic: str
    type: str
    encoding: str  # how a message is laid out: cdr, ros1, or something we cannot decode
    definition_format: str  # ros1msg, ros2msg, ros2idl, or empty when the recording has none
    definition: str


class Message(NamedTuple):
    """One recorded message; times in nanoseconds since 1970. With a `doubt` its bytes cannot be trusted."""

    channel: Channel
    log_time: int
    publish_time: int | None
    content: bytes
    doubt: str | None = None


@dataclass
class Findings:
    """What a reader found besides messages; complete when its last message was read."""

    channels: list[Channel] = field(default_factory=list)
    repairs: list[str] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    distribution: str = ""

    def meet(self, channel: Channel) -> Channel:
        """Note a channel once."""
        if channel not in self.channels:
            self.channels.append(channel)
        return channel

    def lose(self, offset: int, size: int, reason: str) -> None:
        """Note unreadable bytes; a neighbour lost for the same reason grows."""
        last = self.lost[-1] if self.lost else None
        if last and last.reason == reason and last.offset + last.bytes == offset:
            self.lost[-1] = Lost(offset=last.offset, bytes=last.bytes + size, reason=reason)
        else:
            self.lost.append(Lost(offset=offset, bytes=size, reason=reason))

    def expect(self, announced: int | None, found: int, offset: int) -> None:
        """Note a loss when the recording itself announces more messages than could be found."""
        if announced is not None and announced > found:
            self.lose(offset, 0, f"the recording announces {announced} messages, {found} could be found")


Reader = Callable[[Path, Findings], Iterator[Message]]
