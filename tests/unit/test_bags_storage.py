"""What is stored of one chunk after another, read into the same memory."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from ingestion.bags.chunks import USUAL_CHUNK_BYTES, Packed, Storage


def test_plain_content_outlives_the_chunks_that_follow(tmp_path: Path) -> None:
    packed = pa.compress(b"p" * 1000, codec="zstd", asbytes=True)
    stored = [("none", b"a" * 10), ("none", b"b" * 10), ("zstd", packed), ("none", b"c" * 10), ("zstd", packed)]
    path = tmp_path / "chunks"
    path.write_bytes(b"".join(content for _, content in stored))
    unpacked = []
    with path.open("rb") as file:
        storage = Storage(file)
        for compression, content in stored:
            size = 1000 if compression == "zstd" else len(content)
            unpacked.append(storage.settled(Packed(compression, size, storage.read(len(content)))).unpacked())
    assert [block.tobytes() for block in unpacked] == [b"a" * 10, b"b" * 10, b"p" * 1000, b"c" * 10, b"p" * 1000]


def test_packed_chunks_are_read_into_the_same_memory_as_far_as_the_file_goes(tmp_path: Path) -> None:
    path = tmp_path / "chunks"
    path.write_bytes(bytes(range(100)))
    with path.open("rb") as file:
        storage = Storage(file)
        first = storage.read(60)
        assert bytes(first) == bytes(range(60))
        second = storage.read(60)
    assert bytes(second) == bytes(range(60, 100))
    assert np.shares_memory(np.frombuffer(first, np.uint8), np.frombuffer(second, np.uint8))


def test_a_chunk_larger_than_usual_is_read_into_memory_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "chunks"
    path.write_bytes(bytes(USUAL_CHUNK_BYTES + 1) + b"end")
    with path.open("rb") as file:
        storage = Storage(file)
        assert len(storage.read(USUAL_CHUNK_BYTES + 1)) == USUAL_CHUNK_BYTES + 1
        assert bytes(storage.read(3)) == b"end"
