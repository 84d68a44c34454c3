"""Damaged and foreign files: what can be read is kept, what is lost is told, nothing raises and nothing is pretended."""

import os
import sqlite3
import struct
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.bags import convert
from ingestion.models import BagStatus

START_NS = 1_772_402_400_000_000_000
DATA_END = struct.pack("<BQI", 0x0F, 4, 0)
SUCCESS = {BagStatus.complete, BagStatus.repaired}
PATIENT = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def taken(tmp_path):
    """The manifest of a recording with these bytes."""

    def take(content: bytes, name: str = "damaged"):
        source = tmp_path / name
        source.write_bytes(content)
        return convert(source, tmp_path / "out")

    return take


@pytest.fixture
def cut_sources(points, ros1_bag, db3_bag):
    """A sound recording of a format, and how many messages it has."""
    made = {
        "mcap": (points(range(30)).content(announced=30), 30),
        "none": (ros1_bag("none").read_bytes(), 400),
        "bz2": (ros1_bag("bz2").read_bytes(), 400),
        "db3": (db3_bag.read_bytes(), 200),
    }
    return lambda form: made[form]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "The file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"PK\x03\x04rest", "zip archive"),
        (b"#ROSBAG V1.2\n", "bag format 1"),
        (b"\x1f\x8b\x08\x00", "gunzip"),
        (b"\x28\xb5\x2f\xfd\x00", "zstd"),
        (b"hello, I am a text", "begins with b'hello, I am a te'"),
        (b"\x89MCAP0\r\n", "ends after its first eight bytes"),
        (b"SQLite format 3\0" + bytes(84), "damaged or not a recording"),
    ],
)
def test_what_is_no_recording_is_refused_with_the_reason(taken, content, reason):
    manifest = taken(content)
    assert (manifest.status, manifest.messages, manifest.files) == (BagStatus.refused, 0, [])
    assert reason in str(manifest.reason)


@pytest.mark.parametrize("name", ["run.bag", "run.mcap", "run.db3", "run.zip"])
def test_a_pointer_of_git_lfs_is_refused_whatever_its_name(taken, name):
    manifest = taken(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n", name)
    assert (manifest.status, "Git LFS pointer" in str(manifest.reason)) == (BagStatus.refused, True)


@pytest.mark.parametrize(
    "garbage", ["\0" * 40, "ÿþ\x80" * 9, "float64", "=" * 80 + "\nMSG: \n", "[" * 5000, "float64 x y z\n" * 9]
)
def test_a_garbage_definition_costs_its_topic_only(points, taken, garbage):
    made = points(range(4))
    made.add(made.channel("/odd", "my_msgs/msg/Odd", garbage), START_NS, b"\0\1\0\0whatever")
    manifest = taken(made.content())
    rows = {topic.name: (topic.rows, topic.rejected, topic.reason is None) for topic in manifest.topics}
    assert (manifest.status, manifest.messages, rows["/point"]) == (BagStatus.partial, 5, (4, 0, True))


def test_a_database_that_is_no_recording_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "other.db3") as database:
        database.execute("CREATE TABLE people (name TEXT)")
    database.close()
    manifest = convert(tmp_path / "other.db3", tmp_path / "out")
    assert (manifest.status, "no tables `topics` and `messages`" in str(manifest.reason)) == (BagStatus.refused, True)


def test_an_encrypted_bag_is_refused(ros1_bag, taken):
    content = ros1_bag().read_bytes()
    header = struct.unpack_from("<I", content, 13)[0]
    secret = b"encryptor=aes"
    grown = struct.pack("<I", header + 4 + len(secret)) + content[17 : 17 + header]
    manifest = taken(content[:13] + grown + struct.pack("<I", len(secret)) + secret + content[17 + header :])
    assert (manifest.status, "encrypted by 'aes'" in str(manifest.reason)) == (BagStatus.refused, True)


def test_an_mcap_without_a_footer_is_repaired_and_has_every_message(points, taken):
    content = points(range(25)).content()
    manifest = taken(content[: content.index(DATA_END) + len(DATA_END)])
    assert (manifest.status, manifest.messages, manifest.lost) == (BagStatus.repaired, 25, [])
    assert manifest.repairs == ["the file has no footer"]


