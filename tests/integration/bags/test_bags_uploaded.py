"""Folders, zips and compressed files that are uploaded: stored under their content, and converted as what they are."""

import hashlib
import zipfile

import pyarrow as pa
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from sqlmodel import select

from fleet.errors import Conflict, Invalid
from fleet.organisations import Organisation, Principal, PrincipalKind
from ingestion import folders, storing, uploads
from ingestion.bags.directories import sha256_of
from ingestion.bags.processing import process
from ingestion.folders import Piece
from ingestion.models import Bag, BagStatus, Upload, UploadStatus
from ingestion.quotas import Limits
from ingestion.storing import is_stored
from orchestration.work.bags import NOT_CONVERTED, Converted, note_left

START_NS = 1_772_402_400_000_000_000  # 2026-03-01 22:00 UTC
POINT = "geometry_msgs/msg/Point"
LIMITS = Limits(recording_bytes=10**8, stored_bytes=10**8, open_uploads=20)


@pytest.fixture
def drive(tmp_path, humble):
    """A rosbag2 folder of four points, as rosbags writes it."""
    folder = tmp_path / "drive"
    with Writer(folder, version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        line = writer.add_connection("/point", POINT, typestore=humble)
        for n in range(4):
            content = humble.serialize_cdr(humble.types[POINT](x=float(n), y=0.0, z=0.0), POINT)
            writer.write(line, START_NS + n, content)
    return folder


@pytest.fixture
def pieces():
    """The files of a folder as a sender tells them, last first."""

    def of(folder) -> list[Piece]:
        files = sorted((path for path in folder.rglob("*") if path.is_file()), reverse=True)
        return [
            Piece(str(path.relative_to(folder)), path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
            for path in files
        ]

    return of


@pytest.fixture
def send(runtime, world):
    """Starts an upload of these bytes, sends them in two parts and completes it."""

    def run(content: bytes, *, principal=world.operator, parts=(slice(0, 100), slice(100, None)), **wanted) -> Bag:
        doors = {"transaction": runtime.transaction, "objects": runtime.objects, "principal": principal}
        given = {"filename": "drive", "robot": None, "mission_id": None, "limits": LIMITS, "size": len(content)}
        given |= {"sha256": hashlib.sha256(content).hexdigest()} | wanted
        with runtime.transaction() as session:
            upload = uploads.start(session, principal=principal, **given)
        for number, part in enumerate(parts, start=1):
            uploads.write_part(**doors, upload_id=upload.id, number=number, content=content[part])
        return uploads.complete(**doors, upload_id=upload.id)

    return run


@pytest.fixture
def send_folder(send, pieces):
    def run(folder, **wanted) -> Bag:
        content = b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
        return send(content, **{"sha256": sha256_of(folder), "files": pieces(folder)} | wanted)

    return run


@pytest.fixture
def converted(runtime):
    return lambda bag: process(transaction=runtime.transaction, objects=runtime.objects, bag_id=bag.id)


def test_a_folder_is_stored_file_by_file_under_its_content_and_converted(
    runtime, world, drive, pieces, send_folder, converted
):
    bag = send_folder(drive)
    below = f"{world.organisation.id}/bags/{sha256_of(drive)}"
    listed = {key: runtime.objects.read(key) for key in runtime.objects.list(str(world.organisation.id))}
    files = {f"{below}/{path.name}": path.read_bytes() for path in drive.iterdir()}
    assert listed == files | {bag.object_key: folders.list_of(folders.ordered(pieces(drive)))}
    manifest = converted(bag)
    assert (manifest.status, manifest.messages, manifest.format) == (BagStatus.complete, 4, "folder")


def test_a_zip_of_a_folder_is_converted_as_the_folder(tmp_path, drive, send, converted):
    packed = tmp_path / "drive.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in drive.iterdir():
            archive.write(path, f"drive/{path.name}")
    manifest = converted(send(packed.read_bytes(), filename="drive.zip"))
    assert (manifest.status, manifest.messages, manifest.format) == (BagStatus.complete, 4, "zip")


def test_a_bag_tells_why_it_is_not_converted_until_it_is(runtime, drive, send_folder, converted):
    bag = send_folder(drive)
    tried = [Converted(str(bag.id), "drive", NOT_CONVERTED, problem="the child was killed")]

    def noted() -> tuple[BagStatus, str | None]:
        with runtime.transaction() as session:
            note_left(session, tried)
        with runtime.reading() as session:
            row = session.get_one(Bag, bag.id)
            return row.status, row.error

    assert noted() == (BagStatus.stored, "It could not be converted: the child was killed")
    converted(bag)
    assert noted() == (BagStatus.complete, None)


def test_a_file_that_is_compressed_as_a_whole_is_converted(drive, send, converted):
    (database,) = drive.glob("*.db3")
    packed = pa.Codec("zstd").compress(database.read_bytes(), asbytes=True)
    manifest = converted(send(packed, filename="drive.db3.zst"))
    assert (manifest.status, manifest.messages) == (BagStatus.complete, 4)


def test_a_zip_bomb_is_stored_and_refused_without_being_unpacked(tmp_path, send, converted):
    packed = tmp_path / "bomb.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.mcap", "w") as member:
        for _ in range(1100):
            member.write(bytes(1 << 20))
    manifest = converted(send(packed.read_bytes(), filename="bomb.zip"))
    assert manifest.status is BagStatus.refused
    assert "would unpack to" in manifest.reason


def test_a_zip_whose_paths_lead_elsewhere_is_refused(tmp_path, send, converted):
    packed = tmp_path / "evil.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("../../evil.mcap", b"x" * 200)
    manifest = converted(send(packed.read_bytes(), filename="evil.zip"))
    assert (manifest.status, "outside of its own folder" in manifest.reason) == (BagStatus.refused, True)


def test_a_folder_sent_again_is_the_same_bag_and_another_organisations_is_another(runtime, drive, send_folder):
    with runtime.transaction() as session:
        other = Organisation(name="other", created_at=runtime.clock.now())
        session.add(other)
    stranger = Principal(PrincipalKind.device, "agent", other.id)
    first, second = send_folder(drive), send_folder(drive, filename="again")
    theirs = send_folder(drive, principal=stranger)
    assert second.id == first.id
    assert theirs.id != first.id
    assert str(other.id) in theirs.object_key


@pytest.mark.parametrize(
    "path",
    [
        "../a.db3",
        "/a.db3",
        "a/../b.db3",
        "a//b",
        "a\\b",
        "c:a",
        ".hidden",
        "a/.b",
        "",
        ".",
        "a\nb",
        "a/b/c/d/e",
        "x" * 201,
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(send, path: str):
    piece = Piece(path, 3, hashlib.sha256(b"abc").hexdigest())
    listed = hashlib.sha256(folders.list_of([piece])).hexdigest()
    with pytest.raises(Invalid, match="not the path of a visible file"):
        send(b"abc", files=[piece], sha256=listed)


@pytest.mark.parametrize("paths", [("a", "a"), ("a", "A"), ("a", "a/b")])
def test_two_files_of_one_place_are_refused(send, paths):
    piece = [Piece(path, 1, hashlib.sha256(b"x").hexdigest()) for path in sorted(paths)]
    with pytest.raises(Invalid, match="two files of one name"):
        send(b"xx", files=piece, sha256=hashlib.sha256(folders.list_of(piece)).hexdigest())


def test_sizes_and_hashes_of_files_that_are_not_those_of_the_folder_are_refused(drive, send_folder, pieces):
    with pytest.raises(Invalid, match=r"not 7\."):
        send_folder(drive, size=7)
    with pytest.raises(Invalid, match="The list of the files has SHA-256"):
        send_folder(drive, sha256="0" * 64)


def test_a_file_of_a_folder_with_other_content_fails_the_upload_and_is_named(runtime, drive, send):
    files = [Piece("a", 3, hashlib.sha256(b"abc").hexdigest()), Piece("b", 3, hashlib.sha256(b"xyz").hexdigest())]
    with pytest.raises(Invalid, match="The content of b has SHA-256"):
        send(b"abcxyy", files=files, sha256=hashlib.sha256(folders.list_of(files)).hexdigest(), parts=[slice(None)])
    with runtime.reading() as session:
        assert session.exec(select(Upload.status)).one() is UploadStatus.failed
        assert session.exec(select(Bag)).all() == []


def test_killed_while_a_folder_is_stored_it_is_not_there_until_completed_again(
    runtime, world, drive, send_folder, monkeypatch
):
    create, made = type(runtime.objects).create, []

    def dying(store, key):
        if "/bags/" in key:
            made.append(key)
            if len(made) == 2:
                raise KeyboardInterrupt
        return create(store, key)

    with monkeypatch.context() as patched:
        patched.setattr(type(runtime.objects), "create", dying)
        with pytest.raises(KeyboardInterrupt):
            send_folder(drive)
    key = storing.key_of(world.organisation.id, sha256_of(drive), is_folder=True)
    size = sum(path.stat().st_size for path in drive.iterdir())
    assert not is_stored(runtime.objects, key, size)
    bag = send_folder(drive)
    assert is_stored(runtime.objects, bag.object_key, size)


def test_the_list_of_a_folder_as_a_file_is_not_taken_for_the_folder(drive, send, send_folder, pieces):
    listed = folders.list_of(folders.ordered(pieces(drive)))
    send(listed)
    with pytest.raises(Conflict, match="has this SHA-256 here"):
        send_folder(drive)


def test_a_folder_in_a_store_of_others_is_fetched_to_be_converted(runtime, drive, send_folder, converted, monkeypatch):
    bag = send_folder(drive)
    monkeypatch.setattr(type(runtime.objects), "local_path", lambda *_: None)
    assert converted(bag).messages == 4


def test_bytes_that_are_not_those_announced_never_get_the_name(runtime):
    wrong = Piece("", 3, hashlib.sha256(b"abc").hexdigest())
    with pytest.raises(Conflict):
        storing.store(runtime.objects, "o/bags/x", [wrong], iter([b"xyz"]))
    assert runtime.objects.list("o") == []
