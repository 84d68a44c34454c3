"""Recordings of several files (rosbag2: metadata.yaml and its splits): their list, its hash, and what a name may be."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath

from fleet.errors import Invalid

LIST = ".sha256sums"
MOST_FILES = 1000
DEEPEST = 4
LONGEST_NAME_BYTES = 200
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FORBIDDEN = re.compile(r'[\\:\x00-\x1f\x7f"*<>?|]')


@dataclass(frozen=True)
class Piece:
    """One file of a recording; `path` within its folder, empty when the recording is this one file."""

    path: str
    size: int
    sha256: str


def ordered(files: Iterable[Piece]) -> list[Piece]:
    """The files of a folder in the order in which their bytes follow each other: that of their paths."""
    return sorted((Piece(file.path, file.size, file.sha256.lower()) for file in files), key=lambda file: file.path)


def list_of(files: Sequence[Piece]) -> bytes:
    """The list of a folder's files as `sha256sum` prints it; its SHA-256 names the folder."""
    return b"".join(f"{file.sha256}  {file.path}\n".encode() for file in files)


def as_rows(files: Sequence[Piece]) -> list[dict[str, object]]:
    """The files as JSON keeps them."""
    return [asdict(file) for file in files]


def listed(lines: bytes) -> dict[str, str]:
    """Path -> SHA-256, of a list that `list_of` made."""
    # Not splitlines: that ends a line at signs which a path may have.
    told = (line.split("  ", 1) for line in lines.decode().split("\n") if line)
    return {path: sha256 for sha256, path in told}


def check(files: Sequence[Piece], *, size: int, sha256: str) -> None:
    """The files of a folder are what one may upload, and make its size and hash.

    Raises:
        Invalid: a path leads elsewhere, is hidden or there twice, or the files are not those of this size and hash.
    """
    if len(files) > MOST_FILES:
        raise Invalid(f"The recording has {len(files)} files, at most {MOST_FILES} are taken.", field="files")
    for file in files:
        _check_path(file.path)
        if file.size < 0 or not _SHA256.fullmatch(file.sha256):
            raise Invalid(f"{file.path!r} needs its size and its SHA-256 in hexadecimal.", field="files")
    _check_distinct([file.path for file in files])
    if sum(file.size for file in files) != size:
        raise Invalid(f"The files have {sum(file.size for file in files)} bytes in all, not {size}.", field="size")
    found = hashlib.sha256(list_of(files)).hexdigest()
    if found != sha256.lower():
        raise Invalid(
            f"The list of the files has SHA-256 {found}, {sha256} was announced; hash the lines "
            "'<sha256>  <path>' sorted by path.",
            field="sha256",
        )


def _check_path(path: str) -> None:
    parts = path.split("/")
    is_plain = all(part and not part.startswith(".") and len(part.encode()) <= LONGEST_NAME_BYTES for part in parts)
    if not is_plain or len(parts) > DEEPEST or _FORBIDDEN.search(path) or PurePosixPath(path).is_absolute():
        raise Invalid(f"{path[:200]!r} is not the path of a visible file within a folder.", field="files")


def _check_distinct(paths: Sequence[str]) -> None:
    """No file twice, and none where a folder must be; also on a disk that does not tell A from a."""
    folded = [path.casefold() for path in paths]
    folders = {str(parent) for path in folded for parent in PurePosixPath(path).parents}
    twice = len(set(folded)) < len(folded) or folders & set(folded)
    if twice:
        raise Invalid("The recording has two files of one name, or a file where a folder must be.", field="files")
