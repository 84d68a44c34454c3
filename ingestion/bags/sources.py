"""Which reader reads a recording: a file, a folder, or either packed as a whole."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from ingestion.bags import directories
from ingestion.bags.archives import unzip
from ingestion.bags.directories import unpacked_batches
from ingestion.bags.formats import ZIP, ZSTD, head_of, reader_of_file
from ingestion.bags.recording import Batch, Findings, Reader


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
    with TemporaryDirectory(prefix="yardmaster-zip-") as folder:
        unzip(path, Path(folder))
        yield from directories.batches(Path(folder), found)
