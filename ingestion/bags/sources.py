"""Which reader reads a recording: a file, a folder, or either packed as a whole."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from fleet.errors import Invalid
from ingestion.bags import directories
from ingestion.bags.directories import unpacked_batches
from ingestion.bags.formats import ZIP, ZSTD, head_of, reader_of_file
from ingestion.bags.recording import Batch, Findings, Reader


def require_recording(path: Path) -> None:
    """Go on only with a file or a folder: whoever reads a pipe or a device waits for ever.

    Raises:
        Invalid: it is neither, or not there.
    """
    if not path.is_file() and not path.is_dir():
        told = f"{path} is neither a file nor a folder" if path.exists() else f"There is no file {path}"
        raise Invalid(f"{told}; name one recording (.bag, .db3 or .mcap) or its folder.", source=str(path))


def reader_of(path: Path) -> tuple[str, Reader]:
    """How a recording was given (mcap, bag, db3, folder, zip, zstd) and its reader.

    Raises:
        Invalid: it is no recording that we know; says what it looks like. What is within a folder, zip or zstd is told
            by the reader.
    """
    if path.is_dir():
        return "folder", directories.batches
    head = head_of(path)
    if head.startswith(ZIP):
        return "zip", _unzipped_batches
    if head.startswith(ZSTD):
        return "zstd", unpacked_batches
    return reader_of_file(path)


def _unzipped_batches(path: Path, found: Findings) -> Iterator[Batch]:
    # A recording that is not packed does not wait for what unpacks archives.
    from ingestion.bags.archives import unzip  # noqa: PLC0415  see above

    with TemporaryDirectory(prefix="yardmaster-zip-") as folder:
        unzip(path, Path(folder))
        yield from directories.batches(Path(folder), found)