def test_an_mcap_without_an_end_of_its_data_has_every_message_and_is_not_called_whole(points, taken):
    manifest = taken(points(range(25)).content(footer=False))
    (lost,) = manifest.lost
    assert (manifest.status, manifest.messages) == (BagStatus.partial, 25)
    assert lost.reason == "the file does not say where its data end: whether more was recorded cannot be told"


def test_statistics_that_announce_the_messages_stand_for_an_end_of_the_data(points, taken):
    manifest = taken(points(range(25)).content(footer=False, announced=25))
    assert (manifest.status, manifest.messages, manifest.lost) == (BagStatus.repaired, 25, [])


def test_a_cut_mcap_keeps_every_whole_chunk_and_tells_the_lost_bytes(points, taken):
    content = points(range(30)).content(footer=False)
    manifest = taken(content[:-1])
    (lost,) = manifest.lost
    assert (manifest.status, manifest.messages) == (BagStatus.partial, 20)
    assert lost.offset + lost.bytes == len(content) - 1


def test_a_tail_of_zeros_is_told_as_lost(points, taken):
    manifest = taken(points(range(10)).content(footer=False) + bytes(4096))
    assert (manifest.status, manifest.messages, manifest.lost[0].bytes) == (BagStatus.partial, 10, 4096)


def test_a_chunk_whose_checksum_does_not_match_is_kept_raw_among_the_rejects(points, taken, tmp_path):
    manifest = taken(points(range(10)).content(checksum=lambda _: 12345))
    assert (manifest.status, manifest.messages, manifest.rejected) == (BagStatus.partial, 10, 10)
    rejects = pq.ParquetFile(tmp_path / "out" / manifest.rejects.path).read()
    assert rejects["topic"].to_pylist() == ["/point"] * 10
    assert "checksum" in rejects["reason"][0].as_py()
    assert len(rejects["raw"][0].as_py()) == 28


def test_the_summary_describes_a_topic_whose_description_lies_in_a_damaged_chunk(points, taken, tmp_path):
    made = points(range(30))
    made.has_index = made.is_described_in_chunks = True
    content = bytearray(made.content(compression="", announced=30))
    content[content.index(b"float64 y") + 8] ^= 1  # now it would be called x too, or something else
    manifest = taken(content)
    (topic,) = manifest.topics
    assert (manifest.status, topic.rows, topic.rejected) == (BagStatus.partial, 20, 10)
    columns = pq.ParquetFile(tmp_path / "out" / topic.files[0].path).schema_arrow.names
    assert columns == ["log_time", "publish_time", "x", "y", "z"]


def test_rejects_of_many_chunks_and_topics_keep_their_order_and_words(points, taken, tmp_path, monkeypatch):
    monkeypatch.setattr("ingestion.bags.rejects.WAITING_MAX_BYTES", 12_000)
    made = points(range(9))
    other = made.channel("/other", "std_msgs/msg/String", "string data\n")
    for n in range(9):
        made.messages.insert(2 * n, (other, START_NS + n, bytes([n])))
    made.add(other, 2**64 - 1, b"late")
    manifest = taken(made.content(per_chunk=1, checksum=lambda _: 12345))
    rows = pq.ParquetFile(tmp_path / "out" / manifest.rejects.path).read().to_pylist()
    assert [row["topic"] for row in rows] == ["/other", "/point"] * 9 + ["/other"]
    assert [row["type"] for row in rows[:2]] == ["std_msgs/msg/String", "geometry_msgs/msg/Point"]
    assert [row["raw"] for row in rows[::2]] == [*(bytes([n]) for n in range(9)), b"late"]
    assert len({row["definition_sha256"] for row in rows}) == 2
    assert len({row["reason"] for row in rows}) == 19  # each names its chunk
    assert (rows[1]["log_time"].value, rows[18]["log_time"]) == (START_NS, None)


def test_a_chunk_without_a_checksum_is_taken(points, taken):
    assert taken(points(range(10)).content(checksum=lambda _: 0)).status is BagStatus.complete


def test_a_chunk_that_cannot_be_unpacked_costs_only_itself(points, taken):
    content = bytearray(points(range(30)).content(compression="zstd"))
    second = content.index(b"\x28\xb5\x2f\xfd", content.index(b"\x28\xb5\x2f\xfd") + 4)
    content[second] ^= 0xFF
    manifest = taken(bytes(content))
    assert (manifest.status, manifest.messages, len(manifest.lost)) == (BagStatus.partial, 20, 1)


