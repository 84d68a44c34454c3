"""Recordings that come as folders, archives and compressed files: read in order within bounds, or refused clearly."""

import struct
import zipfile

import pyarrow as pa
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Writer2

from fleet.errors import Invalid
from ingestion.bags import archives
from ingestion.bags.directories import sha256_of, size_of
from ingestion.bags.recording import Findings
from ingestion.bags.sources import reader_of

START_NS = 1_772_402_400_000_000_000
METADATA = "rosbag2_bagfile_information:\n  relative_file_paths:\n"


@pytest.fixture
def bodies():
    """The first bytes behind the encapsulation of every message, in order, and what the reader told."""

    def read(path):
        found, read = Findings(), []
        for batch in reader_of(path)[1](path, found):
            read += [
                batch.arena[start + 4 : start + 12].tobytes() if batch.doubt is None else batch.doubt
                for start in batch.starts.tolist()
            ]
        return read, found

    return read


@pytest.fixture
def split(tmp_path, point):
    """A rosbag2 folder of MCAP files with two messages each, numbered through, with a metadata.yaml that names them."""

    def make(count, make_mcap, *, names=None):
        folder = tmp_path / "drive"
        folder.mkdir()
        for part in range(count):
            mcap = make_mcap()
            channel = mcap.channel("/point", "geometry_msgs/msg/Point", "float64 x\nfloat64 y\nfloat64 z\n")
            for n in (2 * part, 2 * part + 1):
                mcap.add(channel, START_NS + n, point(float(n)))
            (folder / f"drive_{part}.mcap").write_bytes(mcap.content())
        named = names or [f"drive_{part}.mcap" for part in range(count)]
        (folder / "metadata.yaml").write_text(METADATA + "".join(f"    - {name}\n" for name in named))
        return folder

    return make


@pytest.fixture
def new_mcap(mcap):
    return type(mcap)


@pytest.fixture
def written(tmp_path, humble):
    """A rosbag2 folder written by rosbags, 200 points."""

    def make(storage, mode=None):
        writer = Writer2(tmp_path / "written", version=9, storage_plugin=storage)
        if mode:
            writer.set_compression(mode, CompressionFormat.ZSTD)
        with writer:
            connection = writer.add_connection("/point", "geometry_msgs/msg/Point", typestore=humble)
            for n in range(200):
                message = humble.types[connection.msgtype](x=float(n), y=0.0, z=0.0)
                writer.write(connection, START_NS + n, humble.serialize_cdr(message, connection.msgtype))
        return tmp_path / "written"

    return make


def xs(count):
    return [struct.pack("<d", n) for n in range(count)]


def test_the_files_of_a_folder_are_read_in_the_order_of_its_metadata(split, new_mcap, bodies):
    read, found = bodies(split(12, new_mcap))
    assert (read, found.lost, found.repairs) == (xs(24), [], [])


def test_without_metadata_files_are_read_in_the_order_of_their_numbers(split, new_mcap, bodies):
    folder = split(12, new_mcap)
    (folder / "metadata.yaml").unlink()
    read, found = bodies(folder)
    assert (read, found.lost, found.repairs) == (xs(24), [], ["there is no metadata.yaml"])


@pytest.mark.parametrize("damage", ["[" * 50_000, "\x00", "a: &a [*a]", "rosbag2_bagfile_information: 7", "- - -", "{"])
def test_garbage_for_metadata_is_told_and_every_file_is_read(split, new_mcap, bodies, damage):
    folder = split(2, new_mcap)
    (folder / "metadata.yaml").write_text(damage)
    read, found = bodies(folder)
    assert (read, found.repairs) == (xs(4), ["metadata.yaml cannot be read"])


def test_a_missing_split_is_told_and_the_rest_is_read(split, new_mcap, bodies):
    folder = split(3, new_mcap)
    (folder / "drive_1.mcap").unlink()
    read, found = bodies(folder)
    assert read == [*xs(2), *xs(6)[4:]]
    assert [lost.reason for lost in found.lost] == ["the file drive_1.mcap is missing"]


def test_a_damaged_split_costs_only_itself(split, new_mcap, bodies):
    folder = split(3, new_mcap)
    (folder / "drive_1.mcap").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    read, found = bodies(folder)
    assert read == [*xs(2), *xs(6)[4:]]
    assert "drive_1.mcap: This is no recording: it is a Git LFS pointer" in found.lost[0].reason


def test_a_file_that_the_metadata_does_not_name_is_told_and_left_out(split, new_mcap, bodies):
    read, found = bodies(split(2, new_mcap, names=["drive_1.mcap"]))
    assert read == xs(4)[2:]
    assert found.repairs == ["drive_0.mcap is not in metadata.yaml and was left out"]


