"""A recording that is a folder: the files of rosbag2 in the order of its metadata.yaml, or what lies there by name."""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from fleet.errors import Invalid
from ingestion.bags.definitions import Given
from ingestion.bags.formats import READERS, ZSTD, head_of, reader_of_file
from ingestion.bags.given import definitions_among
from ingestion.bags.recording import Batch, Findings

if TYPE_CHECKING:
    from ingestion.bags.metadata import Metadata

METADATA = "metadata.yaml"
MOST_MEMBERS = 10_000
DEEPEST = 3
READ_AT_ONCE = 1 << 20


@dataclass
class Listing:
    """The files of a recording in their order."""

    files: list[Path]
    missing: list[str] = field(default_factory=list)
    repairs: list[str] = field(default_factory=list)
    announced: int | None = None
    distribution: str = ""


def members_of(folder: Path) -> list[Path]:
    """The files below a folder in the order of their names, hidden ones left out.

    Raises:
        Invalid: there are absurdly many, or one leads out of the folder.
    """
    members = []
    root = folder.resolve()
    for path in folder.rglob("*"):
        if any(part.startswith(".") for part in path.relative_to(folder).parts) or not path.is_file():
            continue
        if not path.resolve().is_relative_to(root):
            raise Invalid(f"{path} leads out of its folder; put the file itself there.", source=str(path))
        members.append(path)
        if len(members) > MOST_MEMBERS:
            raise Invalid(f"The folder {folder} holds more than {MOST_MEMBERS} files.", source=str(folder))
    return sorted(members, key=lambda path: path.relative_to(folder).as_posix())


def sha256_of(folder: Path) -> str:
    """The SHA-256 of a folder: that of its list as sha256sum prints it, `<sha256>  <name>` a line, sorted by name.

    Raises:
        Invalid: as of `members_of`.
    """
    whole = hashlib.sha256()
    for path in members_of(folder):
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while content := file.read(READ_AT_ONCE):
                digest.update(content)
        whole.update(f"{digest.hexdigest()}  ".encode() + os.fsencode(path.relative_to(folder).as_posix()) + b"\n")
    return whole.hexdigest()


def size_of(folder: Path) -> int:
    """The bytes of all files below a folder."""
    return sum(path.stat().st_size for path in members_of(folder))


def definitions_in(folder: Path) -> Given:
    """The definitions (.msg files) that lie in a folder.

    Raises:
        Invalid: as of `members_of`.
    """
    return definitions_among(members_of(folder), folder)


def definitions_given(folder: Path) -> Given:
    """The definitions in a folder that somebody has named for them.

    Raises:
        Invalid: there are none in it; or as of `members_of`.
    """
    if found := definitions_in(folder):
        return found
    raise Invalid(
        f"{folder} holds no definitions; they are files <package>/msg/<Name>.msg, as in a ROS workspace.",
        source=str(folder),
    )


def batches(folder: Path, found: Findings) -> Iterator[Batch]:
    """Every message of every file that can be read, one file after the other; losses are told with the file's name.

    Raises:
        Invalid: there is no recording in it, or more than one, or none of its files can be read.
    """
    listing = listing_of(folder)
    found.distribution = listing.distribution
    found.given = (*found.given, *definitions_in(folder))
    for repair in listing.repairs:
        found.repair(repair)
    for name in listing.missing:
        found.lose(0, 0, f"the file {name} is missing")
    refusals, messages = [], 0
    read, whole = 0, sum(path.stat().st_size for path in listing.files)
    for path in listing.files:
        inner, size = Findings(), path.stat().st_size
        try:
            for batch in _member(path, inner):
                messages += len(batch.starts)
                found.part = (read + inner.part * size) / whole
                yield batch
        except Invalid as error:
            refusals.append(f"{path.name}: {error.message}")
            inner.lose(0, size, error.message)
        read += size
        _merge(inner, found, path.name)
    if len(refusals) == len(listing.files):
        raise Invalid(" ".join(refusals[:3]) or f"None of the files that {METADATA} names is there.")
    found.expect(listing.announced, messages, 0)


