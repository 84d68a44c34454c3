"""A watched folder: recordings that rest in it are uploaded, then moved to done/ or, with the reason, to refused/.

Killed at any instant, the next run goes on: what was not moved is looked at again, content that is stored already is one
bag however often it is sent, and a file leaves its place only once its bag is there.
"""

import fcntl
import hashlib
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlmodel import Session

from fleet.clock import Clock
from fleet.errors import Conflict, Invalid, NotFound, Unavailable, YardmasterError
from fleet.objectstore import CHUNK_BYTES, ObjectStore
from fleet.organisations import Principal
from ingestion import uploads
from ingestion.bags.directories import listing_of, members_of
from ingestion.bags.directories import sha256_of as folder_sha256
from ingestion.bags.sources import reader_of
from ingestion.folders import Piece, ordered
from ingestion.models import Upload
from ingestion.quotas import Limits

DONE, REFUSED = "done", "refused"
LOCK = ".yardmaster-watch"
REASON = ".reason.txt"
LONGEST_NAME_BYTES = 255  # of what disks of Linux take
PART_BYTES = 8 << 20
# Whatever still grows under such a name is renamed by who writes it; a database's log belongs to the database.
UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", ".active", "-wal", "-shm", "-journal")
Transaction = Callable[[], AbstractContextManager[Session]]
Signature = tuple[tuple[str, int, int], ...]

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Doors:
    """Where recordings go, in whose name, and for which robot."""

    transaction: Transaction
    objects: ObjectStore
    principal: Principal
    limits: Limits
    robot: str | None


@dataclass(frozen=True)
class Taken:
    """What became of a file or folder; `reason` is empty when it is a bag."""

    name: str
    sha256: str = ""
    reason: str = ""