def test_a_chunk_that_claims_an_absurd_size_is_not_trusted(points, taken):
    content = points(range(10)).content(compression="zstd")
    at = content.index(struct.pack("<I4s", 4, b"zstd")) - 12
    manifest = taken(content[:at] + struct.pack("<Q", 2**60) + content[at + 8 :])
    assert (manifest.status, manifest.messages, manifest.rejected) == (BagStatus.partial, 10, 10)
    assert "claims 1152921504606846976 bytes" in manifest.lost[0].reason


def test_a_record_that_claims_2_to_the_60_bytes_ends_the_file_there(points, taken):
    content = points(range(10)).content(footer=False) + struct.pack("<BQ", 5, 2**60) + b"rest"
    manifest = taken(content)
    assert (manifest.status, manifest.messages, manifest.lost[0].bytes) == (BagStatus.partial, 10, 13)


def test_statistics_that_announce_more_messages_than_are_there_are_told(points, taken):
    manifest = taken(points(range(10)).content(announced=12))
    assert (manifest.status, manifest.messages) == (BagStatus.partial, 10)
    assert manifest.lost[0].reason == "the recording announces 12 messages, 10 could be found"


def test_a_message_of_an_undescribed_channel_is_lost_and_told(points, taken):
    made = points(range(3))
    made.add(99, START_NS, b"??")
    manifest = taken(made.content())
    assert (manifest.status, manifest.messages) == (BagStatus.partial, 3)
    assert "channel 99" in manifest.lost[0].reason


def test_one_short_message_costs_one_row(points, taken, tmp_path, point):
    made = points(range(5))
    made.add(1, START_NS + 7, point(1.0)[:-9])
    manifest = taken(made.content())
    (topic,) = manifest.topics
    assert (manifest.status, manifest.messages, topic.rows, topic.rejected) == (BagStatus.partial, 6, 5, 1)
    rejects = pq.ParquetFile(tmp_path / "out" / manifest.rejects.path).read()
    assert (rejects["raw"][0].as_py(), rejects["log_time"][0].value) == (point(1.0)[:-9], START_NS + 7)


def test_a_list_that_lies_about_its_length_costs_one_row(mcap, taken):
    channel = mcap.channel("/scan", "my/msg/Scan", "float32[] ranges\n")
    for length in (2, 2**31):
        mcap.add(channel, START_NS, b"\x00\x01\x00\x00" + struct.pack("<Iff", length, 1.0, 2.0))
    (topic,) = taken(mcap.content()).topics
    assert (topic.rows, topic.rejected) == (1, 1)


def test_a_text_that_is_not_utf_8_costs_one_row(mcap, taken):
    channel = mcap.channel("/said", "std_msgs/msg/String", "string data\n")
    for text in (b"ok\0", b"\xff\xfe\0"):
        mcap.add(channel, START_NS, b"\x00\x01\x00\x00" + struct.pack("<I", 3) + text)
    (topic,) = taken(mcap.content()).topics
    assert (topic.rows, topic.rejected) == (1, 1)


def test_a_time_beyond_2262_costs_one_row(points, taken, point):
    made = points(range(2))
    made.add(1, 2**64 - 1, point(0.0))
    manifest = taken(made.content())
    assert (manifest.rejected, manifest.topics[0].rows) == (1, 2)


@pytest.mark.parametrize(
    ("encoding", "form", "definition", "reason"),
    [
        ("json", "jsonschema", "{}", "laid out as 'json'"),
        ("cdr", "protobuf", "xx", "written in 'protobuf'"),
        ("cdr", "ros2msg", "float64 x\nother_msgs/Missing y\n", "not usable"),
        ("cdr", "ros2msg", "!!! no definition !!!", "cannot be parsed"),
        ("cdr", "", "", "no definition of 'my_msgs/msg/Odd'"),
    ],
)
def test_a_topic_that_cannot_be_decoded_is_kept_raw_while_the_rest_converts(
    points, taken, tmp_path, encoding, form, definition, reason
):
    made = points(range(4))
    odd = made.channel("/odd", "my_msgs/msg/Odd", definition, encoding=encoding, form=form)
    made.add(odd, START_NS, b"whatever")
    manifest = taken(made.content())
    topics = {topic.name: topic for topic in manifest.topics}
    assert manifest.status is BagStatus.partial
    assert (topics["/point"].rows, topics["/odd"].rows) == (4, 1)
    assert reason in str(topics["/odd"].reason)
    raw = pq.ParquetFile(tmp_path / "out" / topics["/odd"].files[0].path).read()
    assert raw["raw"].to_pylist() == [b"whatever"]


