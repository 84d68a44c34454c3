"""Records that are not what they were: a damaged kind never hides messages, and the checksum of a whole file counts."""

import struct
import zlib

import pytest

from ingestion.bags import convert
from ingestion.statuses import BagStatus

SUCCESS = {BagStatus.complete, BagStatus.repaired}
DATA_END = struct.pack("<BQ", 15, 4)
PRIVATE = struct.pack("<BQ", 0x9C, 5) + b"ours!"


@pytest.fixture
def taken(tmp_path):
    """The manifest of a recording with these bytes."""

    def take(content):
        (tmp_path / "recording").write_bytes(content)
        return convert(tmp_path / "recording", tmp_path / "out")

    return take


@pytest.fixture
def proved():
    """The same file with the checksum of all its data."""

    def prove(content):
        begin, end = content.split(DATA_END)
        return begin + DATA_END + struct.pack("<I", zlib.crc32(begin)) + end[4:]

    return prove


def flipped(content, at, bit):
    return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]


@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize("has_index", [False, True])
@pytest.mark.parametrize("where", ["chunk", "message in a chunk", "message"])
def test_a_bit_of_the_kind_of_a_record_never_hides_messages(points, taken, bit, has_index, where):
    made = points(range(30))
    made.has_index = has_index
    content = made.content(compression=None if where == "message" else "", checksum=lambda _: 0)
    head = struct.pack("<BQ", 6, 40 + 10 * 59) if where == "chunk" else struct.pack("<BQ", 5, 50)
    manifest = taken(flipped(content, content.index(head), bit))
    assert manifest.messages >= 20
    assert manifest.status not in SUCCESS


@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize("where", [b"op=\x05", b"op=\x02"])
def test_a_bit_of_the_kind_of_a_record_of_ros_1_never_hides_messages(ros1_bag, taken, bit, where):
    content = ros1_bag().read_bytes()
    at = content.index(b"index_pos=") + len(b"index_pos=")
    (index_at,) = struct.unpack_from("<Q", content, at)
    unindexed = content[:at] + bytes(8) + content[at + 8 : index_at]
    manifest = taken(flipped(unindexed, unindexed.index(where) + 3, bit))
    assert manifest.status not in SUCCESS


@pytest.mark.parametrize(("announced", "status"), [(30, BagStatus.repaired), (None, BagStatus.partial)])
def test_a_record_of_a_writers_own_is_no_loss_where_all_messages_are_there(points, taken, announced, status):
    content = points(range(30)).content(announced=announced)
    begin, end = content.split(DATA_END)
    manifest = taken(begin + PRIVATE + DATA_END + end)
    assert (manifest.status, manifest.messages) == (status, 30)
    told = manifest.repairs if announced else [lost.reason for lost in manifest.lost]
    assert told == ["a record of kind 156, unknown or out of place, was passed over"]


@pytest.mark.parametrize("compression", [None, "", "zstd"])
def test_the_checksum_of_a_file_shows_a_damage_that_nothing_else_does(points, taken, proved, compression):
    content = proved(points(range(30)).content(compression=compression, checksum=lambda _: 0, announced=30))
    assert taken(content).status is BagStatus.complete
    name = content.index(b"float64 y")
    manifest = taken(content[:name] + b"float64 v" + content[name + 9 :])
    assert (manifest.status, manifest.messages) == (BagStatus.partial, 30)
    assert "checksum of the file" in manifest.lost[0].reason


def test_what_every_chunk_proves_is_not_lost_when_the_checksum_of_the_file_is_wrong(points, taken, proved):
    content = proved(points(range(30)).content(announced=30)).replace(b"ros2\4\0\0\0test", b"ros2\4\0\0\0tent")
    manifest = taken(content)
    assert (manifest.status, manifest.messages) == (BagStatus.repaired, 30)