class Watch:
    """What was seen in the folder, and since when it rests."""

    def __init__(self, folder: Path, doors: Doors, clock: Clock, *, settle_s: float) -> None:
        """Nothing was seen yet."""
        self._folder, self._doors, self._clock, self._settle_s = folder, doors, clock, settle_s
        self._seen: dict[str, tuple[Signature, float]] = {}
        self._told: set[str] = set()
        self._again: dict[str, Signature] = {}

    @property
    def is_waiting(self) -> bool:
        """Whether something lies there that does not rest yet."""
        return bool(self._seen.keys() - self._told)

    @property
    def left(self) -> set[str]:
        """What could not be taken when it was tried last, and is tried again."""
        return set(self._told)

    def turn(self) -> list[Taken]:
        """Look once, and take what rests; what cannot be taken now is left for the next turn."""
        there = {path.name: path for path in sorted(self._folder.iterdir()) if _is_candidate(path)}
        self._seen = {name: seen for name, seen in self._seen.items() if name in there}
        self._told &= there.keys()
        self._again = {name: seen for name, seen in self._again.items() if name in there}
        taken = []
        for name, path in there.items():
            try:
                signature = _signature(path)
                outcome = self._take(path, signature) if self._rests(name, signature) else None
            except (OSError, YardmasterError) as error:  # a file that went away, a store or a database that is away
                if name not in self._told:
                    log.warning("a recording is left for later", name=name, why=str(error))
                self._told.add(name)
                continue
            if outcome is not None:
                self._told.discard(name)
                self._seen.pop(name, None)
                taken.append(outcome)
        return taken

    def _rests(self, name: str, signature: Signature) -> bool:
        now = self._clock.monotonic()
        before = self._seen.get(name)
        if before is None or before[0] != signature:
            before = self._seen[name] = (signature, now)
        return now - before[1] >= self._settle_s

    def _take(self, path: Path, signature: Signature) -> Taken | None:
        """What became of it; None when it changed meanwhile, and must rest again."""
        try:
            _check(path)
            sha256 = _send(self._doors, path)
        except (Invalid, Conflict) as error:
            # Another sender of the same content may have ended or lost the upload meanwhile: the next try finds out.
            is_first = isinstance(error, Conflict) and self._again.get(path.name) != signature
            if is_first or _signature(path) != signature:
                self._again[path.name] = signature
                return None
            _refuse(path, self._folder / REFUSED, error.message)
            log.error("a recording is refused", name=path.name, why=error.message)
            return Taken(os.fsencode(path.name).decode(errors="backslashreplace"), reason=error.message)
        if _signature(path) != signature:
            return None
        done = self._folder / DONE
        path.rename(done / _ending_in(path.name, _free_end(done, path.name)))
        log.info("a recording is taken", name=path.name, sha256=sha256)
        return Taken(path.name, sha256)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else watches this folder meanwhile; ends with the process, however that ends.

    Raises:
        Conflict: somebody does.
        Unavailable: the folder cannot be written to.
    """
    try:
        for name in (DONE, REFUSED):
            (folder / name).mkdir(exist_ok=True)
        lock = (folder / LOCK).open("ab")
    except OSError as error:
        raise Unavailable(f"{folder} cannot be watched: {error}. Recordings are moved within it.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Conflict(f"Another process watches {folder} already.", folder=str(folder)) from None
        yield


def _is_candidate(path: Path) -> bool:
    return not path.name.startswith(".") and path.name not in {DONE, REFUSED} and not path.name.endswith(UNFINISHED)


def _signature(path: Path) -> Signature:
    """Names, sizes and times of change; when it stays the same, nobody writes."""
    files = [path, *sorted(path.rglob("*"))] if path.is_dir() and not path.is_symlink() else [path]
    found = []
    for file in files:
        told = file.lstat()
        found.append((str(file.relative_to(path)), told.st_size, told.st_mtime_ns))
    return tuple(found)


def _check(path: Path) -> None:
    _check_names([path])
    if path.is_symlink() or not (path.is_dir() or path.is_file()):
        raise Invalid("It is a link or a device, not a recording; put the file itself there.")
    if path.is_dir():
        _check_names(path.rglob("*"))
        listing_of(path)
        _check_closed(members_of(path))
        return
    reader_of(path)
    _check_closed([path])
    written_ahead = path.with_name(f"{path.name}-wal")
    if os.path.lexists(written_ahead) and written_ahead.stat().st_size:  # also where such a name would be too long
        raise Unavailable("Its recorder has not closed it; end it, or put both files into a folder of their own.")


def _check_names(paths: Iterable[Path]) -> None:
    for path in paths:
        try:
            path.name.encode()
        except UnicodeEncodeError:
            shown = os.fsencode(path.name).decode(errors="backslashreplace")
            raise Invalid(f"The name {shown} is not UTF-8; rename it.") from None


def _check_closed(files: Iterable[Path]) -> None:
    """Nobody on this machine has these open to write: a recorder holds back megabytes, so its file rests for minutes.

    Raises:
        Unavailable: somebody has.
    """
    if sys.platform != "linux":
        return
    for path in files:
        with path.open("rb") as file:
            # Who opens it to write while the lease is held has it broken: by a signal that does nothing, not SIGIO.
            fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
            try:
                fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            except BlockingIOError:
                raise Unavailable(f"{path.name} is still open to be written; its recorder has not closed it.") from None
            except OSError as error:  # another's file, or a file system without leases: it cannot be told
                log.debug("it cannot be told whether a file is closed", file=str(path), why=str(error))
                return
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def _send(doors: Doors, path: Path) -> str:
    try:
        return _send_folder(doors, path) if path.is_dir() else _send_file(doors, path)
    except NotFound as error:  # of the robot or of the upload, when either was removed meanwhile
        raise Unavailable(error.message) from error


def _announce(doors: Doors, path: Path, size: int, sha256: str, files: list[Piece]) -> Upload:
    with doors.transaction() as session:
        return uploads.start(
            session,
            principal=doors.principal,
            filename=path.name,
            size=size,
            sha256=sha256,
            robot=doors.robot,
            mission_id=None,
            limits=doors.limits,
            files=files,
        )


def _send_file(doors: Doors, path: Path) -> str:
    size, sha256 = path.stat().st_size, _sha256(path)
    upload = _announce(doors, path, size, sha256, [])
    given = {"transaction": doors.transaction, "objects": doors.objects, "principal": doors.principal}
    with uploads.receiving(**given, upload_id=upload.id) as take, path.open("rb") as file:  # type: ignore[arg-type]
        while chunk := file.read(CHUNK_BYTES):
            take(chunk)
    return sha256


def _send_folder(doors: Doors, path: Path) -> str:
    pieces = ordered(
        Piece(file.relative_to(path).as_posix(), file.stat().st_size, _sha256(file)) for file in members_of(path)
    )
    size, sha256 = sum(piece.size for piece in pieces), folder_sha256(path)
    upload = _announce(doors, path, size, sha256, pieces)
    for number, content in enumerate(_parts(path, pieces), start=1):
        if upload.parts.get(str(number)) == len(content):
            continue  # sent by a run that was killed; were it other content, its hash would tell
        uploads.write_part(
            transaction=doors.transaction,
            objects=doors.objects,
            principal=doors.principal,
            upload_id=upload.id,
            number=number,
            content=content,
        )
    uploads.complete(
        transaction=doors.transaction, objects=doors.objects, principal=doors.principal, upload_id=upload.id
    )
    return sha256


def _parts(folder: Path, pieces: list[Piece]) -> Iterator[bytes]:
    waiting = bytearray()
    for piece in pieces:
        with (folder / piece.path).open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                waiting += chunk
                while len(waiting) >= PART_BYTES:
                    yield bytes(waiting[:PART_BYTES])
                    del waiting[:PART_BYTES]
    if waiting:
        yield bytes(waiting)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse(path: Path, folder: Path, reason: str) -> None:
    """Move it aside with a file beside it that says why; the reason first, so that none is ever without."""
    end = _free_end(folder, path.name)
    (folder / _ending_in(path.name, f"{end}{REASON}")).write_text(f"{reason}\n")
    path.rename(folder / _ending_in(path.name, end))


def _free_end(folder: Path, name: str) -> str:
    """What to put behind the name, nothing or a number, for a place where nothing lies."""
    number, end = 1, ""
    while os.path.lexists(folder / _ending_in(name, end)):
        number += 1
        end = f".{number}"
    return end


def _ending_in(name: str, end: str) -> str:
    """The name with this end; cut before it where a disk would not take it."""
    whole = os.fsencode(name + end)
    if len(whole) <= LONGEST_NAME_BYTES:
        return name + end
    return whole[: LONGEST_NAME_BYTES - len(end)].decode(errors="ignore") + end
