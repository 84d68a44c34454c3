"""Recordings: what the robots upload and what a person brings along become Parquet that holds every message."""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from sqlmodel import Session, col, select

from deployments.demo.missions import RECORDED_MAX
from deployments.demo.night import Night, Outcome, problems_of
from deployments.local import own_command, shown
from fleet.errors import NotFound, Rejected
from ingestion.bags.verification import verify
from ingestion.lake import lake_of
from ingestion.models import Bag, BagStatus

SUFFIXES = frozenset({".bag", ".db3", ".mcap"})
LIVES = 3
ROBOTS = 4
CONVERTED_WITHIN_S = 180.0


def recordings_in(path: Path) -> list[Path]:
    """The recordings at `path`: the file itself, or those below the folder, sorted.

    Raises:
        NotFound: there are none.
    """
    found = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES)
    if not found:
        raise NotFound(f"There is no recording (.bag, .db3, .mcap) in {path}.", path=str(path))
    return found


async def bring(night: Night, sources: Sequence[Path]) -> Outcome:
    """Upload recordings through the API, wait for their Parquet, and compare every message with the recording."""
    for number, source in enumerate(sources, start=1):
        night.tell(f"uploading {number} of {len(sources)}: {source.name}")
        await upload(night, source)
    wanted = {_measured(source)[1]: source for source in sources}
    bags = await _converted(night, set(wanted))
    problems: list[str] = []
    for bag in bags:
        night.tell(f"comparing {bag.filename} with what rosbags reads")
        differences = await asyncio.to_thread(verify, wanted[bag.sha256], night.var / "objects" / lake_root(night))
        problems += [f"{bag.filename}: {line}" for line in differences[:3]]
        problems += [f"{bag.filename} was refused: {bag.error}"] if bag.status is BagStatus.refused else []
    problems += [] if len(bags) == len(wanted) else [f"{len(bags)} of {len(wanted)} recordings were converted"]
    # A topic whose recording carries no definition of its type is kept raw, byte for byte, and its bag is called partial.
    raw = sum(bag.status is BagStatus.partial for bag in bags)
    counted = f"{len(bags)} recordings, {sum(bag.messages for bag in bags)} messages equal to rosbags'"
    return Outcome(f"{counted} ({raw} with topics kept raw)" if raw else counted, _lake_path(night), tuple(problems))


async def upload(night: Night, source: Path) -> None:
    """Send one recording in parts.

    Raises:
        Rejected: the API did not take it; carries its words.
    """
    token = night.platform.access.operator_token
    size, sha256 = await asyncio.to_thread(_measured, source)
    wanted = {"filename": source.name, "size": size, "sha256": sha256, "robot": None}
    opened = await _taken(night, "POST", "/v1/uploads", token, content=wanted)
    with source.open("rb") as file:
        number = 0
        while part := file.read(int(str(opened["part_max_bytes"]))):
            number += 1
            await _taken(night, "PUT", f"/v1/uploads/{opened['id']}/parts/{number}", token, body=part)
    await _taken(night, "POST", f"/v1/uploads/{opened['id']}/complete", token)


async def _taken(
    night: Night, method: str, path: str, token: str, content: object = None, body: bytes | None = None
) -> dict[str, object]:
    answer = await night.ask(method, path, token=token, content=content, body=body)
    if answer.status >= 300:
        raise Rejected(f"{method} {path} answered {answer.status}: {answer.body[:300].decode(errors='replace')}")
    found: dict[str, object] = json.loads(answer.body) if answer.body else {}
    return found


async def collect(night: Night) -> Outcome:
    """Wait until the robots' past and the night's own recordings are converted; check the files row by row count."""
    history, total = ROBOTS * LIVES, ROBOTS * LIVES + RECORDED_MAX

    async def look() -> list[Bag]:
        bags = await night.read(lambda session: _bags(session, night))
        done = sum(bag.status is not BagStatus.stored for bag in bags)
        night.tell(f"{len(bags)} bags uploaded, {done} converted")
        return bags

    def is_all(bags: list[Bag]) -> bool:
        return len(_sites(bags)) >= total and all(bag.status is not BagStatus.stored for bag in bags)

    bags = _sites(await night.until(look, is_all, within_s=CONVERTED_WITHIN_S, what=f"The conversion of {total} bags"))
    problems = [
        f"{bag.filename} is {bag.status.value}: {bag.error}" for bag in bags if bag.status is not BagStatus.complete
    ]
    problems += await asyncio.to_thread(_uncounted, night, bags)
    checks = {
        f"{RECORDED_MAX} missions were recorded": sum(bag.mission_id is not None for bag in bags) >= RECORDED_MAX,
        f"{history} recordings of the robots' past came in": sum(bag.mission_id is None for bag in bags) >= history,
    }
    messages = sum(bag.messages for bag in bags)
    return Outcome(f"{len(bags)} bags, {messages} messages", _lake_path(night), (*problems, *problems_of(checks)))


async def catalogue(night: Night) -> Outcome:
    """See that Dagster knows every converted bag as a materialisation with a passed check."""
    from orchestration.assets.events import reported_bags  # noqa: PLC0415  Dagster takes seconds and is needed only here

    bags = await night.read(lambda session: _bags(session, night))
    home = night.var / "dagster"
    reported = await asyncio.to_thread(reported_bags, home)
    passed = {sha256 for sha256, is_passed in reported.items() if is_passed}
    missing = [bag.filename for bag in bags if bag.sha256 not in passed]
    problems = tuple(f"Dagster has no passed check of {name}" for name in missing[:5])
    return Outcome(
        f"{len(passed)} bags materialised and checked",
        f"{own_command()} --var {shown(night.var)} dagster",
        problems,
    )


async def _converted(night: Night, hashes: set[str]) -> list[Bag]:
    async def look() -> list[Bag]:
        bags = [bag for bag in await night.read(lambda session: _bags(session, night)) if bag.sha256 in hashes]
        done = sum(bag.status is not BagStatus.stored for bag in bags)
        night.tell(f"{done} of {len(hashes)} recordings converted")
        return bags

    def is_all(bags: list[Bag]) -> bool:
        return len(bags) == len(hashes) and all(bag.status is not BagStatus.stored for bag in bags)

    return await night.until(look, is_all, within_s=CONVERTED_WITHIN_S, what="The conversion of the recordings")


def _bags(session: Session, night: Night) -> list[Bag]:
    mine = select(Bag).where(Bag.organisation_id == night.organisation_id).order_by(col(Bag.id))
    return list(session.exec(mine).all())


def _sites(bags: list[Bag]) -> list[Bag]:
    """Those that robots of the site recorded."""
    return [bag for bag in bags if bag.robot_id is not None]


def _uncounted(night: Night, bags: list[Bag]) -> list[str]:
    """Where the rows in the lake are not the messages of the bag."""
    lake = lake_of(night.runtime.objects, night.organisation_id)
    problems = []
    for bag in bags:
        manifest = lake.manifest(bag.sha256)
        rows = sum(file.rows for topic in manifest.topics for file in topic.files) if manifest else -1
        if rows != bag.messages or not rows:
            problems.append(f"{bag.filename} has {bag.messages} messages, the lake {rows} rows of it")
    return problems


def lake_root(night: Night) -> str:
    """The lake of the night's organisation within the object store."""
    return f"{night.organisation_id}/lake"


def _lake_path(night: Night) -> str:
    return shown(night.var / "objects" / lake_root(night))


def _measured(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()
