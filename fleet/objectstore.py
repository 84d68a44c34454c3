"""The object store: one tree of immutable files in a local folder or an S3-compatible bucket.

Keys are relative, begin with the organisation and use `/`. On a local folder a file has no name until it is on the
disk, or a temporary one where files need names; on S3 it has its final key. A set of files is published by writing its
manifest last.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Any

from fleet.disk import move_all, sha256_of, whole
from fleet.errors import Invalid, NotFound, Unavailable

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Stored:
    """A file as it lies in the store."""

    key: str
    size: int
    sha256: str


def _check_key(key: str) -> str:
    path = PurePosixPath(key)
    if not key or path.is_absolute() or ".." in path.parts or "\\" in key or "\0" in key:
        raise Invalid(f"The object key {key!r} is not a relative path without '..'.", key=key)
    return key


class ObjectStore:
    """Files under one root URL (`file:///…` or `s3://bucket/prefix`)."""

    def __init__(self, url: str, *, signing_key: bytes, options: Mapping[str, Any] | None = None) -> None:
        """`signing_key` signs download addresses of the local store; `options` go to the fsspec file system."""
        self.url = url.rstrip("/")
        self._signing_key = signing_key
        protocol, _, root = self.url.partition("://")
        self._local = protocol == "file"
        self._root = root
        self._protocol, self._options = protocol, dict(options or {})
        self._troubles = _troubles(protocol)

    def path(self, key: str) -> str:
        """Where `key` lies, in the words of the file system behind it."""
        return f"{self._root}/{_check_key(key)}"

    @property
    def is_local(self) -> bool:
        """Whether its files are files of this machine."""
        return self._local

    @property
    def file_system(self) -> Any:
        """The fsspec file system, for readers of many files (Parquet datasets)."""
        return self._files

    @cached_property
    def _files(self) -> Any:
        # It takes a tenth of the time in which a short recording is converted, and a local folder may do without.
        import fsspec  # noqa: PLC0415  see above

        # Without it s3fs answers from a listing of earlier, and what other processes wrote since is never seen.
        fresh = {} if self._local else {"use_listings_cache": False}
        return fsspec.filesystem(self._protocol, **fresh, **self._options)

    def put(self, key: str, content: bytes) -> Stored:
        """Write `content` under `key`; writing the same key again replaces it whole."""
        with self.create(key) as out:
            out.write(content)
        return Stored(key, len(content), hashlib.sha256(content).hexdigest())

    def put_file(self, key: str, source: Path) -> Stored:
        """Write the local file `source` under `key`, streamed; gives its size and SHA-256."""
        digest, size = hashlib.sha256(), 0
        with source.open("rb") as file, self.create(key) as out:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                out.write(chunk)
                size += len(chunk)
        return Stored(key, size, digest.hexdigest())

    def put_files(self, files: Mapping[str, Path]) -> None:
        """Move many local files under these keys; they are gone from where they were, and nothing is hashed.

        On a local folder each is on the disk before it appears under its key, by renaming where both are on one disk;
        to S3 many go at once. Ended early, some are there and others not: publish them by a manifest.

        Raises:
            Unavailable: the store cannot take them.
        """
        targets = {self.path(key): source for key, source in files.items()}
        try:
            if not targets:
                return
            if self._local:
                move_all({Path(target): source for target, source in targets.items()})
            else:
                self._files.put([str(source) for source in targets.values()], list(targets))
        except self._troubles as error:
            raise Unavailable(
                f"The object store could not write {len(targets)} files: {error}. Free space or check its settings, "
                "then try again.",
                key=next(iter(files), ""),
            ) from error
        for source in files.values():
            source.unlink(missing_ok=True)

    def move_files(self, files: Mapping[str, Path]) -> list[Stored]:
        """Move local files under these keys, as `put_files` does, and tell what each is; raises what that raises.

        To S3 they are streamed one by one: at once they would take more memory than one of them may.
        """
        if not self._local:
            stored = [self.put_file(key, source) for key, source in files.items()]
            for source in files.values():
                source.unlink()
            return stored
        stored = [Stored(key, source.stat().st_size, sha256_of(source)) for key, source in files.items()]
        self.put_files(files)
        return stored

    @contextmanager
    def create(self, key: str) -> Iterator[IO[bytes]]:
        """A file to write; it appears under `key` whole when the block ends well, and not at all when it raises.

        Raises:
            Unavailable: the store cannot take it (a full disk, no permission, no connection).
        """
        try:
            with whole(Path(self.path(key))) if self._local else self._create_remote(key) as out:
                yield out
        except self._troubles as error:
            raise Unavailable(
                f"The object store could not write {key!r}: {error}. Free space or check its settings, then try again.",
                key=key,
            ) from error

    @contextmanager
    def _create_remote(self, key: str) -> Iterator[IO[bytes]]:
        out: Any = self._files.open(self.path(key), "wb")
        is_whole = False
        try:
            yield out
            is_whole = True
        finally:
            if is_whole:
                out.close()
            else:
                out.closed = True  # closing would publish what was written so far
                out.discard()

    @contextmanager
    def _asked_for(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise NotFound(f"The object store has no file {key!r}.", key=key) from None
        except self._troubles as error:
            raise Unavailable(
                f"The object store could not be asked for {key!r}: {error}. Check its settings, then try again.",
                key=key,
            ) from error

    def open(self, key: str) -> IO[bytes]:
        """The file under `key`, seekable.

        Raises:
            NotFound: there is no such key.
            Unavailable: the store does not answer.
        """
        with self._asked_for(key):
            return self._files.open(self.path(key), "rb")  # type: ignore[no-any-return]

    def read(self, key: str) -> bytes:
        """The whole content of a small file; raises what `open` raises."""
        with self._asked_for(key), self.open(key) as file:
            return file.read()

    def fetch(self, key: str, target: Path, on_bytes: Callable[[int], None] | None = None) -> Path:
        """Copy `key` to the local file `target`, streamed; raises what `open` raises.

        What is in `target` is taken for the beginning of it, and copying goes on behind that. `on_bytes` is told after
        each chunk how many bytes are there.
        """
        with self.open(key) as source, self._asked_for(key), target.open("ab") as out:
            source.seek(out.tell())
            while chunk := source.read(CHUNK_BYTES):
                out.write(chunk)
                if on_bytes is not None:
                    on_bytes(out.tell())
        return target

    def local_path(self, key: str) -> Path | None:
        """The file itself where the store is a local folder, else None: it must be fetched."""
        path = Path(self.path(key))
        return path if self._local and path.exists() else None

    def exists(self, key: str) -> bool:
        """Whether there is a file under `key`."""
        with self._asked_for(key):
            path = self.path(key)
            return Path(path).exists() if self._local else bool(self._files.exists(path))

    def size(self, key: str) -> int:
        """Bytes of the file under `key`; raises what `open` raises."""
        with self._asked_for(key):
            return int(self._files.size(self.path(key)))

    def list(self, prefix: str) -> list[str]:
        """The keys below `prefix`, sorted; temporary files are not shown."""
        with self._asked_for(prefix):
            found = self._files.find(self.path(prefix)) if self._files.exists(self.path(prefix)) else []
        keys = [self._key(str(path)) for path in found]
        return sorted(key for key in keys if not key.endswith(".tmp"))

    def sizes(self, prefix: str) -> dict[str, int]:
        """The keys below `prefix` with the bytes of each file, of a folder or of one file; as `list` shows them."""
        with self._asked_for(prefix):
            path = self.path(prefix)
            found = self._files.find(path, detail=True) if self._files.exists(path) else {}
        sizes = {self._key(str(path)): int(told["size"]) for path, told in found.items()}
        return {key: size for key, size in sorted(sizes.items()) if not key.endswith(".tmp")}

    def _key(self, path: str) -> str:
        root = f"{self._root}/"
        return path.removeprefix(root if self._local else root.lstrip("/"))

    def delete(self, key: str) -> None:
        """Remove `key`; a key that is not there is fine."""
        with self._asked_for(key), suppress(FileNotFoundError):  # another may remove it at the same moment
            if self._files.exists(self.path(key)):
                self._files.rm_file(self.path(key))

    def remove_unfinished(self, prefix: str, *, before: datetime) -> int:
        """Remove below `prefix` what killed writers left and nobody wrote to since `before`; gives how many.

        Only on a local folder: a store on S3 is told to end unfinished uploads by a rule of its bucket.
        """
        removed = 0
        folder = Path(self.path(prefix))
        for path in folder.rglob(".*.tmp") if self._local else ():
            with suppress(FileNotFoundError):  # another may remove it at the same moment
                if path.stat().st_mtime < before.timestamp():
                    path.unlink()
                    removed += 1
        return removed

    def publish(self, manifest_key: str, manifest: Mapping[str, Any]) -> Stored:
        """Write the manifest of files that are already there: from now on readers see the whole set.

        The text is canonical (sorted keys), so the same set has the same hash.
        """
        return self.put(manifest_key, json.dumps(manifest, sort_keys=True, indent=1, allow_nan=False).encode())

    def manifest(self, manifest_key: str) -> dict[str, Any]:
        """A published manifest."""
        found = json.loads(self.read(manifest_key))
        assert isinstance(found, dict)
        return found

    def sign(self, key: str, *, expires_at: datetime, purpose: str = "") -> str:
        """A signature that lets its bearer read `key` until `expires_at` (HMAC-SHA256, hexadecimal).

        With a `purpose`, it is good for that and not for reading.
        """
        told = [_check_key(key), str(int(expires_at.timestamp())), *([purpose] if purpose else [])]
        return hmac.new(self._signing_key, "\n".join(told).encode(), hashlib.sha256).hexdigest()

    def is_signed(self, key: str, *, expires_at: datetime, signature: str, purpose: str = "") -> bool:
        """Whether `signature` is ours for this key and time; the caller compares the time with its clock."""
        mine = self.sign(key, expires_at=expires_at, purpose=purpose)
        return hmac.compare_digest(mine.encode(), signature.encode())

    def presigned(self, key: str, *, seconds: int, put_bytes: int | None = None) -> str | None:
        """An address at the S3 store that reads `key`, or writes so many bytes to it; None where we serve it ourselves.

        Raises:
            Unavailable: there are no credentials, or they cannot be had.
        """
        if self._local:
            return None
        asked = {} if put_bytes is None else {"client_method": "put_object", "ContentLength": put_bytes}
        try:
            return str(self._files.url(self.path(key), expires=seconds, **asked))
        except self._troubles as error:
            raise Unavailable(f"The object store could not sign an address: {error}. Check its settings.") from error


def _troubles(protocol: str) -> tuple[type[Exception], ...]:
    """What a file system raises when it cannot be reached or does not take or give what it should."""
    if protocol != "s3":
        return (OSError,)
    # Only an installation on S3 pays for the import.
    from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]  # noqa: PLC0415  see above

    return (OSError, BotoCoreError)
