"""Recordings that lie in another store: fetched before they are read, and after a kill from where that was."""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from fleet.errors import Unavailable
from fleet.objectstore import ObjectStore
from ingestion import storing
from ingestion.bags.conversion import ABANDONED_S
from ingestion.bags.directories import sha256_of
from ingestion.bags.fetching import on_this_machine
from ingestion.bags.processing import process
from ingestion.bags.progress import Reached
from ingestion.folders import Piece
from ingestion.models import Bag, BagStatus

CONTENT = os.urandom(1 << 20) * 5
HOLDS = """
import sys
from pathlib import Path
from ingestion.bags.fetching import _kept
with _kept(Path(sys.argv[1]), sys.argv[2]) as folder:
    (folder / "recording").write_bytes(b"half")
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def elsewhere() -> Iterator[ObjectStore]:
    """A store whose files are no files of this machine."""
    store = ObjectStore(f"memory://{uuid4().hex}", signing_key=b"k" * 32)
    yield store
    store.file_system.store.clear()


@pytest.fixture
def bag(runtime, world, elsewhere) -> Callable[[bytes], Bag]:
    """A bag of this content that lies elsewhere."""

    def store(content: bytes) -> Bag:
        sha256 = hashlib.sha256(content).hexdigest()
        key = storing.key_of(world.organisation.id, sha256, is_folder=False)
        elsewhere.put(key, content)
        known = {"filename": "run.mcap", "object_key": key, "uploaded_at": runtime.clock.now()}
        row = Bag(organisation_id=world.organisation.id, sha256=sha256, size=len(content), **known)
        with runtime.transaction() as session:
            session.add(row)
        return row

    return store


def _fetch(elsewhere: ObjectStore, bag: Bag, working: Path) -> tuple[bytes, list[Reached]]:
    told = list[Reached]()
    with on_this_machine(elsewhere, bag, working, told.append) as path:
        return path.read_bytes(), told


def test_what_a_killed_process_fetched_is_not_fetched_again(elsewhere, bag, tmp_path):
    row = bag(CONTENT)
    begun = tmp_path / "working" / str(row.id)
    begun.mkdir(parents=True)
    (begun / "recording").write_bytes(CONTENT[: 3 << 20])
    content, told = _fetch(elsewhere, row, tmp_path / "working")
    assert content == CONTENT
    assert [reached.done for reached in told] == [4 << 20, 5 << 20]
    assert {(reached.stage, reached.of) for reached in told} == {("fetched", 5 << 20)}
    assert list((tmp_path / "working").iterdir()) == []


@pytest.mark.parametrize("left", [b"\0" * (3 << 20), CONTENT + b"more"])
def test_what_is_left_damaged_is_fetched_anew(elsewhere, bag, tmp_path, left):
    row = bag(CONTENT)
    begun = tmp_path / "working" / str(row.id)
    begun.mkdir(parents=True)
    (begun / "recording").write_bytes(left)
    assert _fetch(elsewhere, row, tmp_path / "working")[0] == CONTENT


def test_a_store_that_gives_other_bytes_than_were_stored_is_told_and_not_converted(elsewhere, bag, tmp_path):
    row = bag(CONTENT)
    elsewhere.put(row.object_key, CONTENT[:-1] + b"?")
    begun = tmp_path / "working" / str(row.id)
    begun.mkdir(parents=True)
    (begun / "recording").write_bytes(CONTENT[:1000])
    with pytest.raises(Unavailable, match="other bytes than were stored"):
        _fetch(elsewhere, row, tmp_path / "working")


def test_a_folder_goes_on_within_the_file_where_it_was(runtime, world, elsewhere, tmp_path):
    pieces = {"a.mcap": CONTENT[: 2 << 20], "b/c.mcap": CONTENT[: 3 << 20]}
    source = tmp_path / "source"
    for name, content in pieces.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    sha256 = sha256_of(source)
    key = storing.key_of(world.organisation.id, sha256, is_folder=True)
    files = [Piece(path, len(content), hashlib.sha256(content).hexdigest()) for path, content in pieces.items()]
    storing.store(elsewhere, key, files, iter(pieces.values()))
    known = {"filename": "run", "object_key": key, "uploaded_at": runtime.clock.now()}
    row = Bag(organisation_id=world.organisation.id, sha256=sha256, size=5 << 20, **known)
    begun = tmp_path / "working" / str(row.id) / "recording"
    begun.mkdir(parents=True)
    (begun / "a.mcap").write_bytes(pieces["a.mcap"][:1000])
    with on_this_machine(elsewhere, row, tmp_path / "working") as path:
        assert sha256_of(path) == sha256


def test_a_converted_bag_is_not_even_fetched(runtime, world, elsewhere, bag, tmp_path):
    row = bag(b"no recording at all")
    told = list[Reached]()

    def convert():
        asked = {"transaction": runtime.transaction, "objects": elsewhere, "bag_id": row.id}
        return process(**asked, working=tmp_path / "working", listener=told.append)

    first = convert()
    assert {reached.stage for reached in told} == {"fetched", "read"}
    elsewhere.delete(row.object_key)
    told.clear()
    assert (convert(), told, first.status) == (first, [], BagStatus.refused)


def test_one_at_a_time_fetches_a_bag_and_a_killed_one_leaves_it_to_the_next(elsewhere, bag, tmp_path):
    row = bag(b"half and the rest")
    held = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path / "working"), str(row.id)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert held.stdout is not None
    assert held.stdout.readline() == b"held\n"
    held.send_signal(signal.SIGKILL)
    held.communicate()
    content, told = _fetch(elsewhere, row, tmp_path / "working")
    assert (content, len(told)) == (b"half and the rest", 1)


def test_what_nobody_asked_for_again_is_removed(elsewhere, bag, tmp_path):
    old, new = tmp_path / "working/old", tmp_path / "working/new"
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "recording").write_bytes(b"some")
    for path in (old / "recording", old):
        os.utime(path, (0, old.stat().st_mtime - ABANDONED_S - 60))
    _fetch(elsewhere, bag(CONTENT), tmp_path / "working")
    assert [folder.name for folder in (tmp_path / "working").iterdir()] == ["new"]
