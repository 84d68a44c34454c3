"""Which reader reads a file: told by its first bytes, never by its name."""

from collections.abc import Iterator
from pathlib import Path

from fleet.errors import Invalid
from ingestion.bags import mcap
from ingestion.bags.recording import Batch, Findings, Reader


# To import the readers of the others takes a hundredth of the time in which a short recording in MCAP is converted.
def _bag_batches(path: Path, found: Findings) -> Iterator[Batch]:
    from ingestion.bags import ros1  # noqa: PLC0415  see above

    return ros1.batches(path, found)


def _db3_batches(path: Path, found: Findings) -> Iterator[Batch]:
    from ingestion.bags import sqlite  # noqa: PLC0415  see above

    return sqlite.batches(path, found)


READERS: dict[bytes, tuple[str, Reader]] = {
    mcap.MAGIC: ("mcap", mcap.batches),
    b"#ROSBAG V2.0\n": ("bag", _bag_batches),
    b"SQLite format 3\0": ("db3", _db3_batches),
}
ZIP = b"PK\x03\x04"
ZSTD = b"\x28\xb5\x2f\xfd"
LONGEST_MAGIC = 32
NOT_A_RECORDING = {
    b"version https://git-lfs": "it is a Git LFS pointer, not the recording: fetch the file itself (git lfs pull)",
    b"#ROSBAG V1": "it is of ROS bag format 1: convert it with `rosbag fix` first",
    b"#ROSBAG V": "it is of a ROS bag format that nobody has described; known is 2.0",
    b"\x89MCAP": "it is MCAP of another version than 0, the only one there is",
    b"PK\x05\x06": "it is an empty zip archive",
    ZIP: "it is a zip archive inside of another container: unpack it first",
    ZSTD: "it is compressed twice: decompress it with zstd first",
    b"\x1f\x8b": "it is compressed as a whole: decompress it with gunzip first",
    b"BZh": "it is compressed as a whole: decompress it with bunzip2 first",
    b"\xfd7zXZ": "it is compressed as a whole: decompress it with unxz first",
}


def head_of(path: Path) -> bytes:
    """The first bytes of a file."""
    with path.open("rb") as file:
        return file.read(LONGEST_MAGIC)


def reader_of_file(path: Path) -> tuple[str, Reader]:
    """The format of a recording that is one file, and its reader.

    Raises:
        Invalid: it is no recording that we know; says what it looks like.
    """
    head = head_of(path)
    if not head:
        raise Invalid("The file is empty.")
    for magic, found in READERS.items():
        if head.startswith(magic):
            return found
    for magic, told in NOT_A_RECORDING.items():
        if head.startswith(magic):
            raise Invalid(f"This is no recording: {told}.")
    for magic, (name, _) in READERS.items():
        if magic.startswith(head):
            raise Invalid(f"The file ends after {len(head)} bytes, within the first word of a {name} recording.")
    raise Invalid(f"This is no recording we know (.bag, .db3 or .mcap): it begins with {head[:16]!r}.")
