"""Raw recordings in the object store under their content: `{organisation}/bags/{sha256}`, a folder's files below it.

Nothing has its final name before its hash was verified. A folder is there once its list is, which is written last.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from uuid import UUID

from fleet.errors import Conflict, Invalid, NotFound, TooLarge
from fleet.objectstore import ObjectStore
from ingestion.folders import LIST, Piece, list_of, listed


def key_of(organisation_id: UUID, sha256: str, *, is_folder: bool) -> str:
    """Where the recording of this content lies: the file itself, or the list of its files."""
    key = f"{organisation_id}/bags/{sha256}"
    return f"{key}/{LIST}" if is_folder else key


def is_folder(key: str) -> bool:
    """Whether a recording's key names the list of a folder."""
    return key.endswith(f"/{LIST}")


def members(objects: ObjectStore, key: str) -> dict[str, str]:
    """Path within its folder -> key, for each file of a stored folder."""
    return {path: beside(key, path) for path in listed(objects.read(key))}


def beside(key: str, path: str) -> str:
    """The key of a file of a folder, by the key of its list."""
    return key.removesuffix(LIST) + path if path else key


def is_stored(objects: ObjectStore, key: str, size: int) -> bool:
    """Whether the store holds these bytes, all of them, under a key that only verified content gets."""
    try:
        if not is_folder(key):
            return objects.size(key) == size
        return sum(objects.size(file) for file in members(objects, key).values()) == size
    except NotFound:
        return False


def has_begun(objects: ObjectStore, key: str, files: list[Piece]) -> bool:
    """Whether a file of these lies in the store under its name; none does before all of the recording was verified."""
    return any(_is_there(objects, beside(key, file.path), file.size) for file in files)


class Content:
    """A stream of bytes, given out file by file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        """`chunks` are of any size."""
        self._chunks, self._rest = chunks, b""

    def take(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes; fewer when the stream ends before."""
        while size and (chunk := self._rest or next(self._chunks, b"")):
            taken, self._rest = chunk[:size], chunk[size:]
            size -= len(taken)
            yield taken


def first_other(files: list[Piece], chunks: Iterator[bytes]) -> tuple[Piece, str] | None:
    """The first file whose bytes are not what was announced, and their SHA-256; None when all are."""
    content = Content(chunks)
    for file in files:
        digest = hashlib.sha256()
        for chunk in content.take(file.size):
            digest.update(chunk)
        if digest.hexdigest() != file.sha256:
            return file, digest.hexdigest()
    return None


def store(objects: ObjectStore, key: str, files: list[Piece], chunks: Iterator[bytes]) -> None:
    """Write the files that are not there yet; done twice, it changes nothing.

    Raises:
        Conflict: the bytes are not those that were announced; they get no name.
    """
    content = Content(chunks)
    for file in files:
        place = beside(key, file.path)
        if _is_there(objects, place, file.size):
            for _ in content.take(file.size):
                pass
            continue
        with objects.create(place) as out:
            digest = hashlib.sha256()
            for chunk in content.take(file.size):
                digest.update(chunk)
                out.write(chunk)
            if digest.hexdigest() != file.sha256:
                raise Conflict("A part was sent again while the upload was being completed; complete it again.")
    if is_folder(key):
        objects.put(key, list_of(files))


def _is_there(objects: ObjectStore, key: str, size: int) -> bool:
    with suppress(NotFound):
        return objects.size(key) == size
    return False


@contextmanager
def receiving(objects: ObjectStore, key: str, *, size: int, sha256: str) -> Iterator[Callable[[bytes], None]]:
    """Takes a file bit by bit; it is stored when the block ends well and its bytes are those that were announced.

    What is stored already is only compared.

    Raises:
        TooLarge: more bytes than announced.
        Invalid: fewer, or another SHA-256; nothing is stored.
    """
    digest, received = hashlib.sha256(), 0
    with nullcontext() if _is_there(objects, key, size) else objects.create(key) as out:

        def take(chunk: bytes) -> None:
            nonlocal received
            received += len(chunk)
            if received > size:
                raise TooLarge(f"{size} bytes were announced, more are sent.", limit=size)
            digest.update(chunk)
            if out is not None:
                out.write(chunk)

        yield take
        if received != size:
            raise Invalid(
                f"{size} bytes were announced, {received} have arrived; send it again.",
                expected=size,
                received=received,
            )
        if digest.hexdigest() != sha256:
            raise Invalid(
                f"The content has SHA-256 {digest.hexdigest()}, {sha256} was announced; send it again.",
                expected=sha256,
                received=digest.hexdigest(),
            )
