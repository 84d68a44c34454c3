"""Recordings packed as a whole (zip, zstd): unpacked into a folder, within bounds, and never beside it."""

import errno
import lzma
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import pyarrow as pa

from fleet.errors import Invalid
from ingestion.bags.chunks import SAVED_AT_ONCE

MOST_MEMBERS = 10_000
ALWAYS_ALLOWED_BYTES = 1 << 30
LARGEST_RATIO = 200
COPIED_AT_ONCE = 1 << 20
ENCRYPTED = 0x1
UNUSABLE_NAMES = {errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR}
DAMAGES = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, ValueError)


def largest_content(size: int) -> int:
    """How many bytes an archive of `size` may unpack to; recordings stay far below it, bombs far above."""
    return max(ALWAYS_ALLOWED_BYTES, LARGEST_RATIO * size)


def unzip(path: Path, folder: Path) -> None:
    """Unpack a zip archive into `folder`; hidden files and what systems add of their own are left out.

    Raises:
        Invalid: it is damaged, encrypted, absurdly large, or has names that lead out of its folder or that none can take.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for member in _members(archive, largest_content(path.stat().st_size)):
                target = _inside(folder, member.filename)
                if target.exists():
                    raise Invalid(f"The archive holds {member.filename!r} twice; make it anew.")
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as packed, target.open("xb") as file:
                    shutil.copyfileobj(packed, file, COPIED_AT_ONCE)
    except DAMAGES as error:
        raise Invalid(f"The zip archive is damaged, cut, or of a kind that is not known: {error}.") from error
    except OSError as error:
        if error.errno not in UNUSABLE_NAMES:
            raise
        raise Invalid(f"The archive holds a name that no folder can take: {error.strerror}. Make it anew.") from error


def _members(archive: zipfile.ZipFile, largest: int) -> Iterator[zipfile.ZipInfo]:
    listed = archive.infolist()
    if len(listed) > MOST_MEMBERS:
        raise Invalid(f"The archive holds {len(listed)} files; at most {MOST_MEMBERS} are taken.")
    total = sum(member.file_size for member in listed)
    if total > largest:
        raise Invalid(f"The archive would unpack to {total} bytes, more than the {largest} that are taken of its size.")
    for member in listed:
        if member.flag_bits & ENCRYPTED:
            raise Invalid(f"{member.filename!r} in the archive is encrypted; upload it without a password.")
        parts = _path(member.filename).parts
        if not member.is_dir() and not any(part.startswith((".", "__MACOSX")) and part != ".." for part in parts):
            yield member


def _path(name: str) -> PurePosixPath:
    return PurePosixPath(name.replace("\\", "/"))


def _inside(folder: Path, name: str) -> Path:
    path = _path(name)
    if path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive or not path.parts:
        raise Invalid(f"The archive names the file {name!r}, outside of its own folder; it is not unpacked.")
    return folder / path


def unzstd(path: Path, target: Path) -> str | None:
    """Unpack a file that is compressed as a whole; tells what was wrong when only its beginning could be had.

    Raises:
        Invalid: it unpacks to absurdly much.
    """
    largest = largest_content(path.stat().st_size)
    with target.open("wb") as file, pa.OSFile(str(path)) as packed:
        stream = pa.CompressedInputStream(packed, "zstd")
        for content in _parts(stream):
            if isinstance(content, str):
                return content
            if file.tell() + len(content) > largest:
                raise Invalid(f"{path.name} unpacks to more than the {largest} bytes that are taken of its size.")
            file.write(content)
    return None


def _parts(stream: pa.CompressedInputStream) -> Iterator[bytes | str]:
    """The content bit by bit; at the end of a damaged one what was wrong."""
    try:
        while content := stream.read(SAVED_AT_ONCE):
            yield content
    except OSError as error:
        yield f"its compression is damaged or it was cut: {error}"
