"""What MCAP may say of its messages: definitions in IDL, none at all, other layouts, a profile that is not so."""

import struct

import pyarrow.parquet as pq
import pytest

from ingestion.bags import convert
from ingestion.bags.verification import verify
from ingestion.statuses import BagStatus

START_NS = 1_772_402_400_000_000_000
SEPARATOR = "=" * 80 + "\n"
LITTLE = b"\0\1\0\0"
IDL = (
    f"{SEPARATOR}IDL: my/msg/Reading\nmodule my {{ module msg {{ struct Reading {{\n"
    "  my::msg::Stamp stamp;\n  double value;\n  sequence<int16> counts;\n  string said;\n  float both[2];\n}; }; };\n"
    f"{SEPARATOR}IDL: my/msg/Stamp\nmodule my {{ module msg {{ struct Stamp {{ int32 sec; uint32 nanosec; }}; }}; }};\n"
)
COMMENTS = '// sequence<sequence<long>> with @optional\n\n#include "my/msg/Stamp.idl"\n#include "other.idl"\n'
READING = LITTLE + struct.pack("<iIdI2hI3sxff", 5, 6, 1.5, 2, -3, 4, 3, b"hi\0", 0.5, -0.5)
LAYOUTS = {
    "PL_CDR_BE": b"\0\2\0\0",
    "PL_CDR_LE": b"\0\3\0\0",
    "CDR2_LE": b"\0\7\0\0",
    "D_CDR2_LE": b"\0\x09\0\0",
    "PL_CDR2_LE": b"\0\x0b\0\0",
}


@pytest.fixture
def converted(tmp_path):
    """The manifest of a recording with these bytes, and the rows of each of its topics."""

    def take(content, *, is_for_rosbags=True):
        source = tmp_path / "recording.mcap"
        source.write_bytes(content)
        manifest = convert(source, tmp_path)
        files = {topic.name: tmp_path / topic.files[0].path for topic in manifest.topics if topic.files}
        assert not is_for_rosbags or verify(source, tmp_path) == []
        return manifest, {name: pq.read_table(path, partitioning=None).to_pylist() for name, path in files.items()}

    return take


@pytest.mark.parametrize("form", ["ros2idl", "omgidl"])
@pytest.mark.parametrize(
    "text",
    [
        IDL,
        IDL.replace("\n  ", '\n  @verbatim (language="comment", text="[m]")\n  ', 1),
        IDL.replace("\nmodule", f"\n{COMMENTS}\nmodule"),
        IDL.replace("\nmodule", f"\n#ifndef ONCE\n  #define ONCE\n{COMMENTS}\nmodule").replace("\n", "\r\n"),
        IDL.replace("=" * 80, "=" * 40),
        IDL.replace(
            "float both[2]", '@range (min=0.0, max=1.0) @verbatim (language="((", text="(((") float both[(1+1)]'
        ),
        IDL.replace("struct Stamp", "struct Other { sequence<string<9>> names; }; struct Stamp"),
    ],
)
def test_definitions_in_idl_convert_and_compare(mcap, converted, form, text):
    for n in range(3):
        mcap.messages = [*mcap.messages, (1, START_NS + n, READING)]
    mcap.channel("/reading", "my/msg/Reading", text, form=form)
    manifest, rows = converted(mcap.content())
    assert (manifest.status, len(rows["/reading"])) == (BagStatus.complete, 3)
    del rows["/reading"][0]["log_time"], rows["/reading"][0]["publish_time"]
    assert rows["/reading"][0] == {
        "stamp.sec": 5,
        "stamp.nanosec": 6,
        "value": 1.5,
        "counts": [-3, 4],
        "said": "hi",
        "both": [0.5, -0.5],
    }


@pytest.mark.parametrize(
    "text",
    [
        IDL.replace("double", "wchar"),
        IDL.split(SEPARATOR + "IDL: my/msg/Stamp")[0],
        "module {",
        IDL.replace("sequence<int16> counts", "sequence< sequence<int16> > counts"),
        IDL.replace("sequence<int16> counts", "sequence<string<3>, 5> counts [2]"),
        IDL.replace("double value", "@optional double value"),
    ],
)
def test_definitions_in_idl_that_are_of_no_use_keep_their_topic_raw(points, converted, text):
    made = points(range(3))
    made.add(made.channel("/reading", "my/msg/Reading", text, form="ros2idl"), START_NS, READING)
    manifest, rows = converted(made.content())
    assert (manifest.status, len(rows["/point"]), rows["/reading"][0]["raw"]) == (BagStatus.partial, 3, READING)
    assert {topic.name: bool(topic.reason) for topic in manifest.topics} == {"/point": False, "/reading": True}