@pytest.mark.parametrize(
    ("announced", "lost"),
    [
        ("", ["the file a.mcap is missing", "the file b.mcap is missing"]),
        ("  message_count: 4\n", []),
        ("  message_count: 5\n", ["the recording announces 5 messages, 4 could be found"]),
    ],
)
def test_files_that_were_renamed_since_their_metadata_was_written_are_read(split, new_mcap, bodies, announced, lost):
    folder = split(2, new_mcap, names=["a.mcap", "b.mcap"])
    with (folder / "metadata.yaml").open("a") as file:
        file.write(announced)
    read, found = bodies(folder)
    assert (read, [each.reason for each in found.lost]) == (xs(4), lost)
    assert found.repairs == ["metadata.yaml names none of the files that are there; all are read"]


def test_metadata_cannot_lead_out_of_the_folder(split, new_mcap, bodies, tmp_path):
    folder = split(1, new_mcap, names=["../secret.mcap", "/etc/drive_0.mcap", ".."])
    (tmp_path / "secret.mcap").write_bytes((folder / "drive_0.mcap").read_bytes())
    read, found = bodies(folder)
    assert read == xs(2)
    assert [lost.reason for lost in found.lost] == ["the file secret.mcap is missing", "the file .. is missing"]


def test_a_link_out_of_the_folder_is_refused(split, new_mcap, bodies, tmp_path):
    folder = split(1, new_mcap)
    (tmp_path / "secret").write_text("secret")
    (folder / "drive_2.mcap").symlink_to(tmp_path / "secret")
    with pytest.raises(Invalid, match="leads out of its folder"):
        bodies(folder)


def test_more_messages_in_the_metadata_than_in_the_files_are_told(split, new_mcap, bodies):
    folder = split(1, new_mcap)
    with (folder / "metadata.yaml").open("a") as file:
        file.write("  message_count: 5\n")
    assert bodies(folder)[1].lost[0].reason == "the recording announces 5 messages, 2 could be found"


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_a_folder_of_rosbags_own_writer_is_sound(written, bodies, storage):
    read, found = bodies(written(storage))
    assert (read, found.lost, found.repairs) == (xs(200), [], [])


@pytest.mark.parametrize("mode", [CompressionMode.MESSAGE, CompressionMode.FILE])
def test_compressed_messages_and_compressed_files_are_unpacked(written, bodies, mode):
    read, found = bodies(written(StoragePlugin.SQLITE3, mode))
    assert (read, found.lost, found.repairs) == (xs(200), [], [])


def test_compressed_messages_are_known_by_their_own_bytes(written, bodies):
    folder = written(StoragePlugin.SQLITE3, CompressionMode.MESSAGE)
    assert bodies(folder / "written.db3")[0] == xs(200)


@pytest.mark.parametrize(
    ("packed", "told"),
    [
        (b"\x28\xb5\x2f\xfd", "cannot be decompressed"),
        (b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 2**60), "claims 1152921504606846976 bytes"),
        (bytes(pa.Codec("zstd").compress(b"x" * 999))[:-3], "cannot be decompressed"),
    ],
)
def test_a_damaged_compressed_message_is_doubted_and_its_neighbours_are_read(mcap, bodies, packed, told, tmp_path):
    channel = mcap.channel("/point", "geometry_msgs/msg/Point", "float64 x\n")
    sound = bytes(pa.Codec("zstd").compress(b"\0\1\0\0" + struct.pack("<d", 1)))
    for n, body in enumerate([sound, packed, sound, b"\0\1\0\0" + struct.pack("<d", 2)]):
        mcap.add(channel, START_NS + n, body)
    (tmp_path / "packed.mcap").write_bytes(mcap.content())
    first, second, third, fourth = bodies(tmp_path / "packed.mcap")[0]
    assert (first, third, fourth) == (struct.pack("<d", 1), struct.pack("<d", 1), struct.pack("<d", 2))
    assert told in second


def test_a_file_compressed_as_a_whole_is_read(points, bodies, tmp_path):
    path = tmp_path / "drive.mcap.zstd"
    path.write_bytes(bytes(pa.Codec("zstd").compress(points(range(9)).content())))
    assert bodies(path)[0] == xs(9)