def test_an_unindexed_ros_1_bag_is_repaired_and_has_every_message(ros1_bag, taken):
    content = bytearray(ros1_bag().read_bytes())
    at = content.index(b"index_pos=") + len(b"index_pos=")
    (index,) = struct.unpack_from("<Q", content, at)
    content[at : at + 8] = bytes(8)
    manifest = taken(bytes(content[:index]))
    assert (manifest.status, manifest.messages) == (BagStatus.repaired, 400)


def test_a_ros_1_chunk_that_is_damaged_is_told(ros1_bag, taken):
    content = bytearray(ros1_bag("bz2").read_bytes())
    content[content.index(b"BZh") + 200] ^= 0xFF
    manifest = taken(bytes(content))
    assert manifest.status in {BagStatus.partial, BagStatus.refused}
    assert "a chunk cannot be unpacked" in manifest.lost[0].reason


def test_a_cut_db3_gives_what_lies_before_the_cut(db3_bag, taken):
    content = db3_bag.read_bytes()
    manifest = taken(content[: len(content) * 2 // 3])
    assert manifest.status is BagStatus.partial
    assert 0 < manifest.messages < 200
    assert manifest.lost[0].reason == "the file was cut"


@pytest.mark.parametrize("compression", ["zstd", None])
def test_an_mcap_cut_between_two_records_is_never_called_whole(points, taken, compression):
    content = points(range(4)).content(compression=compression, per_chunk=2)
    at = 8
    while not content[at:].startswith(DATA_END):
        at += 9 + struct.unpack_from("<Q", content, at + 1)[0]
        assert taken(content[:at], f"{at}").status not in SUCCESS


@PATIENT
@given(share=st.floats(0, 1), form=st.sampled_from(["mcap", "none", "bz2", "db3"]))
def test_a_recording_cut_anywhere_never_raises_and_never_calls_a_loss_complete(
    share, form, tmp_path_factory, cut_sources
):
    content, messages = cut_sources(form)
    folder = tmp_path_factory.mktemp("cut")
    source = folder / "cut"
    source.write_bytes(content[: int(share * len(content))])
    manifest = convert(source, folder / "out")
    assert manifest.messages <= messages
    assert manifest.status not in SUCCESS or manifest.messages == messages


@PATIENT
@given(place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255), form=st.sampled_from(["mcap", "bz2", "db3"]))
def test_a_flipped_byte_never_raises(place, bits, form, tmp_path_factory, cut_sources):
    content, _ = cut_sources(form)
    damaged = bytearray(content)
    damaged[int(place * len(content))] ^= bits
    folder = tmp_path_factory.mktemp("flip")
    (folder / "flipped").write_bytes(damaged)
    manifest = convert(folder / "flipped", folder / "out")
    assert manifest.messages == sum(topic.rows for topic in manifest.topics) + manifest.rejected


def test_the_temporary_files_of_a_conversion_are_gone_afterwards(points, taken, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    taken(points(range(5)).content())
    assert os.listdir(tmp_path / "tmp") == []
    assert Path(tmp_path / "out/manifests").exists()


def test_a_damaged_description_of_one_topic_costs_only_that_topic(db3_bag, taken):
    with sqlite3.connect(db3_bag) as database:
        columns = "name, type, serialization_format, offered_qos_profiles, type_description_hash"
        database.execute(f"INSERT INTO topics (id, {columns}) VALUES (2, x'ff', 'a/msg/B', 'cdr', '', '')")
        database.execute("INSERT INTO messages (topic_id, timestamp, data) VALUES (2, 5, x'00')")
    database.close()
    manifest = taken(db3_bag.read_bytes())
    assert (manifest.status, manifest.messages) == (BagStatus.partial, 200)
    assert manifest.lost[0].reason == "the description of topic 2 is damaged"


def test_a_time_before_1970_costs_one_row(db3_bag, taken):
    with sqlite3.connect(db3_bag) as database:
        database.execute("UPDATE messages SET timestamp = -1 WHERE id = 7")
    database.close()
    manifest = taken(db3_bag.read_bytes())
    assert (manifest.messages, manifest.rejected) == (200, 1)
