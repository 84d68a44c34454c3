"""The object store on a local folder and on an S3 server at the socket."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from fleet.errors import Invalid, NotFound, Unavailable
from fleet.objectstore import ObjectStore

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["file", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "file":
        return ObjectStore(f"file://{tmp_path}/objects", signing_key=b"k" * 32)
    options = {"key": "k", "secret": "s", "client_kwargs": {"endpoint_url": request.getfixturevalue("s3_url")}}
    store = ObjectStore(f"s3://bucket-{abs(hash(tmp_path))}/root", signing_key=b"k" * 32, options=options)
    store.file_system.mkdir(store.url.removeprefix("s3://").split("/")[0])
    return store


def test_what_is_put_is_read_back_with_its_size_and_hash(objects: ObjectStore):
    stored = objects.put("org/a/b.bin", b"hello")
    assert (stored.size, stored.sha256) == (5, sha256(b"hello").hexdigest())
    assert (objects.read("org/a/b.bin"), objects.size("org/a/b.bin"), objects.exists("org/a/b.bin")) == (
        b"hello",
        5,
        True,
    )


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="what a handle is of is read from /proc")
@pytest.mark.parametrize("way", ["put", "put_files"])
def test_the_names_of_new_folders_are_on_the_disk_too(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synced, fsync = set[str](), os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.add(os.readlink(f"/proc/self/fd/{handle}")), fsync(handle)))
    objects = ObjectStore(f"file://{tmp_path}/objects", signing_key=b"k" * 32)
    (tmp_path / "source").write_bytes(b"x")
    if way == "put":
        objects.put("org/date/topic/part", b"x")
    else:
        objects.put_files({"org/date/topic/part": tmp_path / "source"})
    folders = (tmp_path, tmp_path / "objects", tmp_path / "objects/org", tmp_path / "objects/org/date")
    assert {str(folder) for folder in (*folders, folders[-1] / "topic")} <= synced


def test_a_file_is_put_and_fetched_streamed(objects: ObjectStore, tmp_path: Path):
    source = tmp_path / "source"
    source.write_bytes(b"x" * 3_000_000)
    assert objects.put_file("org/big", source).sha256 == sha256(b"x" * 3_000_000).hexdigest()
    assert objects.fetch("org/big", tmp_path / "target").stat().st_size == 3_000_000


@pytest.fixture
def many(tmp_path: Path) -> dict[str, Path]:
    """Forty local files by the key that they are to have."""
    (tmp_path / "many").mkdir()
    files = {f"org/media/{n % 2}/{n}.bin": tmp_path / "many" / str(n) for n in range(40)}
    for key, path in files.items():
        path.write_bytes(key.encode())
    return files


def test_many_files_are_moved_under_their_keys(objects: ObjectStore, many: dict[str, Path]):
    objects.put_files(many)
    assert {key: objects.read(key) for key in objects.list("org")} == {key: key.encode() for key in many}
    assert not any(path.exists() for path in many.values())


def test_files_that_are_moved_are_told_with_size_and_hash(objects: ObjectStore, many: dict[str, Path]):
    stored = objects.move_files(many)
    assert [(file.key, file.size, file.sha256) for file in stored] == [
        (key, len(key), sha256(key.encode()).hexdigest()) for key in many
    ]
    assert {key: objects.read(key) for key in objects.list("org")} == {key: key.encode() for key in many}
    assert not any(path.exists() for path in many.values())


def test_moving_no_files_is_nothing(objects: ObjectStore):
    objects.put_files({})
    assert objects.list("org") == []


def test_files_moved_to_keys_that_are_taken_replace_what_is_there(objects: ObjectStore, many: dict[str, Path]):
    objects.put("org/media/0/0.bin", b"of earlier")
    objects.put_files(many)
    assert objects.read("org/media/0/0.bin") == b"org/media/0/0.bin"


def test_files_from_another_disk_are_moved_too(tmp_path: Path):
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        if Path(folder).stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("there is no second disk here")
        (Path(folder) / "a").write_bytes(b"1")
        store = ObjectStore(f"file://{tmp_path}/objects", signing_key=b"k" * 32)
        store.put_files({"org/a": Path(folder) / "a"})
        assert (store.read("org/a"), list(Path(folder).iterdir()), store.list("org")) == (b"1", [], ["org/a"])


def test_a_file_to_move_that_is_not_there_is_told(objects: ObjectStore, tmp_path: Path):
    with pytest.raises(Unavailable, match="could not write 1 files"):
        objects.put_files({"org/a": tmp_path / "none"})


def test_keys_below_a_prefix_are_listed_in_order(objects: ObjectStore):
    for key in ("org/b", "org/a/2", "org/a/1", "other/a"):
        objects.put(key, b"")
    assert objects.list("org") == ["org/a/1", "org/a/2", "org/b"]
    assert objects.list("nobody") == []


def test_a_missing_key_is_not_found_by_name(objects: ObjectStore):
    with pytest.raises(NotFound, match="org/none"):
        objects.read("org/none")


def test_deleting_twice_is_harmless(objects: ObjectStore):
    objects.put("org/a", b"1")
    objects.delete("org/a")
    objects.delete("org/a")
    assert not objects.exists("org/a")


def test_deleting_what_another_deletes_at_the_same_moment_is_harmless(objects: ObjectStore, monkeypatch):
    monkeypatch.setattr(objects.file_system, "exists", lambda _path: True)
    objects.delete("org/just-gone")


def test_a_manifest_has_the_same_bytes_for_the_same_set(objects: ObjectStore):
    first = objects.publish("org/m.json", {"b": 1, "a": [1, 2]})
    second = objects.publish("org/m.json", {"a": [1, 2], "b": 1})
    assert first.sha256 == second.sha256
    assert objects.manifest("org/m.json") == {"a": [1, 2], "b": 1}


@pytest.mark.parametrize("key", ["", "/etc/passwd", "a/../../b", "a\\b", "a\0b"])
def test_a_key_that_leaves_the_store_is_refused(tmp_path: Path, key: str):
    with pytest.raises(Invalid):
        ObjectStore(f"file://{tmp_path}", signing_key=b"k").put(key, b"")


def test_a_writer_that_fails_leaves_no_file(tmp_path: Path):
    objects = ObjectStore(f"file://{tmp_path}", signing_key=b"k")
    with pytest.raises(LookupError), objects.create("org/a") as out:
        out.write(b"half")
        raise LookupError
    assert list((tmp_path / "org").iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="here every file has a name from the beginning")
def test_a_writer_that_is_killed_leaves_no_file(tmp_path: Path):
    killed = """
