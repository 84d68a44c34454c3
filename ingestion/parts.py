"""The parts of an upload in the object store, under `{organisation}/uploads/{upload}/` until it is complete."""

from collections.abc import Iterator
from contextlib import suppress
from uuid import UUID

from fleet.errors import NotFound
from fleet.objectstore import CHUNK_BYTES, ObjectStore
from ingestion.models import Upload


def key(upload: Upload, number: int) -> str:
    """Where part `number` lies."""
    return f"{_folder(upload)}/{number:06d}"


def _folder(upload: Upload) -> str:
    return f"{upload.organisation_id}/uploads/{upload.id}"


def numbers(upload: Upload) -> list[int]:
    """The parts that have arrived, in their order."""
    return sorted(int(number) for number in upload.parts)


def content(objects: ObjectStore, upload: Upload) -> Iterator[bytes]:
    """The bytes of all parts, one behind the other."""
    for number in numbers(upload):
        with objects.open(key(upload, number)) as part:
            while chunk := part.read(CHUNK_BYTES):
                yield chunk


def arrived(objects: ObjectStore, upload: Upload) -> dict[str, int]:
    """Number -> bytes of the parts that lie in the store, whoever wrote them."""
    found = {}
    for each in objects.list(_folder(upload)):
        name = each.rpartition("/")[2]
        if name.isdecimal():
            try:
                found[str(int(name))] = objects.size(each)
            except NotFound:  # another call completed the upload meanwhile
                continue
    return found


def lying(objects: ObjectStore, organisation_id: UUID) -> dict[UUID, list[str]]:
    """The keys of all parts of an organisation in the store, by upload."""
    found: dict[UUID, list[str]] = {}
    prefix = f"{organisation_id}/uploads"
    for each in objects.list(prefix):
        with suppress(ValueError):  # it is not ours
            found.setdefault(UUID(each.removeprefix(f"{prefix}/").partition("/")[0]), []).append(each)
    return found


def remove(objects: ObjectStore, upload: Upload) -> None:
    """Remove all that was sent of an upload, when it is a bag or abandoned."""
    for each in objects.list(_folder(upload)):
        objects.delete(each)