def _member(path: Path, found: Findings) -> Iterator[Batch]:
    if head_of(path).startswith(ZSTD):
        yield from unpacked_batches(path, found)
        return
    name, reader = reader_of_file(path)
    if name != "db3":
        yield from reader(path, found)
        return
    # Who reads other formats does not wait for the reader of databases.
    from ingestion.bags.sqlite import log_bytes, with_log  # noqa: PLC0415  see above

    if not log_bytes(path):
        yield from reader(path, found)
        return
    found.repair("the recorder did not close it; its write-ahead log was read too")
    with TemporaryDirectory(prefix="yardmaster-db3-") as folder:
        yield from reader(with_log(path, Path(folder)), found)


def unpacked_batches(path: Path, found: Findings) -> Iterator[Batch]:
    """The messages of a recording that is compressed as a whole with zstd.

    Raises:
        Invalid: there is no recording in it.
    """
    # A recording that is not packed does not wait for what unpacks archives.
    from ingestion.bags.archives import unzstd  # noqa: PLC0415  see above

    with TemporaryDirectory(prefix="yardmaster-zstd-") as folder:
        target = Path(folder) / path.stem
        damage = unzstd(path, target)
        if damage and not target.stat().st_size:
            raise Invalid(f"{path.name} is compressed with zstd, and nothing can be unpacked: {damage}.")
        _, reader = reader_of_file(target)
        yield from reader(target, found)
    if damage:
        found.lose(path.stat().st_size, 0, damage)


def _merge(inner: Findings, found: Findings, name: str) -> None:
    for channel in inner.channels:
        found.meet(channel)
    for repair in inner.repairs:
        found.repair(f"{name}: {repair}")
    for lost in inner.lost:
        found.lose(lost.offset, lost.bytes, f"{name}: {lost.reason}")
    found.distribution = found.distribution or inner.distribution


def listing_of(folder: Path) -> Listing:
    """The files of the one recording in a folder.

    Raises:
        Invalid: there is none, or more than one.
    """
    members = members_of(folder)
    recorded = [path for path in members if path.name == METADATA or _is_recording(path)]
    homes = {path.parent for path in recorded}
    if not homes:
        raise Invalid("There is no recording (.bag, .db3 or .mcap) in this folder or archive.", source=str(folder))
    if len(homes) > 1:
        names = ", ".join(sorted(home.relative_to(folder).as_posix() for home in homes)[:5])
        raise Invalid(
            f"This folder or archive holds {len(homes)} recordings ({names}); convert each by itself.",
            source=str(folder),
        )
    (home,) = homes
    files = sorted((path for path in recorded if path.name != METADATA), key=_natural)
    if not (home / METADATA).is_file():
        kinds = {reader_of_file(path)[0] for path in files if not head_of(path).startswith(ZSTD)}
        if len(kinds) > 1:
            raise Invalid(f"The folder holds recordings of several formats ({', '.join(sorted(kinds))}).")
        return Listing(files, repairs=[f"there is no {METADATA}"] if kinds != {"bag"} else [])
    # A recording that is one file does not wait for a reader of YAML.
    from ingestion.bags.metadata import metadata_in  # noqa: PLC0415  see above

    metadata = metadata_in(home / METADATA)
    if metadata is None:
        return Listing(files, repairs=[f"{METADATA} cannot be read"])
    return _listed(home, files, metadata)


def _is_recording(path: Path) -> bool:
    head = head_of(path)
    return head.startswith((*READERS, ZSTD))


def _natural(path: Path) -> list[tuple[int, str]]:
    """Order in which bag_2 comes before bag_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]{1,18})", path.name)]


def _listed(home: Path, there: list[Path], metadata: "Metadata") -> Listing:
    by_name = {path.name: path for path in there}
    files, missing = list[Path](), list[str]()
    for written in dict.fromkeys(metadata.relative_file_paths):
        # Only the name counts, as for rosbag2: a path can lead anywhere.
        name = PurePosixPath(written).name
        path = next((home / each for each in (name, f"{name}.zstd") if name and (home / each).is_file()), None)
        if path is None:
            missing.append(name or repr(written))
        elif path not in files:
            files.append(path)
    if not files and there:  # renamed since
        told = [f"{METADATA} names none of the files that are there; all are read"]
        # Where the number of messages is known, that shows what is missing.
        return Listing(
            there, [] if metadata.message_count else missing, told, metadata.message_count, metadata.ros_distro
        )
    repairs = [f"{name} is not in {METADATA} and was left out" for name in by_name if home / name not in files]
    return Listing(files, missing, repairs, metadata.message_count, metadata.ros_distro)