@pytest.mark.parametrize("size", ["((((2))))", f"{'(1)*' * 400}2"])
def test_a_definition_that_would_be_parsed_for_hours_keeps_its_topic_raw(points, converted, size):
    made = points(range(3))
    text = IDL.replace("float both[2]", f"float both[{size}]")
    made.add(made.channel("/reading", "my/msg/Reading", text, form="ros2idl"), START_NS, READING)
    manifest, rows = converted(made.content())
    assert (manifest.status, len(rows["/point"]), rows["/reading"][0]["raw"]) == (BagStatus.partial, 3, READING)
    assert any("in brackets within brackets" in str(topic.reason) for topic in manifest.topics)


@pytest.mark.parametrize("encoding", ["cdr", "json", "ros1", "protobuf", ""])
def test_a_channel_without_a_schema_is_kept_raw_with_the_reason(points, converted, encoding):
    made = points(range(3))
    number = made.channel("/bare", "", "", encoding=encoding, form="")
    del made.schemas[number]
    made.channels[number] = (0, "/bare", encoding)
    made.add(number, START_NS, b'{"x": 1}')
    manifest, rows = converted(made.content())
    (bare,) = (topic for topic in manifest.topics if topic.name == "/bare")
    assert (manifest.status, manifest.messages, rows["/bare"][0]["raw"]) == (BagStatus.partial, 4, b'{"x": 1}')
    assert bare.reason


@pytest.mark.parametrize("layout", LAYOUTS)
def test_messages_in_another_cdr_cost_their_rows_and_say_so(points, converted, point, layout, tmp_path):
    made = points(range(3))
    other = LAYOUTS[layout] + point(7.0)[4:]
    made.add(1, START_NS + 9, other)
    made.add(made.channel("/other", "geometry_msgs/msg/Point", "float64 x\n"), START_NS, other)
    manifest, rows = converted(made.content())
    assert (manifest.status, manifest.messages, manifest.rejected) == (BagStatus.partial, 5, 2)
    assert [row["x"] for row in rows["/point"]] == [0.0, 1.0, 2.0]
    rejects = pq.read_table(tmp_path / manifest.rejects.path)
    assert rejects["raw"].to_pylist() == [other] * 2
    assert all("encapsulation" in reason for reason in rejects["reason"].to_pylist())


@pytest.mark.parametrize("profile", [b"ros1", b"none", b"\xff\xfe\0\1"])
def test_the_profile_does_not_decide_how_messages_are_read(points, converted, profile):
    content = points(range(12)).content()
    assert content.count(b"\4\0\0\0ros2\4\0\0\0test") == 1
    changed = content.replace(b"\4\0\0\0ros2\4\0\0\0test", b"\4\0\0\0" + profile + b"\4\0\0\0test")
    manifest, rows = converted(changed)
    assert (manifest.status, [row["x"] for row in rows["/point"]]) == (
        BagStatus.complete,
        [float(n) for n in range(12)],
    )


@pytest.mark.parametrize("announced", [12, None])
@pytest.mark.parametrize("left_out", [frozenset({3, 4}), frozenset({8}), frozenset({3, 4, 8})])
def test_a_summary_may_lack_statistics_descriptions_or_the_index(points, converted, announced, left_out):
    made = points(range(12))
    made.has_index = True
    content = made.content(announced=announced)
    end = content.index(struct.pack("<BQI", 15, 4, 0)) + 13
    kept, at = b"", end
    while content[at] != 2:
        size = 9 + struct.unpack_from("<Q", content, at + 1)[0]
        kept += b"" if content[at] in left_out else content[at : at + size]
        at += size
    begin = end if kept else 0
    footer = struct.pack("<BQQQI", 2, 20, begin, 0, 0) + content[-8:]
    # A chunk index without the places of messages is enough for us, not for rosbags.
    manifest, rows = converted(content[:end] + kept + footer, is_for_rosbags=8 in left_out)
    assert (manifest.status, len(rows["/point"])) == (BagStatus.complete, 12)


def test_a_protobuf_channel_is_kept_raw_and_the_rest_converts(points, converted):
    made = points(range(3))
    number = made.channel("/blob", "foxglove.Log", "\n\x03abc", encoding="protobuf", form="protobuf")
    made.add(number, START_NS, b"\x08\x96\x01")
    manifest, rows = converted(made.content())
    assert (manifest.status, rows["/blob"][0]["raw"], len(rows["/point"])) == (BagStatus.partial, b"\x08\x96\x01", 3)


@pytest.mark.parametrize(("encoding", "form"), [("ros1", "ros1msg"), ("ros1", "ros2msg"), ("cdr", "ros1msg")])
def test_definitions_of_either_ros_serve_either_layout(mcap, converted, encoding, form):
    body = struct.pack("<Bd", 7, 1.5) if encoding == "ros1" else LITTLE + struct.pack("<B7xd", 7, 1.5)
    mcap.add(mcap.channel("/t", "my/msg/T", "uint8 a\nfloat64 b\n", encoding=encoding, form=form), START_NS, body)
    manifest, rows = converted(mcap.content())
    assert (manifest.status, rows["/t"][0]["a"], rows["/t"][0]["b"]) == (BagStatus.complete, 7, 1.5)
