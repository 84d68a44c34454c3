"""Which reader reads a file: told by its first bytes, never by its name."""

from pathlib import Path

from fleet.errors import Invalid
from ingestion.bags import mcap, ros1, sqlite
from ingestion.bags.recording import Reader

READERS: dict[bytes, tuple[str, Reader]] = {
    mcap.MAGIC: ("mcap", mcap.messages),
    ros1.MAGIC: ("bag", ros1.messages),
    sqlite.MAGIC: ("db3", sqlite.messages),
}
NOT_A_RECORDING = {
    b"version https://git-lfs": "it is a Git LFS pointer, not the recording: fetch the file itself (git lfs pull)",
    b"PK\x03\x04": "it is a zip archive: unpack it and upload the recordings in it",
    b"#ROSBAG V1": "it is of ROS bag format 1: convert it with `rosbag fix` first",
    b"\x28\xb5\x2f\xfd": "it is compressed as a whole: decompress it with zstd first",
    b"\x1f\x8b": "it is compressed as a whole: decompress it with gunzip first",
}


def reader_of(path: Path) -> tuple[str, Reader]:
    """The format of a recording and its reader.

    Raises:
        Invalid: it is no recording that we know; says what it looks like.
    """
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise Invalid("The file is empty.")
    for magic, found in READERS.items():
        if head.startswith(magic):
            return found
    for magic, told in NOT_A_RECORDING.items():
        if head.startswith(magic):
            raise Invalid(f"This is no recording: {told}.")
    raise Invalid(f"This is no recording we know (.bag, .db3 or .mcap): it begins with {head[:16]!r}.")
