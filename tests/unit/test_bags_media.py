"""Pictures and clouds of a topic as files: read back by Pillow and by a small PCD parser, pixel by pixel and point by point."""

import hashlib
import io
import struct

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image as Pillow

from ingestion.bags.media import MediaFiles, kind_of
from ingestion.bags.pcd import Cloud, Field, Unwritable, pcd
from ingestion.bags.pictures import AS_RECORDED, ENCODINGS, Image, compressed, raw
from ingestion.bags.png import BLOCK_BYTES, png

RANDOM = np.random.default_rng(5)


@pytest.fixture
def opened():
    """The pixels of a PNG in pieces, as Pillow reads them, of shape (height, width, channels)."""

    def read(pieces):
        picture = Pillow.open(io.BytesIO(b"".join(pieces)))
        pixels = np.asarray(picture)
        return pixels.reshape(picture.height, picture.width, -1)

    return read


@pytest.fixture
def parsed():
    """A PCD file parsed by what its header says: the header's lines, and the points as an array with names."""

    def parse(pieces):
        content = b"".join(pieces)
        end = content.index(b"DATA binary\n") + len(b"DATA binary\n")
        lines = [line.split(" ") for line in content[:end].decode().splitlines() if not line.startswith("#")]
        head = {name: values for name, *values in lines}
        columns = zip(head["FIELDS"], head["TYPE"], head["SIZE"], head["COUNT"], strict=True)
        letters = {"F": "f", "I": "i", "U": "u"}
        dtype = [
            (name if name != "_" else f"_{n}", f"<{letters[kind]}{size}", (int(count),) if count != "1" else ())
            for n, (name, kind, size, count) in enumerate(columns)
        ]
        points = np.frombuffer(content[end:], dtype)
        assert len(points) == int(head["POINTS"][0]) == int(head["WIDTH"][0]) * int(head["HEIGHT"][0])
        return head, points

    return parse


# --- PNG


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 1), (480, 640, 3), (7, 3, 4), (2, 500_000, 3)])
def test_pixels_of_eight_bits_come_back_equal(opened, shape):
    pixels = RANDOM.integers(0, 256, shape, np.uint8)
    assert np.array_equal(opened(png(pixels)), pixels)


@pytest.mark.parametrize("shape", [(1, 1, 1), (480, 640, 1), (3, 700_000, 1)])
def test_grey_values_of_sixteen_bits_come_back_equal(opened, shape):
    pixels = RANDOM.integers(0, 2**16, shape, np.uint16)
    assert np.array_equal(opened(png(pixels)), pixels)


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_sixteen_bits_keep_their_high_bytes_where_pillow_reads_no_more(opened, channels):
    pixels = RANDOM.integers(0, 2**16, (9, 11, channels), np.uint16)
    assert np.array_equal(opened(png(pixels)), (pixels >> 8).astype(np.uint8))