def test_a_cut_file_compressed_as_a_whole_gives_its_beginning_and_tells_the_cut(points, bodies, tmp_path):
    path = tmp_path / "drive.mcap.zstd"
    content = points(range(90_000)).content(compression="")
    packed = bytes(pa.Codec("zstd").compress(content))
    path.write_bytes(packed[: len(packed) // 2])
    read, found = bodies(path)
    assert 10_000 < len(read) < 80_000
    assert read == xs(len(read))
    assert any("cut" in lost.reason for lost in found.lost)


@pytest.fixture
def zipped(tmp_path):
    """A zip archive of these names and contents."""

    def make(members):
        with zipfile.ZipFile(tmp_path / "drive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(name, content)
        return tmp_path / "drive.zip"

    return make


def test_a_zip_of_a_folder_is_read_as_the_folder_is(split, new_mcap, bodies, zipped):
    folder = split(3, new_mcap)
    members = [(f"drive/{path.name}", path.read_bytes()) for path in sorted(folder.iterdir())]
    read, found = bodies(zipped([*members, ("__MACOSX/._x.mcap", b"\x89MCAP0\r\n"), ("drive/.DS_Store", b"")]))
    assert (read, found.lost, found.repairs) == (xs(6), [], [])


def test_a_zip_of_one_recording_is_read(points, bodies, zipped):
    assert bodies(zipped([("drive.mcap", points(range(4)).content())]))[0] == xs(4)


@pytest.mark.parametrize(
    "name", ["../evil.mcap", "/tmp/evil.mcap", "a/../../evil.mcap", "..\\evil.mcap", "C:\\evil.mcap"]
)
def test_a_zip_that_names_a_place_outside_is_refused_and_writes_nothing(bodies, zipped, tmp_path, name):
    with pytest.raises(Invalid, match="outside of its own folder"):
        bodies(zipped([("drive.mcap", b"x"), (name, b"evil")]))
    assert not list(tmp_path.parent.rglob("evil.mcap"))


@pytest.mark.parametrize("names", [["d" * 300 + "/a.mcap"], ["d", "d/a.mcap"]], ids=["too long", "a file and a folder"])
def test_a_zip_with_names_that_no_folder_can_take_is_refused(points, bodies, zipped, names):
    with pytest.raises(Invalid, match="no folder can take"):
        bodies(zipped([(name, points(range(2)).content()) for name in names]))


def test_a_zip_bomb_is_refused_before_it_is_unpacked(bodies, zipped, monkeypatch):
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED_BYTES", 1 << 20)
    path = zipped([("drive.mcap", bytes(16 << 20))])
    with pytest.raises(Invalid, match="would unpack to 16777216 bytes"):
        bodies(path)


def test_a_zip_bomb_that_lies_about_its_size_does_not_unpack_more_than_it_says(bodies, zipped, monkeypatch):
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED_BYTES", 1 << 20)
    path = zipped([("drive.mcap", bytes(16 << 20))])
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<I", 16 << 20), struct.pack("<I", 1000)))
    with pytest.raises(Invalid, match="damaged"):
        bodies(path)


def test_a_zstd_bomb_is_refused(bodies, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED_BYTES", 1 << 20)
    path = tmp_path / "drive.mcap.zstd"
    path.write_bytes(bytes(pa.Codec("zstd").compress(bytes(16 << 20))))
    with pytest.raises(Invalid, match="unpacks to more than"):
        bodies(path)


def test_a_zip_of_too_many_files_is_refused(bodies, zipped, monkeypatch):
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    with pytest.raises(Invalid, match="holds 4 files"):
        bodies(zipped([(f"{n}.mcap", b"") for n in range(4)]))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_a_cut_zip_is_refused(bodies, zipped, points, share):
    path = zipped([("drive.mcap", points(range(50)).content())])
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(Invalid, match="damaged, cut"):
        bodies(path)


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ([("readme.txt", b"hello")], "There is no recording"),
        ([("inner.zip", b"PK\x03\x04rest")], "There is no recording"),
        ([("a/x.mcap", b"\x89MCAP0\r\n1"), ("b/y.mcap", b"\x89MCAP0\r\n2")], "holds 2 recordings"),
        ([("x.mcap", b"\x89MCAP0\r\n"), ("x.mcap", b"\x89MCAP0\r\n")], "twice"),
        ([("x.mcap", b"\x89MCAP0\r\n"), ("y.bag", b"#ROSBAG V2.0\n")], "several formats"),
        ([("x.mcap", b"\x89MCAP0\r\n")], "ends after its first eight bytes"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_without_one_recording_is_refused(bodies, zipped, members, told):
    with pytest.raises(Invalid, match=told):
        bodies(zipped(members))


def test_an_empty_folder_is_refused(bodies, tmp_path):
    (tmp_path / "drive").mkdir()
    with pytest.raises(Invalid, match="There is no recording"):
        bodies(tmp_path / "drive")


def test_the_hash_of_a_folder_is_that_of_its_list_as_sha256sum_prints_it(tmp_path):
    (tmp_path / "b").write_bytes(b"two")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "c").write_bytes(b"one")
    (tmp_path / ".hidden").write_bytes(b"three")
    # sha256sum a/c b | sha256sum
    assert sha256_of(tmp_path) == "b2a84cf19c7ddcccbba0ebffe4b3df536c43dabc3a61e156144f656ed34baf81"
    assert size_of(tmp_path) == 6