import os, signal, sys
from fleet.objectstore import ObjectStore
with ObjectStore(sys.argv[1], signing_key=b"").create("acme/bag") as out:
    out.write(b"half")
    out.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", killed, f"file://{tmp_path}"], cwd=ROOT, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_where_files_need_names_they_are_written_under_a_temporary_one(tmp_path: Path, monkeypatch):
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    store = ObjectStore(f"file://{tmp_path}", signing_key=b"")
    with store.create("acme/bag") as out:
        out.write(b"half")
        assert store.list("acme") == []
    assert (store.list("acme"), store.read("acme/bag")) == (["acme/bag"], b"half")


def test_a_store_that_cannot_write_says_so_and_what_to_do(tmp_path: Path):
    (tmp_path / "org").write_text("a file where a folder is wanted")
    with pytest.raises(Unavailable, match="Free space or check its settings"):
        ObjectStore(f"file://{tmp_path}", signing_key=b"k").put("org/a", b"")


def test_a_signature_holds_for_its_key_and_time_alone(tmp_path: Path):
    objects = ObjectStore(f"file://{tmp_path}", signing_key=b"k" * 32)
    signature = objects.sign("org/a", expires_at=NOW)
    assert objects.is_signed("org/a", expires_at=NOW, signature=signature)
    assert not objects.is_signed("org/b", expires_at=NOW, signature=signature)
    assert not objects.is_signed("org/a", expires_at=NOW + timedelta(seconds=1), signature=signature)
    other = ObjectStore(f"file://{tmp_path}", signing_key=b"z" * 32)
    assert not other.is_signed("org/a", expires_at=NOW, signature=signature)