def test_a_picture_is_packed_in_blocks():
    pieces = png(np.zeros((40, BLOCK_BYTES // 10, 1), np.uint8))
    assert sum(map(len, pieces)) < 40 * BLOCK_BYTES // 1000


@pytest.mark.parametrize(
    ("encoding", "channels", "order"),
    [
        ("mono8", 1, [0]),
        ("rgb8", 3, [0, 1, 2]),
        ("bgr8", 3, [2, 1, 0]),
        ("rgba8", 4, [0, 1, 2, 3]),
        ("bgra8", 4, [2, 1, 0, 3]),
        ("8UC1", 1, [0]),
        ("8UC3", 3, [0, 1, 2]),
    ],
)
def test_a_raw_picture_has_its_colours_in_the_order_of_its_encoding(opened, encoding, channels, order):
    pixels = RANDOM.integers(0, 256, (6, 4, channels), np.uint8)
    written = raw(Image(4, 6, encoding, False, 4 * channels), memoryview(pixels.tobytes()))
    assert written.ending == "png"
    assert np.array_equal(opened(written.pieces), pixels[:, :, order])


@pytest.mark.parametrize(("is_bigendian", "dtype"), [(False, "<u2"), (True, ">u2")])
@pytest.mark.parametrize("encoding", ["mono16", "16UC1", "bayer_rggb16"])
def test_sixteen_bits_come_back_whatever_their_byte_order(opened, encoding, is_bigendian, dtype):
    pixels = RANDOM.integers(0, 2**16, (5, 4), np.uint16)
    content = pixels.astype(dtype).tobytes()
    written = raw(Image(4, 5, encoding, is_bigendian, 8), memoryview(content))
    assert np.array_equal(opened(written.pieces)[:, :, 0], pixels)


def test_sixteen_bit_colours_that_are_turned_are_turned_by_pixel_not_by_byte(opened):
    pixels = np.array([[[0x0102, 0x1112, 0x2122]]], np.uint16)
    written = raw(Image(1, 1, "bgr16", False, 6), memoryview(pixels.tobytes()))
    assert b"\x21\x22\x11\x12\x01\x02" in _unpacked(written.pieces)


def _unpacked(pieces):
    import zlib

    content = b"".join(pieces)
    at, packed = 8, b""
    while at < len(content):
        (size,) = struct.unpack_from(">I", content, at)
        packed += content[at + 8 : at + 8 + size] if content[at + 4 : at + 8] == b"IDAT" else b""
        at += 12 + size
    return zlib.decompress(packed)


def test_what_fills_up_the_rows_is_left_out_and_told(opened):
    rows = RANDOM.integers(0, 256, (3, 20), np.uint8)
    written = raw(Image(5, 3, "rgb8", False, 20), memoryview(rows.tobytes()))
    assert np.array_equal(opened(written.pieces), rows[:, :15].reshape(3, 5, 3))
    assert written.note == "without 5 bytes at the end of each row"


def test_what_a_reader_must_know_of_the_pixels_is_told():
    content = memoryview(bytes(12))
    assert raw(Image(2, 2, "8UC3", False, 6), content).note == AS_RECORDED
    assert "grbg" in str(raw(Image(6, 2, "bayer_grbg8", False, 6), content).note)


@pytest.mark.parametrize(
    ("image", "size"),
    [
        (Image(10, 2, "mono8", False, 9), 18),  # step smaller than width
        (Image(10, 2, "mono16", False, 10), 20),
        (Image(2**31, 2**31, "mono8", False, 2**31), 100),  # more than is there
        (Image(2**32 - 1, 1, "mono8", False, 2**32 - 1), 100),
        (Image(2**31, 2**31, "rgba16", False, 0), 0),
        (Image(4, 4, "mono8", False, 4), 15),  # shorter than height * step
        (Image(4, 4, "mono8", False, 4), 17),
        (Image(0, 0, "mono8", False, 0), 0),
        (Image(0, 4, "mono8", False, 4), 16),
        (Image(4, 0, "mono8", False, 4), 0),
        (Image(4, 4, "yuv422", False, 8), 32),
        (Image(4, 4, "32FC1", False, 16), 64),
        (Image(4, 4, "", False, 4), 16),
        (Image(4, 4, "no such thing" * 1000, False, 4), 16),
    ],
)
def test_a_raw_picture_that_png_cannot_hold_is_refused_with_the_reason(image, size):
    with pytest.raises(Unwritable) as refused:
        raw(image, memoryview(bytes(size)))
    assert 10 < len(str(refused.value)) < 200


def test_every_encoding_is_one_that_png_has():
    assert {(encoding.channels, encoding.bytes) for encoding in ENCODINGS.values()} == {
        (channels, size) for channels in (1, 3, 4) for size in (1, 2)
    }


# --- compressed pictures


@pytest.mark.parametrize(("form", "ending"), [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("TIFF", "tiff")])
def test_a_compressed_picture_is_written_as_recorded_by_its_first_bytes_not_by_its_format(form, ending):
    packed = io.BytesIO()
    Pillow.new("RGB", (4, 4)).save(packed, form)
    written = compressed("rgb8; png compressed bgr8", memoryview(packed.getvalue()))
    assert (written.ending, b"".join(written.pieces), written.note) == (ending, packed.getvalue(), None)


def test_a_compressed_depth_picture_loses_its_header_which_is_told(opened):
    pixels = RANDOM.integers(0, 2**16, (3, 4, 1), np.uint16)
    content = struct.pack("<iff", 0, 1.5, -2.0) + b"".join(png(pixels))
    written = compressed("16UC1; compressedDepth png", memoryview(content))
    assert np.array_equal(opened(written.pieces), pixels)
    assert written.note == "without the header of compressedDepth: format 0, depthQuantA 1.5, depthQuantB -2.0"


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"\x00" * 12, b"RIFF1234WAVE", b"\x00\x00\x00\x01\x67"])
def test_what_is_no_picture_is_refused(content):
    with pytest.raises(Unwritable, match="first bytes"):
        compressed("jpeg", memoryview(content))


def test_a_frame_of_a_video_is_kept_as_recorded_and_told():
    written = compressed("h264", memoryview(b"\0\0\0\x01\x67rest"))
    assert (written.ending, "frame of a video" in str(written.note)) == ("h264", True)


# --- PCD

XYZ = (Field("x", 0, 7, 1), Field("y", 4, 7, 1), Field("z", 8, 7, 1))


def test_points_come_back_with_their_names_and_types(parsed):
    points = np.zeros(5, [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("ring", "<u2"), ("t", "<f8")])
    for name in points.dtype.names:
        points[name] = RANDOM.integers(0, 100, 5)
    fields = (*XYZ, Field("ring", 12, 4, 1), Field("t", 14, 8, 1))
    head, found = parsed(pcd(Cloud(5, 1, 22, 110, False, fields), memoryview(points.tobytes())))
    assert found.tobytes() == points.tobytes()
    assert (found.dtype.names, head["VERSION"], head["VIEWPOINT"]) == (points.dtype.names, ["0.7"], list("0001000"))


def test_an_organised_cloud_keeps_its_sides_and_what_fills_up_its_rows_is_left_out(parsed):
    rows = RANDOM.integers(0, 256, (3, 4 * 12 + 7), np.uint8)
    head, found = parsed(pcd(Cloud(4, 3, 12, 55, False, XYZ), memoryview(rows.tobytes())))
    assert (head["WIDTH"], head["HEIGHT"]) == (["4"], ["3"])
    assert found.tobytes() == rows[:, :48].tobytes()


def test_bytes_of_no_field_become_fields_without_a_name(parsed):
    fields = (Field("x", 2, 7, 1), Field("i", 12, 2, 3))
    head, found = parsed(pcd(Cloud(2, 1, 20, 40, False, fields), memoryview(bytes(range(40)))))
    assert (head["FIELDS"], head["COUNT"]) == (["_", "x", "_", "i", "_"], ["2", "1", "6", "3", "5"])
    assert found["i"].tolist() == [[12, 13, 14], [32, 33, 34]]


def test_points_with_the_high_byte_first_are_turned(parsed):
    points = np.zeros(3, [("x", ">f4"), ("n", ">i2", 2), ("c", "u1"), ("t", ">f8")])
    points["x"], points["n"], points["c"], points["t"] = [1.5, -2, 3], [[1, 2], [3, 4], [5, -6]], [7, 8, 9], 1e300
    fields = (Field("x", 0, 7, 1), Field("n", 4, 3, 2), Field("c", 8, 2, 1), Field("t", 9, 8, 1))
    _, found = parsed(pcd(Cloud(3, 1, 17, 51, True, fields), memoryview(points.tobytes())))
    assert all(np.array_equal(found[name], points[name]) for name in points.dtype.names)


def test_a_cloud_of_no_points_is_a_file_too(parsed):
    _, found = parsed(pcd(Cloud(0, 1, 12, 0, False, XYZ), memoryview(b"")))
    assert len(found) == 0


def test_fields_in_another_order_are_written_as_they_lie(parsed):
    fields = (Field("y", 4, 7, 1), Field("x", 0, 7, 0))
    _, found = parsed(pcd(Cloud(1, 1, 8, 8, False, fields), memoryview(struct.pack("<ff", 1, 2))))
    assert found.tolist() == [(1.0, 2.0)]


@pytest.mark.parametrize(
    ("cloud", "size"),
    [
        (Cloud(1, 1, 8, 8, False, XYZ), 8),  # a field beyond point_step
        (Cloud(1, 1, 12, 12, False, (Field("x", 2**32 - 1, 7, 1),)), 12),
        (Cloud(1, 1, 12, 12, False, (Field("x", 0, 7, 2**32 - 1),)), 12),
        (Cloud(1, 1, 12, 12, False, (Field("x", 0, 7, 1), Field("y", 2, 7, 1))), 12),  # overlap
        (Cloud(1, 1, 12, 12, False, (Field("x", 0, 9, 1),)), 12),
        (Cloud(1, 1, 12, 12, False, (Field("x\nPOINTS 9", 0, 7, 1),)), 12),
        (Cloud(1, 1, 12, 12, False, (Field("", 0, 7, 1),)), 12),
        (Cloud(1, 1, 12, 12, False, ()), 12),
        (Cloud(1, 1, 2000, 2000, False, tuple(Field("a", n, 2, 1) for n in range(2000))), 2000),
        (Cloud(2, 1, 12, 12, False, XYZ), 12),  # row_step smaller than its points
        (Cloud(1, 2, 12, 12, False, XYZ), 12),  # fewer bytes than rows
        (Cloud(1, 1, 12, 12, False, XYZ), 13),
        (Cloud(2**31, 2**31, 12, 12 * 2**31, False, XYZ), 12),
    ],
)
def test_a_cloud_that_pcd_cannot_hold_is_refused_with_the_reason(cloud, size):
    with pytest.raises(Unwritable) as refused:
        pcd(cloud, memoryview(bytes(size)))
    assert 10 < len(str(refused.value)) < 200


# --- the table

STRING, BYTES, NUMBER = pa.string(), pa.binary(), pa.uint32()
PICTURE = [("header.frame_id", STRING), ("format", STRING), ("data", BYTES)]
RAW = [(n, NUMBER) for n in ("height", "width")] + [("encoding", STRING), ("is_bigendian", pa.uint8())]
RAW += [("step", NUMBER), ("data", BYTES)]


@pytest.fixture
def jpeg():
    """A JPEG file."""
    packed = io.BytesIO()
    Pillow.new("RGB", (4, 4)).save(packed, "JPEG")
    return packed.getvalue()


@pytest.fixture
def files(tmp_path):
    """Writer of the media of a topic with these columns; into tmp_path / "media"."""
    return lambda columns: MediaFiles(kind_of("x/msg/X", columns), tmp_path / "media", "media-abc-0")


def test_the_table_says_where_each_picture_lies_and_keeps_all_small_fields(files, jpeg, tmp_path):
    table = pa.table({"header.frame_id": ["a", "b"], "format": ["jpeg", "?"], "data": [jpeg, b"none"]})
    found = files(PICTURE).extract(table)
    assert found.to_pylist() == [
        {
            "header.frame_id": "a",
            "format": "jpeg",
            "data.path": "media-abc-0/000000000.jpg",
            "data.size": len(jpeg),
            "data.sha256": hashlib.sha256(jpeg).hexdigest(),
            "data.note": None,
        },
        {
            "header.frame_id": "b",
            "format": "?",
            "data.path": "media-abc-0/000000001.bin",
            "data.size": 4,
            "data.sha256": hashlib.sha256(b"none").hexdigest(),
            "data.note": "kept as recorded: its first bytes are of no picture that is known (format '?')",
        },
    ]
    assert {path.name: path.read_bytes() for path in (tmp_path / "media").iterdir()} == {
        "000000000.jpg": jpeg,
        "000000001.bin": b"none",
    }


def test_rows_are_counted_from_table_to_table(files, jpeg):
    media = files(PICTURE)
    table = pa.table({"header.frame_id": ["a", "b"], "format": ["jpeg"] * 2, "data": [jpeg] * 2})
    media.extract(table)
    assert media.extract(table)["data.path"].to_pylist() == [f"media-abc-0/00000000{n}.jpg" for n in (2, 3)]
    assert (media.files, media.bytes) == (4, 4 * len(jpeg))


def test_the_columns_are_known_before_there_are_rows(files, tmp_path):
    kind = kind_of("x/msg/X", PICTURE)
    empty = pa.schema(PICTURE).empty_table()
    found = files(PICTURE).extract(empty)
    assert [(field.name, field.type) for field in found.schema] == kind.columns(PICTURE)
    assert not (tmp_path / "media").exists()


def test_a_message_with_two_pictures_gives_two_files(files, tmp_path):
    columns = [(f"{eye}.{name}", kind) for eye in ("left", "right") for name, kind in RAW]
    row = {"height": 1, "width": 2, "encoding": "mono8", "is_bigendian": 0, "step": 2, "data": b"ab"}
    table = pa.Table.from_pylist([{f"{eye}.{name}": row[name] for eye in ("left", "right") for name in row}])
    found = files(columns).extract(table.cast(pa.schema(columns)))
    assert found["left.data.path"].to_pylist() == ["media-abc-0/000000000.png"]
    assert found["right.data.path"].to_pylist() == ["media-abc-0/000000000-1.png"]


@pytest.mark.parametrize(
    ("type_name", "columns"),
    [
        ("audio_common_msgs/msg/AudioData", [("data", BYTES)]),
        ("foxglove_msgs/msg/RawAudio", PICTURE),
        ("my_msgs/msg/Blob", [("format", NUMBER), ("data", BYTES)]),
        ("sensor_msgs/msg/CompressedImage", [("format", STRING), ("data", pa.list_(pa.int8()))]),
        ("sensor_msgs/msg/Image", [column for column in RAW if column[0] != "step"]),
        ("my_msgs/msg/Album", [("pictures.format", pa.list_(STRING)), ("pictures.data", pa.list_(BYTES))]),
    ],
)
def test_other_blobs_stay_in_the_table(type_name, columns):
    assert kind_of(type_name, columns) is None
