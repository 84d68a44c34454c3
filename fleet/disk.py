"""Files of a local disk that are whole under their name, or not there at all, whoever is killed and also after a power cut."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import uuid4

COPIED_BYTES = 1 << 20  # at once


def sha256_of(path: Path) -> str:
    """The hash of the file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def move_all(files: Mapping[Path, Path]) -> None:
    """Rename every source to its target, each synced before; folders are synced once, at the end."""
    folders = {target.parent for target in files}
    changed = folders | {parent for folder in folders for parent in _made(folder)}
    for target, source in files.items():
        _sync(source)
        if not _is_renamed(source, target):
            with source.open("rb") as file, whole(target) as out:
                shutil.copyfileobj(file, out, COPIED_BYTES)
    for folder in changed:
        _sync(folder)


def _made(folder: Path) -> list[Path]:
    """Make the folder where it is not there; gives those that have a new one in them, which must be synced, too."""
    changed = [made.parent for made in (folder, *folder.parents) if not made.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return changed


def _is_renamed(source: Path, target: Path) -> bool:
    """Whether that was possible: it is not from one disk to another."""
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True


@contextmanager
def whole(final: Path) -> Iterator[IO[bytes]]:
    """A file to write; it is on the disk and there under its name when the block ends well, and not at all else."""
    changed = [final.parent, *_made(final.parent)]
    temporary = final.with_name(f".{final.name}.{uuid4().hex}.tmp")
    nameless = _nameless(final.parent)
    try:
        with temporary.open("wb") if nameless is None else os.fdopen(nameless, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
            is_there = nameless is not None and _is_named(nameless, final)
            if nameless is not None and not is_there:
                _name(nameless, temporary)
        if not is_there:
            temporary.replace(final)
        for folder in changed:
            _sync(folder)
    finally:
        temporary.unlink(missing_ok=True)


def _nameless(folder: Path) -> int | None:
    """A new file without a name, of which nothing stays when its writer is killed; None where there are none."""
    if not hasattr(os, "O_TMPFILE") or not Path("/proc/self/fd").is_dir():
        return None
    try:
        return os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o666)
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}:
            raise
        return None


def _is_named(handle: int, path: Path) -> bool:
    """Whether the file could get this name; not where another has it, which must be replaced by renaming."""
    try:
        _name(handle, path)
    except FileExistsError:
        return False
    return True


def _name(handle: int, path: Path) -> None:
    # Only with a folder's handle does Python follow the link of /proc to the file itself.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.link(f"/proc/self/fd/{handle}", path, src_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
