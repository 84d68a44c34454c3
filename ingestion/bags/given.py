"""Definitions that a recording lacks and people give: `.msg` files in a folder, or beside the recording in its own."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from ingestion.bags.definitions import LONGEST_TEXT, Given

NAME = re.compile(r"[A-Za-z]\w*")
MSG = ".msg"


def definitions_among(members: Iterable[Path], folder: Path) -> Given:
    """The definitions among files of a folder by type: `<package>/msg/<Name>.msg`, or `<package>/<Name>.msg`."""
    found: dict[str, str] = {}
    for path in members:
        name = _type_name(path, folder)
        if name and path.stat().st_size <= LONGEST_TEXT:
            found.setdefault(name, path.read_bytes().decode(errors="replace"))
    return tuple(sorted(found.items()))


def given_sha256(given: Given) -> str:
    """The hash that names what was given; empty for nothing."""
    return hashlib.sha256(repr(given).encode()).hexdigest() if given else ""


def _type_name(path: Path, folder: Path) -> str | None:
    if path.suffix != MSG:
        return None
    parts = [folder.resolve().name, *path.relative_to(folder).parent.parts]
    package = parts[-2] if parts[-1] == "msg" and len(parts) > 1 else parts[-1]
    is_name = NAME.fullmatch(package) and NAME.fullmatch(path.stem)
    return f"{package}/msg/{path.stem}" if is_name else None
