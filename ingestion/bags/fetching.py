"""A stored recording as files of this machine: the store's own, or a copy whose fetching goes on where it was killed."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import structlog

from fleet.errors import Unavailable
from fleet.objectstore import ObjectStore
from ingestion import storing
from ingestion.bags.conversion import ABANDONED_S, recording_sha256
from ingestion.bags.progress import Listener, Teller
from ingestion.models import Bag

log = structlog.get_logger(__name__)


@contextmanager
def on_this_machine(
    objects: ObjectStore, bag: Bag, working: Path | None, listener: Listener | None = None
) -> Iterator[Path]:
    """The recording as a file or folder, while the block lasts.

    From another store it is fetched into a folder below `working`, which is kept when the process is killed: whoever
    fetches the same bag there next goes on, and one at a time does. Without `working` it is fetched from its beginning.

    Raises:
        NotFound: its content is gone from the store.
        Unavailable: the store does not answer, or gives other bytes than were stored.
    """
    path = objects.local_path(bag.object_key)
    if path is not None:
        yield path.parent if storing.is_folder(bag.object_key) else path
    elif working is None:
        with tempfile.TemporaryDirectory(prefix="yardmaster-bag-") as folder:
            yield _fetched(objects, bag, Path(folder), listener)
    else:
        with _kept(working, str(bag.id)) as folder:
            yield _whole(objects, bag, folder, listener)


def _whole(objects: ObjectStore, bag: Bag, folder: Path, listener: Listener | None) -> Path:
    """The recording fetched to its end; what a killed process left may be anything, so it is looked at."""
    has_begun = any(folder.iterdir())
    path = _fetched(objects, bag, folder, listener)
    if has_begun and recording_sha256(path) != bag.sha256:
        log.warning("what was fetched of a bag is damaged; it is fetched anew", bag=bag.sha256[:16])
        _empty(folder)
        path = _fetched(objects, bag, folder, listener)
        if recording_sha256(path) != bag.sha256:
            raise Unavailable(f"{bag.filename}: the store gives other bytes than were stored.", bag=str(bag.id))
    return path


def _fetched(objects: ObjectStore, bag: Bag, folder: Path, listener: Listener | None) -> Path:
    """The recording below `folder`; what is there already is not fetched again."""
    path = folder / "recording"
    teller = Teller(listener, "fetched", bag.size)
    if not storing.is_folder(bag.object_key):
        return objects.fetch(bag.object_key, path, partial(_tell, teller, 0, bag.size))
    before = 0
    for name, key in storing.members(objects, bag.object_key).items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        objects.fetch(key, target, partial(_tell, teller, before, bag.size))
        before += target.stat().st_size
    return path


def _tell(teller: Teller, before: int, size: int, there: int) -> None:
    teller.reached((before + there) / size)


@contextmanager
def _kept(working: Path, name: str) -> Iterator[Path]:
    """The folder `name`, held by this process alone; removed when the block ends well, else kept for the next try."""
    folder = working / name
    handle = _held(folder)
    try:
        _remove_abandoned(folder)
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)


def _held(folder: Path) -> int:
    while True:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), folder.stat()):
                return handle
        os.close(handle)  # who held it before has removed it


def _remove_abandoned(mine: Path) -> None:
    """Remove what was fetched for other bags that nobody has asked for again for hours."""
    os.utime(mine)
    begin = mine.stat().st_mtime - ABANDONED_S
    for folder in mine.parent.iterdir():
        with suppress(OSError):  # another removes it
            if max(path.lstat().st_mtime for path in (folder, *folder.rglob("*"))) < begin:
                shutil.rmtree(folder)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
