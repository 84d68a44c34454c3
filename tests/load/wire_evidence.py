"""What came of a storm; and, where something was wrong, both sides' records and each wrong explained word by word, with times."""

import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import UUID

from sqlmodel import Session, col, select

from fleet.adapter import OrderReport
from fleet.adapters.ros2.runs import goal_id
from fleet.adapters.simulated.local_orders import VDA5050
from fleet.adapters.simulated.record import SiteRecord
from fleet.adapters.vda5050.runs import order_id
from fleet.link_commands import LinkCommand
from missions.models import Attempt, TaskResult, Transition

TASKS_MAX, RUNS_MAX = 5, 12
Place = tuple[str, int]  # a mission, and a task of it; -1 is all tasks of an order
Line = tuple[datetime, str]


@dataclass
class Result:
    """What came of a storm; everything below `reconciled_s` must be 0."""

    kills: Counter[str] = field(default_factory=Counter)
    missions: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    goals: int = 0
    orders: int = 0
    reconciled_s: list[float] = field(default_factory=list)
    too_late: int = 0
    unfinished: int = 0
    doubled: int = 0
    again: int = 0
    overlapping: int = 0
    not_done: int = 0
    strange: int = 0
    illegal: int = 0
    leases: int = 0
    live: int = 0
    unsent: int = 0
    evidence: str = ""

    @property
    def wrongs(self) -> dict[str, int]:
        """What must never be, and was."""
        told = asdict(self)
        return {name: told[name] for name in list(told)[6:-1] if told[name]}


def words_of(attempts: Sequence[Attempt]) -> dict[str, tuple[Attempt, int, int]]:
    """What each word that a robot may have been told stands for: the attempt, the task (-1: all) and the run of it."""
    words: dict[str, tuple[Attempt, int, int]] = {}
    for attempt in attempts:
        words[f"{VDA5050}{order_id(attempt.key)}"] = attempt, -1, 0
        for position in range(TASKS_MAX):
            for run in range(RUNS_MAX):
                words[str(goal_id(attempt.key, position, run))] = attempt, position, run
    return words


def keep(
    session: Session, var_dir: Path, record: SiteRecord, missions: Mapping[str, str], *, within: Path | None = None
) -> Path:
    """Copy the site's record, the gateways' journals and logs, and the database; explain these missions. Gives the folder."""
    folder = Path(tempfile.mkdtemp(prefix="yardmaster-evidence-", dir=within))
    shutil.copytree(var_dir, folder / "var", ignore=shutil.ignore_patterns("*.sock"))
    texts = (
        line for mission, wrong in missions.items() for line in _explained(session, var_dir, record, mission, wrong)
    )
    (folder / "explained.txt").write_text("\n".join(texts) + "\n")
    return folder


def _explained(session: Session, var_dir: Path, record: SiteRecord, mission: str, wrong: str) -> Iterator[str]:
    attempts = session.exec(select(Attempt).where(Attempt.mission_id == UUID(mission))).all()
    yield f"== mission {mission}: {wrong}"
    lines = [*_told(record, words_of(attempts)), *_moved(session, mission), *_asked(session, mission)]
    for at, text in sorted(lines):
        yield f"{at:%H:%M:%S.%f} {text}"
    for attempt in attempts:
        done = select(TaskResult.position, TaskResult.status).where(TaskResult.attempt_id == attempt.id)
        yield f"booked {attempt.key} {attempt.status}: {dict(session.exec(done).all())}"
    for journal in sorted(var_dir.glob("gateway*.db")):
        yield from (f"{journal.name} {line}" for line in _kept(journal, mission))
    for said in sorted(var_dir.glob("gateway*.log")):
        yield from (f"{said.name} {line}" for line in said.read_text(errors="replace").splitlines() if mission in line)


def _told(record: SiteRecord, words: Mapping[str, tuple[Attempt, int, int]]) -> Iterator[Line]:
    for word, report in record.reports.items():
        if word in words:
            attempt, position, run = words[word]
            what = f"robot {report.serial_number} attempt {attempt.number} task {position} run {run} ({word})"
            yield began(report), f"{what} begins"
            yield report.observed_at, f"{what} is {report.status} {report.reason}"


def began(report: OrderReport) -> datetime:
    """When the first task of it began, or else when it was last heard of."""
    return min((task.started_at for task in report.tasks if task.started_at), default=report.observed_at)


def _moved(session: Session, mission: str) -> Iterator[Line]:
    query = select(Transition).where(Transition.mission_id == UUID(mission)).order_by(col(Transition.id))
    for move in session.exec(query).all():
        yield (
            move.at,
            f"{move.subject} {move.from_status} -> {move.to_status} by {move.who}: {move.why} {move.evidence}",
        )


def _asked(session: Session, mission: str) -> Iterator[Line]:
    query = select(LinkCommand).where(col(LinkCommand.key).startswith(f"{mission}/")).order_by(col(LinkCommand.id))
    for command in session.exec(query).all():
        what = f"{command.kind} {command.key.rpartition('/')[2]}"
        yield command.created_at, f"asked {what} (went out under lease {command.handed_epoch})"
        if command.answered_at is not None:
            yield command.answered_at, f"answered {what}: {str(command.answer)[:300]}"


def _kept(journal: Path, mission: str) -> Iterator[str]:
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT key, is_over, state FROM orders WHERE key LIKE ? || '/%'", [mission]).fetchall()
    for key, is_over, state in rows:
        yield f"order {key} {'over' if is_over else 'live'}: {state}"
